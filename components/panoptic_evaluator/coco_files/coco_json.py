"""One COCO panoptic json, read and checked field by field, so that what is wrong in it is named and never counted.

Python is generous with what a json may hold: a crowd flag "0" is true and would excuse a miss, an id 1.5 would become
1, and a `file_name` that leaves its folder can score the truth against itself. How two files fit together is left to
`pairs`.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

_ANNOTATION_KEYS = ("image_id", "file_name", "segments_info")


def read_panoptic_json(path: pathlib.Path) -> dict[str, Any]:
    """The json with its `annotations`, `categories` and `images`; the last two may be empty or absent.

    Raises:
        ValueError: if it is no COCO panoptic json; the words name the file, the image and the field.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a json file. Received one that fails with: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise ValueError(f"{path} must be a COCO panoptic json, an object with a list of `annotations`.")
    for name in ("categories", "images"):
        if not _is_list_of_objects(document.get(name) or []):
            raise ValueError(f"{path}: `{name}` must be a list of objects. Received: {str(document[name])[:200]}")
    for image in document.get("images") or []:
        if not _is_image_id(image.get("id")) or not all(_is_whole(image.get(key, 1)) for key in ("height", "width")):
            raise ValueError(
                f"{path}: every image must have an `id`, and a whole `height` and `width`. Received: {image}"
            )
    for annotation in document["annotations"]:
        _check_annotation(annotation, path)
    return document


def _check_annotation(annotation: Any, path: pathlib.Path) -> None:
    if not isinstance(annotation, dict) or any(key not in annotation for key in _ANNOTATION_KEYS):
        raise ValueError(f"{path}: every annotation must have {_ANNOTATION_KEYS}. Received: {str(annotation)[:200]}")
    image_id, file_name, segments = (annotation[key] for key in _ANNOTATION_KEYS)
    if not _is_image_id(image_id):
        raise ValueError(f"{path}: `image_id` must be a whole number or a name. Received: {image_id!r}")
    if not isinstance(file_name, str) or not file_name or _leaves_folder(file_name):
        raise ValueError(
            f"{path}: `file_name` must name a PNG in its folder. Received for image {image_id}: {file_name!r}"
        )
    if not _is_list_of_objects(segments):
        raise ValueError(
            f"{path}: `segments_info` must be a list of objects. Received for image {image_id}: {str(segments)[:200]}"
        )
    for segment in segments:
        _check_segment(segment, f"{path}: image {image_id}")


def _check_segment(segment: Mapping[str, Any], where: str) -> None:
    if "id" not in segment or "category_id" not in segment:
        raise ValueError(f"{where}: every segment must have `id` and `category_id`. Received: {segment}")
    for key, is_right, rule in _SEGMENT_RULES:
        if key in segment and not is_right(segment[key]):
            raise ValueError(f"{where}: `{key}` of a segment must be {rule}. Received: {segment}")


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_image_id(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, str)  # Cityscapes has names.


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _leaves_folder(file_name: str) -> bool:
    path = pathlib.PurePosixPath(file_name)
    return path.is_absolute() or ".." in path.parts


def _is_score(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


_SEGMENT_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("id", _is_whole, "a whole number"),
    ("category_id", _is_whole, "a whole number"),
    ("area", lambda value: value is None or _is_whole(value), "a whole number"),
    ("iscrowd", lambda value: value is None or (_is_whole(value) or type(value) is bool) and value in (0, 1), "0 or 1"),
    ("score", _is_score, "a finite number"),
)
