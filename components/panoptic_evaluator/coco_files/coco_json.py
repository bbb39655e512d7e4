"""Reads a COCO panoptic json and checks every field, so that a fault is reported and never counted.

`maskformer_model.coco_schema` says what a field may hold, for ingest and evaluation. Without the checks, a crowd flag
"0" would be true and excuse a miss, an id 1.5 would become 1, and a `file_name` that leaves its folder could score the
truth against itself. `pairs` checks that two files fit together.
"""

from __future__ import annotations

import json
import pathlib
import posixpath
from collections import Counter
from typing import Any

from maskformer_model import coco_schema
from maskformer_model.coco_schema import FieldError, shown

_ANNOTATION_KEYS = ("image_id", "file_name", "segments_info")


def read_panoptic_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the json with its `annotations`, `categories` and `images`; the last two may be empty or absent.

    Image ids are text, whichever of 1, 1.0 and "1" the file has, and the segments' fields are as `coco_schema` reads
    them.

    Raises:
        ValueError: if it is not a COCO panoptic json; the message names the file, the image and the field.
    """
    document = _read_document(path)
    for name in ("categories", "images"):
        if not _is_list_of_objects(document.get(name) or []):
            raise ValueError(f"{path}: `{name}` must be a list of objects. Received: {shown(document[name])}")
    images = [_image(image, path) for image in document.get("images") or []]
    annotations = [_annotation(annotation, path) for annotation in document["annotations"]]
    _check_own_files(annotations, path)
    return document | {"images": images, "annotations": annotations}


def _read_document(path: pathlib.Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())  # Finds the encoding, with or without a byte-order mark.
    except RecursionError:
        raise ValueError(f"{path} must be a json file. Received one that is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} must be a json file. Received one that fails with: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise ValueError(f"{path} must be a COCO panoptic json, an object with a list of `annotations`.")
    return document


def _image(image: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    try:
        sizes = {key: coco_schema.whole_field(image, key, low=1, optional=True) for key in ("height", "width")}
        return image | {"id": coco_schema.image_key(image.get("id"), "id"), **sizes}
    except FieldError as error:
        rule = "every image must have an `id`, and a whole `height` and `width`"
        raise ValueError(f"{path}: {rule}. Received: {shown(image)}: {error}") from error


def _annotation(annotation: Any, path: pathlib.Path) -> dict[str, Any]:
    if not isinstance(annotation, dict) or any(key not in annotation for key in _ANNOTATION_KEYS):
        raise ValueError(f"{path}: every annotation must have {_ANNOTATION_KEYS}. Received: {shown(annotation)}")
    file_name, segments = annotation["file_name"], annotation["segments_info"]
    try:
        image_id = coco_schema.image_key(annotation["image_id"])
    except FieldError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(file_name, str) or not file_name or leaves_folder(file_name):
        rule = "`file_name` must name a PNG in its folder"
        raise ValueError(f"{path}: {rule}. Received for image {image_id}: {shown(file_name)}")
    if not _is_list_of_objects(segments):
        rule = "`segments_info` must be a list of objects"
        raise ValueError(f"{path}: {rule}. Received for image {image_id}: {shown(segments)}")
    return {
        "image_id": image_id,
        "file_name": coco_schema.whole_text(file_name),
        "segments_info": [_segment(segment, f"{path}: image {image_id}") for segment in segments],
    }


def _segment(segment: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        fields = coco_schema.segment_entry(segment)._asdict()
    except FieldError as error:
        raise ValueError(f"{where}: a segment's {error} in {shown(segment)}") from error
    score = segment.get("score")
    if score is not None and not coco_schema.is_number(score):
        raise ValueError(f"{where}: a segment's `score` must be a finite number. Received: {shown(segment)}")
    return fields if score is None else fields | {"score": score}


def leaves_folder(file_name: str) -> bool:
    """Returns whether a file name is absolute, leads out of its folder, or names no file."""
    path = pathlib.PurePosixPath(file_name)
    return path.is_absolute() or ".." in path.parts or not path.parts or "\0" in file_name


def _check_own_files(annotations: list[dict[str, Any]], path: pathlib.Path) -> None:
    times = Counter(posixpath.normpath(annotation["file_name"]) for annotation in annotations)
    image_ids = {annotation["image_id"] for annotation in annotations}
    if len(image_ids) == len(annotations) and (repeated := [name for name, count in times.items() if count > 1]):
        raise ValueError(f"{path}: every image must have a PNG of its own. Named by more than one: {repeated[:5]}")


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
