"""Reads Label Studio's json export, a list of tasks, as the lists of one COCO instances json.

Polygons, rectangles, ellipses, brush strokes and bitmasks are read, of the first annotation of a task that was not
skipped; their coordinates are percentages of the photo. Their class is the first label of the region, of a tag that
draws (`PolygonLabels`) or of a `Labels` beside one (`Polygon`). Regions of other kinds or without a label are noticed.

A photo is found by its name, with or without the eight digits and the hyphen that an upload puts before it; of several
files of that name, by the folders of its link. A damaged task costs its photo; one without a finished annotation is
left out.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from components.coco_example_gen.kept_aside import BadRecordError, UnreadPhoto
from components.coco_example_gen.records.labelme import readable_or_words
from maskformer_model.coco_schema import (
    FieldError,
    image_key,
    is_absent,
    is_number,
    list_field,
    shown,
    text_field,
    whole_field,
)
from maskformer_model.prediction.label_studio_rle import unpack_mask

_POLYGON, _RECTANGLE, _ELLIPSE, _BRUSH, _BITMASK = "polygon", "rectangle", "ellipse", "brush", "bitmask"
_FORMS = (_POLYGON, _RECTANGLE, _ELLIPSE, _BRUSH, _BITMASK)
# The editor, too, knows a region's form by the keys of its value.
_FORM_OF_KEY = {"points": _POLYGON, "rle": _BRUSH, "imageDataURL": _BITMASK, "radiusX": _ELLIPSE, "height": _RECTANGLE}
_LABELS = "labels"
_LABELLED = (_LABELS, *(f"{form}labels" for form in _FORMS))
# What draws a region; choices and texts of a region repeat its shape.
_DRAWN = (*_LABELLED, *_FORMS, "keypoint", "keypointlabels", "vector", "vectorlabels")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_ELLIPSE_CORNERS = 64
_MAX_MASK_PIXELS = 100_000_000


class _Task(NamedTuple):
    """What is used of a task.

    Attributes:
        image_id: The task's id as text.
        file_name: The photo's path below the data folder.
        link: The link of the task that names it.
        num_common: How many parts of link and path are the same; 0 where there is no such photo.
        shapes: The shapes that are objects.
        notices: What was left out of the photo.
    """

    image_id: str
    file_name: str
    link: str
    num_common: int
    shapes: list[dict[str, Any]]
    notices: list[str]


def read_tasks(path: str, content: bytes) -> list[Any]:
    """Returns the tasks of an export, unchecked.

    Raises:
        ValueError: if it is not a json list.
    """
    try:
        document = json.loads(content.decode("utf-8-sig"))
        if not isinstance(document, list):
            raise TypeError(f"it must be a list of tasks. Received: {shown(document)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"A json of Label Studio must have that tool's form. {path} fails with {error!r}") from error
    return document


def coco_list(
    tasks: list[Any], name: str, photo_paths: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any] | UnreadPhoto]:
    """Yields the entries of a COCO list; among the images also what keeps a photo from being read, and notices.

    Args:
        tasks: The tasks of the export.
        name: "images", "annotations" or "categories".
        photo_paths: the files of the data folder by their name, as paths below it.
    """
    found = _without_strangers([_checked(task, photo_paths) for task in tasks])
    read = [task for task in found if isinstance(task, _Task)]
    labels = sorted({_label(shape) for task in read for shape in task.shapes})
    if name == "categories":
        yield from ({"id": number, "name": label} for number, label in enumerate(labels, 1))
    elif name == "images":
        for task in found:
            if isinstance(task, UnreadPhoto):
                yield task
                continue
            size = {key: value for shape in task.shapes[:1] for key, value in _size(shape).items()}
            yield {"id": task.image_id, "file_name": task.file_name} | size
            for detail in task.notices:
                yield UnreadPhoto(
                    image_id=task.image_id,
                    file_name=task.file_name,
                    reason="unread_region",
                    detail=detail,
                    is_record=False,
                )
    elif name == "annotations":
        # Of tasks that share an id only the first is taken, and so are its objects.
        first = {task.image_id: task for task in reversed(read)}
        pairs = ((task, shape) for task in read if first[task.image_id] is task for shape in task.shapes)
        for number, (task, shape) in enumerate(pairs, 1):
            entry = {"id": number, "image_id": task.image_id, "category_id": labels.index(_label(shape)) + 1}
            yield entry | {"segmentation": readable_or_words(_segmentation, shape), "iscrowd": 0}


def _checked(task: Any, photo_paths: Mapping[str, Sequence[str]]) -> _Task | UnreadPhoto:
    """Returns a task, or why it is left out."""
    image_id = file_name = ""
    try:
        image_id = image_key(task["id"], "id")
        file_name, link, num_common = _photo_path(task, photo_paths)
        done = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
        if not done:
            detail = "its task has no annotation that was finished"
            return UnreadPhoto(
                image_id=image_id, file_name=file_name, reason="unlabeled_photo", detail=detail, is_record=False
            )
        shapes, notices = _shapes(list_field(done[0], "result"))
        sizes = [_size(shape) for shape in shapes if _label(shape)]
        if other := [size for size in sizes if size != sizes[0]]:
            raise FieldError(f"all shapes must be of a photo of one size. Received: {sizes[0]} and {other[0]}")
    except BadRecordError as error:
        return UnreadPhoto(image_id=image_id, file_name=file_name, reason=error.reason, detail=error.detail)
    except (FieldError, LookupError, TypeError, AttributeError, ValueError) as error:
        return UnreadPhoto(image_id=image_id, file_name=file_name, detail=f"its task cannot be used: {error!r}")
    return _Task(image_id, file_name, link, num_common, shapes, notices)


def _without_strangers(found: list[_Task | UnreadPhoto]) -> list[_Task | UnreadPhoto]:
    """Leaves out tasks whose own photo is not there, so that their link has led to the photo of another task."""
    nearest: dict[str, dict[str, int]] = {}
    for task in found:
        if isinstance(task, _Task) and task.num_common:
            nearest.setdefault(task.file_name, {})[task.link] = task.num_common
    return [_stranger(task, nearest) or task if isinstance(task, _Task) else task for task in found]


def _stranger(task: _Task, nearest: Mapping[str, Mapping[str, int]]) -> UnreadPhoto | None:
    """Returns why a task is left out if another link leads to its photo that is as near, or nearer."""
    commons = nearest.get(task.file_name, {})
    others = [link for link, num_common in commons.items() if link != task.link and num_common >= task.num_common]
    if not others:
        return None
    detail = f"its link {task.link} can only mean {task.file_name}, and so does {others[0]}"
    return UnreadPhoto(image_id=task.image_id, file_name=task.file_name, reason="ambiguous_photo", detail=detail)


def _shapes(results: Sequence[Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the results that are objects, one for each region, and what was left out of the regions.

    A region has a result for each of its tags: the shape, its labels, choices about it. All of them repeat its shape.
    """
    regions: dict[str, list[dict[str, Any]]] = {}
    for place, result in enumerate(results):
        if result.get("type") in _DRAWN:
            region = [result["id"], _drawing(result)] if "id" in result else place
            regions.setdefault(json.dumps(region), []).append(result)
    shapes, notices = [], []
    for region in regions.values():
        labelled = [result for result in region if result["type"] in _LABELLED and result["value"].get(result["type"])]
        if not labelled or (labelled[0]["type"] == _LABELS and not _form(labelled[0])):
            why = "other kinds are not read" if labelled or region[0]["type"] not in _FORMS else "it has no label"
            notices.append(f"a region of the kind {region[0]['type']} is left out: {why}")
            continue
        shapes.append(labelled[0])
        if others := [name for result in labelled for name in list_field(result["value"], result["type"])][1:]:
            notices.append(f"a region has the label {_label(labelled[0])!r}; {shown(others)} of it are left out")
    return shapes, notices


