"""Reads Label Studio's json export, a list of tasks, as the lists of one COCO instances json.

Polygons, rectangles, ellipses and brush strokes are read, of the first annotation of a task that was not skipped; their
coordinates are percentages of the photo. A photo is found by its name, with or without the eight digits and the hyphen
that an upload puts before it. A damaged task costs its photo; one without a finished annotation is left out.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from components.coco_example_gen.kept_aside import UnreadPhoto
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

_SHAPES = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_ELLIPSE_CORNERS = 64
_MAX_MASK_PIXELS = 100_000_000


class _Task(NamedTuple):
    """What is used of a task.

    Attributes:
        image_id: The task's id as text.
        file_name: The photo's path below the data folder.
        shapes: The shapes that are objects.
    """

    image_id: str
    file_name: str
    shapes: list[dict[str, Any]]


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


def coco_list(tasks: list[Any], name: str, photo_paths: Mapping[str, str]) -> Iterator[dict[str, Any] | UnreadPhoto]:
    """Yields the entries of a COCO list, and in place of an image what keeps a photo from being read.

    Args:
        tasks: The tasks of the export.
        name: "images", "annotations" or "categories".
        photo_paths: the files of the data folder by their name.
    """
    found = [_checked(task, photo_paths) for task in tasks]
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
    elif name == "annotations":
        # Of tasks that share an id only the first is taken, and so are its objects.
        first = {task.image_id: task for task in reversed(read)}
        pairs = ((task, shape) for task in read if first[task.image_id] is task for shape in task.shapes)
        for number, (task, shape) in enumerate(pairs, 1):
            entry = {"id": number, "image_id": task.image_id, "category_id": labels.index(_label(shape)) + 1}
            yield entry | {"segmentation": readable_or_words(_segmentation, shape), "iscrowd": 0}


def _checked(task: Any, photo_paths: Mapping[str, str]) -> _Task | UnreadPhoto:
    """Returns a task, or why it is left out."""
    image_id = file_name = ""
    try:
        image_id = image_key(task["id"], "id")
        file_name = _photo_path(task, photo_paths)
        done = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
        if not done:
            detail = "its task has no annotation that was finished"
            return UnreadPhoto(
                image_id=image_id, file_name=file_name, reason="unlabeled_photo", detail=detail, is_record=False
            )
        shapes = [shape for shape in list_field(done[0], "result") if shape.get("type") in _SHAPES]
        shapes = [shape for shape in shapes if shape["value"].get(shape["type"])]
        sizes = [_size(shape) for shape in shapes if _label(shape)]
        if other := [size for size in sizes if size != sizes[0]]:
            raise FieldError(f"all shapes must be of a photo of one size. Received: {sizes[0]} and {other[0]}")
    except (FieldError, LookupError, TypeError, AttributeError, ValueError) as error:
        return UnreadPhoto(image_id=image_id, file_name=file_name, detail=f"its task cannot be used: {error!r}")
    return _Task(image_id, file_name, shapes)


def _label(shape: Mapping[str, Any]) -> str:
    labels = list_field(shape["value"], shape["type"])
    return text_field({shape["type"]: labels[0]}, shape["type"])


def _size(shape: Mapping[str, Any]) -> dict[str, int]:
    keys = {"height": "original_height", "width": "original_width"}
    return {key: whole_field(shape, name, low=1) for key, name in keys.items()}


def _photo_path(task: Mapping[str, Any], photo_paths: Mapping[str, str]) -> str:
    """Returns the photo's path below the data folder, or its plain name if it is not there."""
    texts = [
        value for key, value in task["data"].items() if isinstance(value, str) and (key == "image" or "/" in value)
    ]
    for text in texts:
        parts = urllib.parse.urlsplit(text)
        # Photos of local storage are named in the query: `/data/local-files/?d=folder/photo.jpg`.
        path = urllib.parse.parse_qs(parts.query).get("d", [urllib.parse.unquote(parts.path)])[0]
        # Not every link is quoted: names in a bucket are not, nor are links that people or older versions wrote.
        names = [posixpath.basename(path), posixpath.basename(_as_written(text))]
        for candidate in (*names, *(_UPLOAD.sub("", name, count=1) for name in names)):
            if candidate in photo_paths:
                return photo_paths[candidate]
    return posixpath.basename(urllib.parse.unquote(_as_written(texts[0]))) if texts else ""


def _as_written(link: str) -> str:
    """Returns the path in a link, with `+`, `&`, `#` and `%` as they stand there."""
    return link.rpartition("?d=")[2]


def _segmentation(shape: Mapping[str, Any]) -> Any:
    value, (height, width) = shape["value"], _size(shape).values()
    if height * width > _MAX_MASK_PIXELS:
        raise FieldError(f"the photo must have at most {_MAX_MASK_PIXELS} pixels. Received: {height} x {width} px")
    if shape["type"] == "brushlabels":
        mask = unpack_mask(list_field(value, "rle"), (height, width))
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
        return {"size": [height, width], "counts": [0, *counts] if flat[0] else counts}
    if shape["type"] == "polygonlabels":
        points = [(_number(x) * width / 100, _number(y) * height / 100) for x, y in list_field(value, "points")]
    else:
        points = _turned_shape(shape["type"], value, width, height)
    return [[coordinate for point in points for coordinate in point]]


def _turned_shape(kind: str, value: Mapping[str, Any], width: int, height: int) -> list[tuple[float, float]]:
    """Corners in px of a rectangle, turned about its first corner, or of an ellipse, about its centre."""
    x, y = _number(value["x"]) * width / 100, _number(value["y"]) * height / 100
    if kind == "rectanglelabels":
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
