"""Reads labelme's jsons, one per photo, as the lists of one COCO instances json.

Shapes of one label and one `group_id` are one object. The classes are the labels of all jsons of the data folder in
their alphabetical order, so that all splits number them alike; `__ignore__` and `_background_` are none.
"""

from __future__ import annotations

import base64
import io
import math
import posixpath
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

_NO_CLASS = ("__ignore__", "_background_")
_CIRCLE_CORNERS = 64


Documents = list[tuple[str, dict[str, Any]]]


def checked(document: Any) -> dict[str, Any]:
    """Returns a json without the embedded photo; a KeyError, TypeError or AttributeError says that it is none."""
    for shape in document["shapes"]:
        str.lower(shape["label"]), list(shape["points"])
    str.lower(document["imagePath"])
    return {key: value for key, value in document.items() if key != "imageData"}


def coco_list(documents: Documents, name: str, part: str) -> Iterator[dict[str, Any]]:
    """Yields the entries of a COCO list.

    Args:
        documents: all jsons by path relative to the data folder.
        name: "images", "annotations" or "categories".
        part: folder of the photos to list; "" lists all.
    """
    labels = sorted({shape["label"] for _, document in documents for shape in document["shapes"]} - {*_NO_CLASS})
    if name == "categories":
        yield from ({"id": number, "name": label} for number, label in enumerate(labels, 1))
        return
    number = 0
    for path, document in documents:
        image_id = path.removesuffix(".json")
        objects = list(_objects(document))
        first, number = number + 1, number + len(objects)
        if part and not path.startswith(f"{part}/"):
            continue
        if name == "images":
            folder, file_name = posixpath.dirname(path), str(document["imagePath"]).replace("\\", "/")
            size = {"height": document.get("imageHeight"), "width": document.get("imageWidth")}
            yield {"id": image_id, "file_name": posixpath.normpath(posixpath.join(folder, file_name)), **size}
        elif name == "annotations":
            for place, (label, segmentation) in enumerate(objects):
                entry = {"id": first + place, "image_id": image_id, "category_id": labels.index(label) + 1}
                yield entry | {"segmentation": segmentation, "iscrowd": 0}


def readable_or_words(read: Callable[..., Any], *shape: Any) -> Any:
    """Returns the segmentation of a shape, or where it is damaged words, which cost one photo and not the job."""
    try:
        return read(*shape)
    except (ValueError, KeyError, TypeError, OSError) as error:
        return f"a shape that cannot be read: {error!r}"


def _objects(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Returns label and COCO segmentation of each object of a photo."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for place, shape in enumerate(document["shapes"]):
        group = shape.get("group_id")
        groups.setdefault((shape["label"], ("alone", place) if group is None else group), []).append(shape)
    for (label, _), shapes in groups.items():
        if label in _NO_CLASS:
            continue
        if any(shape.get("shape_type") == "mask" for shape in shapes):
            yield label, readable_or_words(_run_lengths, shapes, document)
        else:
            yield label, readable_or_words(lambda group: [_polygon(shape) for shape in group], shapes)


def _polygon(shape: dict[str, Any]) -> list[float]:
    """Returns x, y of every corner; a line or a point is refused later, when it is drawn."""
    points = [(float(x), float(y)) for x, y in shape["points"]]
    kind = shape.get("shape_type", "polygon")
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

    size = int(document["imageHeight"]), int(document["imageWidth"])
    whole = np.zeros(size, bool)
    for shape in shapes:
        if shape.get("shape_type") != "mask":
            whole |= object_mask([_polygon(shape)], size)
            continue
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
        left, top = (round(value) for value in shape["points"][0])
        part = whole[top : top + mask.shape[0], left : left + mask.shape[1]]
        part |= mask[: part.shape[0], : part.shape[1]]
    flat = whole.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return {"size": list(size), "counts": [0, *counts] if flat[0] else counts}
