"""Reads labelme's jsons, one per photo, as the lists of one COCO instances json.

Shapes of one label and one `group_id` are one object. The classes are the labels of all jsons of the data folder in
their alphabetical order, so that all splits number them alike; `__ignore__` and `_background_` are none. A json that is
damaged costs its photo; one that is not labelme's is noticed.
"""

from __future__ import annotations

import base64
import io
import json
import math
import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from components.coco_example_gen.kept_aside import UnreadPhoto
from maskformer_model.coco_schema import FieldError, is_absent, is_number, list_field, shown, text_field, whole_field

_NO_CLASS = ("__ignore__", "_background_")
_NO_AREA = ("point", "points", "line", "linestrip")
_CIRCLE_CORNERS = 64
_MAX_MASK_PIXELS = 100_000_000

Documents = list[tuple[str, dict[str, Any] | UnreadPhoto]]


def read_document(path: str, content: bytes) -> dict[str, Any] | UnreadPhoto:
    """Returns a json without the embedded photo, or why it cannot be used.

    Args:
        path: The json's path relative to the data folder.
        content: The whole file.
    """
    image_id = _id_of(path)
    try:
        document = json.loads(content.decode("utf-8-sig"))
        if not isinstance(document, dict) or not {"shapes", "imagePath"} & document.keys():
            detail = "it is not a json of labelme: it has neither `shapes` nor `imagePath`"
            return UnreadPhoto(image_id=image_id, file_name=path, reason="other_file", detail=detail, is_record=False)
        text_field(document, "imagePath")
        for shape in list_field(document, "shapes"):
            if not isinstance(shape, dict):
                raise FieldError(f"a shape must be a json object. Received: {shown(shape)}")
            text_field(shape, "label"), list_field(shape, "points")
            if not isinstance(shape.get("group_id"), int | float | str | None):
                raise FieldError(f"`group_id` must be a number or text. Received: {shown(shape['group_id'])}")
    except (ValueError, RecursionError) as error:
        detail = f"its json cannot be used: {' '.join(str(error).split())}"
        return UnreadPhoto(image_id=image_id, file_name=path, detail=detail)
    return {key: value for key, value in document.items() if key != "imageData"}


def coco_list(documents: Documents, name: str, part: str) -> Iterator[dict[str, Any] | UnreadPhoto]:
    """Yields the entries of a COCO list, and in place of an image what keeps a photo from being read.

    Args:
        documents: all jsons by path relative to the data folder.
        name: "images", "annotations" or "categories".
        part: folder of the photos to list; "" lists all.
    """
    labels = sorted({label for _, document in documents for label in _labels(document)} - {*_NO_CLASS})
    if name == "categories":
        yield from ({"id": number, "name": label} for number, label in enumerate(labels, 1))
        return
    number = 0
    for path, document in documents:
        objects = [] if isinstance(document, UnreadPhoto) else list(_objects(document))
        first, number = number + 1, number + len(objects)
        if part and not path.startswith(f"{part}/"):
            continue
        if name == "images":
            yield document if isinstance(document, UnreadPhoto) else _image(path, document)
        elif name == "annotations":
            for place, (label, segmentation) in enumerate(objects):
                entry = {"id": first + place, "image_id": _id_of(path), "category_id": labels.index(label) + 1}
                yield entry | {"segmentation": segmentation, "iscrowd": 0}


def _id_of(path: str) -> str:
    return path.removesuffix(".json")


def _image(path: str, document: dict[str, Any]) -> dict[str, Any]:
    folder, file_name = posixpath.dirname(path), text_field(document, "imagePath").replace("\\", "/")
    size = {"height": document.get("imageHeight"), "width": document.get("imageWidth")}
    return {"id": _id_of(path), "file_name": posixpath.normpath(posixpath.join(folder, file_name)), **size}


def readable_or_words(read: Callable[..., Any], *shape: Any) -> Any:
    """Returns the segmentation of a shape, or where it is damaged words, which cost one photo and not the job."""
    try:
        return read(*shape)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError, SyntaxError) as error:
        return f"a shape that cannot be read: {error!r}"
    except Image.DecompressionBombError as error:
        return f"a shape that cannot be read: {error!r}"


def _labels(document: dict[str, Any] | UnreadPhoto) -> Iterator[str]:
    if not isinstance(document, UnreadPhoto):
        yield from (text_field(shape, "label") for shape in document["shapes"])


def _objects(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Returns label and COCO segmentation of each object of a photo."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for place, shape in enumerate(document["shapes"]):
        group = shape.get("group_id")
        key = ("alone", place) if is_absent(group) else group
        groups.setdefault((text_field(shape, "label"), key), []).append(shape)
    for (label, _), shapes in groups.items():
        if label in _NO_CLASS:
            continue
        if any(shape.get("shape_type") == "mask" for shape in shapes):
            yield label, readable_or_words(_run_lengths, shapes, document)
        else:
            yield label, readable_or_words(lambda group: [_polygon(shape) for shape in group], shapes)


def _points(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    for point in shape["points"]:
        if not isinstance(point, list) or len(point) != 2 or not all(map(is_number, point)):
            raise FieldError(f"`points` must be pairs of numbers. Received: {shown(point)}")
    return [(float(x), float(y)) for x, y in shape["points"]]


def _polygon(shape: Mapping[str, Any]) -> list[float]:
    """Returns x, y of every corner."""
    points = _points(shape)
    kind = shape.get("shape_type", "polygon")
    if kind in _NO_AREA:
        raise FieldError(f"a {kind} has no area")
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points[0], points[1]
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * place / _CIRCLE_CORNERS for place in range(_CIRCLE_CORNERS)]
        points = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
    return [coordinate for point in points for coordinate in point]


def _run_lengths(shapes: list[dict[str, Any]], document: dict[str, Any]) -> dict[str, Any]:
    """Returns masks, and polygons grouped with them, as uncompressed run lengths."""
    from components.coco_example_gen.records.instance_masks import object_mask

    size = whole_field(document, "imageHeight", low=1), whole_field(document, "imageWidth", low=1)
    if size[0] * size[1] > _MAX_MASK_PIXELS:
        raise FieldError(f"a mask's photo must have at most {_MAX_MASK_PIXELS} pixels. Received: {size} px")
    whole = np.zeros(size, bool)
    for shape in shapes:
        if shape.get("shape_type") == "mask":
            _draw_mask(whole, shape)
        else:
            whole |= object_mask([_polygon(shape)], size)
    flat = whole.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {"size": list(size), "counts": [0, *counts] if flat[0] else counts}


def _draw_mask(whole: np.ndarray, shape: Mapping[str, Any]) -> None:
    """Draws the mask of a shape, which fills the box of its two points; what lies outside of the photo is cut off."""
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(text_field(shape, "mask"))))) > 0
    (left, top), (right, bottom) = ((round(x), round(y)) for x, y in _points(shape))
    height, width = mask.shape
    if max(abs(bottom - top + 1 - height), abs(right - left + 1 - width)) > 1:
        raise FieldError(f"a mask of {mask.shape} px does not fill the box of its points {shown(shape['points'])}")
    inside = mask[max(-top, 0) :, max(-left, 0) :]
    part = whole[max(top, 0) :, max(left, 0) :][: inside.shape[0], : inside.shape[1]]
    part |= inside[: part.shape[0], : part.shape[1]]
