"""Reads Label Studio's json export, a list of tasks, as the lists of one COCO instances json.

Polygons, rectangles, ellipses and brush strokes are read, of the first annotation of a task that was not skipped; their
coordinates are percentages of the photo. A photo is found by its name, with or without the eight digits and the hyphen
that an upload puts before it.
"""

from __future__ import annotations

import math
import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from components.coco_example_gen.records.labelme import readable_or_words
from maskformer_model.prediction.label_studio_rle import unpack_mask

_SHAPES = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_ELLIPSE_CORNERS = 64


def checked(document: Any) -> list[dict[str, Any]]:
    """Returns the tasks; a KeyError, TypeError or AttributeError says that the json holds none."""
    for task in document:
        list(task["annotations"]), task["data"].values(), task["id"]
    return list(document)


def coco_list(tasks: list[dict[str, Any]], name: str, photo_paths: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yields the entries of a COCO list.

    Args:
        tasks: The tasks of the export.
        name: "images", "annotations" or "categories".
        photo_paths: the files of the data folder by their name.
    """
    shapes = {task["id"]: _shapes(task) for task in tasks}
    labels = sorted({_label(shape) for of_task in shapes.values() for shape in of_task})
    if name == "categories":
        yield from ({"id": number, "name": label} for number, label in enumerate(labels, 1))
        return
    number = 0
    for task in tasks:
        if name == "images":
            size = {key: value for shape in shapes[task["id"]][:1] for key, value in _size(shape).items()}
            yield {"id": task["id"], "file_name": _photo_path(task, photo_paths)} | size
        elif name == "annotations":
            for shape in shapes[task["id"]]:
                number += 1
                entry = {"id": number, "image_id": task["id"], "category_id": labels.index(_label(shape)) + 1}
                yield entry | {"segmentation": readable_or_words(_segmentation, shape), "iscrowd": 0}


def _shapes(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    done = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
    results = done[0].get("result", []) if done else []
    return [shape for shape in results if shape.get("type") in _SHAPES and shape["value"].get(shape["type"])]


def _label(shape: Mapping[str, Any]) -> str:
    return str(shape["value"][shape["type"]][0])


def _size(shape: Mapping[str, Any]) -> dict[str, int]:
    return {"height": shape["original_height"], "width": shape["original_width"]}


def _photo_path(task: Mapping[str, Any], photo_paths: Mapping[str, str]) -> str:
    """Returns the photo's path below the data folder, or its plain name if it is not there."""
    texts = [
        value for key, value in task["data"].items() if isinstance(value, str) and (key == "image" or "/" in value)
    ]
    for text in texts:
        parts = urllib.parse.urlsplit(text)
        # Photos of local storage are named in the query: `/data/local-files/?d=folder/photo.jpg`.
        path = urllib.parse.parse_qs(parts.query).get("d", [urllib.parse.unquote(parts.path)])[0]
        name = posixpath.basename(path)
        for candidate in (name, _UPLOAD.sub("", name, count=1)):
            if candidate in photo_paths:
                return photo_paths[candidate]
    return posixpath.basename(texts[0]) if texts else ""


def _segmentation(shape: Mapping[str, Any]) -> Any:
    value, height, width = shape["value"], shape["original_height"], shape["original_width"]
    if shape["type"] == "brushlabels":
        mask = unpack_mask(value["rle"], (height, width))
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *edges.tolist(), flat.size]).tolist()
        return {"size": [height, width], "counts": [0, *counts] if flat[0] else counts}
    if shape["type"] == "polygonlabels":
        points = [(x * width / 100, y * height / 100) for x, y in value["points"]]
    else:
        points = _turned_shape(shape["type"], value, width, height)
    return [[coordinate for point in points for coordinate in point]]


def _turned_shape(kind: str, value: Mapping[str, Any], width: int, height: int) -> list[tuple[float, float]]:
    """Corners in px of a rectangle, turned about its first corner, or of an ellipse, about its centre."""
    x, y = value["x"] * width / 100, value["y"] * height / 100
    if kind == "rectanglelabels":
        right, bottom = value["width"] * width / 100, value["height"] * height / 100
        corners = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)]
    else:
        turns = [2 * math.pi * place / _ELLIPSE_CORNERS for place in range(_ELLIPSE_CORNERS)]
        radii = value["radiusX"] * width / 100, value["radiusY"] * height / 100
        corners = [(radii[0] * math.cos(turn), radii[1] * math.sin(turn)) for turn in turns]
    angle = math.radians(value.get("rotation", 0))
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners]