def _drawing(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a result says of its region's shape, without the labels and answers."""
    return {key: value for key, value in result["value"].items() if key != result["type"] and key not in _LABELLED}


def _form(shape: Mapping[str, Any]) -> str:
    """Returns the form of a shape, or "" if it is another one."""
    if shape["type"] != _LABELS:
        return shape["type"].removesuffix(_LABELS)
    return next((form for key, form in _FORM_OF_KEY.items() if key in shape["value"]), "")


def _label(shape: Mapping[str, Any]) -> str:
    labels = list_field(shape["value"], shape["type"])
    return text_field({shape["type"]: labels[0]}, shape["type"])


def _size(shape: Mapping[str, Any]) -> dict[str, int]:
    keys = {"height": "original_height", "width": "original_width"}
    return {key: whole_field(shape, name, low=1) for key, name in keys.items()}


def _photo_path(task: Mapping[str, Any], photo_paths: Mapping[str, Sequence[str]]) -> tuple[str, str, int]:
    """Returns the photo's path below the data folder, its link, and how many of their parts are the same.

    The path is the photo's plain name if it is not there.

    Raises:
        BadRecordError: if the link can mean several photos.
    """
    texts = [
        value for key, value in task["data"].items() if isinstance(value, str) and (key == "image" or "/" in value)
    ]
    for text in texts:
        parts = urllib.parse.urlsplit(text)
        # Photos of local storage are named in the query: `/data/local-files/?d=folder/photo.jpg`.
        path = urllib.parse.parse_qs(parts.query).get("d", [urllib.parse.unquote(parts.path)])[0]
        # Not every link is quoted: names in a bucket are not, nor are links that people or older versions wrote.
        links = [path, _as_written(text)]
        for link in (*links, *map(_without_upload, links)):
            if paths := photo_paths.get(posixpath.basename(link)):
                found = _nearest(link, paths)
                return found, text, _num_common(link, found)
    return posixpath.basename(urllib.parse.unquote(_as_written(texts[0]))) if texts else "", "", 0


def _without_upload(link: str) -> str:
    folder, name = posixpath.split(link)
    return posixpath.join(folder, _UPLOAD.sub("", name, count=1))


def _nearest(link: str, paths: Sequence[str]) -> str:
    """Returns which of the files of a link's name it means: the one that shares most folders with it, from the end on.

    Raises:
        BadRecordError: if these are several, and none of them lies at the top of the data folder.
    """
    common = {path: _num_common(link, path) for path in paths}
    nearest = [path for path in paths if common[path] == max(common.values())]
    whole = [path for path in nearest if len(path.split("/")) == common[path]]
    if len(nearest) > 1 and not whole:
        raise BadRecordError("ambiguous_photo", f"its link {link} can mean each of {', '.join(sorted(nearest)[:5])}")
    return (whole or nearest)[0]


def _num_common(link: str, path: str) -> int:
    """Returns how many parts of two paths are the same, counted from the end."""
    pairs = zip(reversed(link.split("/")), reversed(path.split("/")), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _as_written(link: str) -> str:
    """Returns the path in a link, with `+`, `&`, `#` and `%` as they stand there."""
    return link.rpartition("?d=")[2]


def _segmentation(shape: Mapping[str, Any]) -> Any:
    value, (height, width) = shape["value"], _size(shape).values()
    if height * width > _MAX_MASK_PIXELS:
        raise FieldError(f"the photo must have at most {_MAX_MASK_PIXELS} pixels. Received: {height} x {width} px")
    form = _form(shape)
    if form in (_BRUSH, _BITMASK):
        size_px = height, width
        mask = unpack_mask(list_field(value, "rle"), size_px) if form == _BRUSH else _bitmask(value, size_px)
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
        return {"size": [height, width], "counts": [0, *counts] if flat[0] else counts}
    if form == _POLYGON:
        points = [(_number(x) * width / 100, _number(y) * height / 100) for x, y in list_field(value, "points")]
    else:
        points = _turned_shape(form, value, width, height)
    return [[coordinate for point in points for coordinate in point]]


def _bitmask(value: Mapping[str, Any], size_px: tuple[int, int]) -> np.ndarray:
    """Returns the pixels of a PNG that are not transparent, which are the region, as bool of `size_px`."""
    _, _, encoded = text_field(value, "imageDataURL").partition("base64,")
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if image.size != size_px[::-1]:
        raise FieldError(f"a bitmask must have the photo's size of {size_px} px. Received: {image.size[::-1]}")
    return np.asarray(image.convert("RGBA"))[..., 3] > 0


def _turned_shape(kind: str, value: Mapping[str, Any], width: int, height: int) -> list[tuple[float, float]]:
    """Corners in px of a rectangle, turned about its first corner, or of an ellipse, about its centre."""
    x, y = _number(value["x"]) * width / 100, _number(value["y"]) * height / 100
    if kind == _RECTANGLE:
        right, bottom = _number(value["width"]) * width / 100, _number(value["height"]) * height / 100
        corners = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)]
    else:
        turns = [2 * math.pi * place / _ELLIPSE_CORNERS for place in range(_ELLIPSE_CORNERS)]
        radii = _number(value["radiusX"]) * width / 100, _number(value["radiusY"]) * height / 100
        corners = [(radii[0] * math.cos(turn), radii[1] * math.sin(turn)) for turn in turns]
    rotation = value.get("rotation")
    angle = 0.0 if is_absent(rotation) else math.radians(_number(rotation))
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners]


def _number(value: Any) -> float:
    if not is_number(value):
        raise FieldError(f"a coordinate must be a number. Received: {shown(value)}")
    return value
