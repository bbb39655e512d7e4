"""The panoptic json of one split -> categories and one reference per photo; nothing of a photo is read here."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from typing import Any

import tensorflow as tf

from components.coco_example_gen.coco_files import CocoFiles, read_file
from components.coco_example_gen.kept_aside import KeptAside
from maskformer_model.categories import CategoryTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRef:
    """What the json says of one photo: enough to find and check it, without its pixels.

    Attributes:
        image_id: the json's id, as text.
        file_name: the photo's file, relative to the photos' folder.
        height_px: as the json says.
        width_px: as the json says.
        panoptic_name: the panoptic PNG's file, relative to the PNGs' folder.
        segments_info: the json's entries of its segments, not yet checked.
        captions: may be empty.
    """

    image_id: str
    file_name: str
    height_px: int
    width_px: int
    panoptic_name: str
    segments_info: tuple[Any, ...]
    captions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitAnnotations:
    """What the annotation files of one split say.

    Attributes:
        categories: of the data set.
        images: references in the order of their file names.
        kept_aside: entries of the json that no reference could be made of.
    """

    categories: CategoryTable
    images: tuple[ImageRef, ...]
    kept_aside: tuple[KeptAside, ...]


def read_annotations(files: CocoFiles, split: str, max_images: int = 0) -> SplitAnnotations:
    """Reads the panoptic json and, if there is one, the captions.

    Args:
        files: of the split.
        split: name for the records that are kept aside.
        max_images: take the first so many photos by file name; 0 takes all.

    Raises:
        ValueError: if a file is not json or lacks a list that it must have, or the categories are not usable.
    """
    document = _read_document(files.annotation_file, ("images", "annotations", "categories"))
    kept_aside: list[KeptAside] = []

    def keep_aside(entry: Any, reason: str, detail: str, id_key: str = "id") -> None:
        values = entry if isinstance(entry, dict) else {}
        image_id, file_name = (str(values.get(key, "")) for key in (id_key, "file_name"))
        kept_aside.append(KeptAside(split=split, image_id=image_id, file_name=file_name, reason=reason, detail=detail))

    images = sorted(document["images"], key=_file_name)[: max_images or None]
    annotations = _by_image_id(document["annotations"])
    captions = _read_captions(files)
    refs = []
    for image in images:
        problem = _image_problem(image)
        found = annotations.pop(_id_of(image, "id"), [])
        if problem:
            keep_aside(image, "malformed_annotation", problem)
        elif not found:
            keep_aside(image, "missing_annotation", f"{files.annotation_file} has no segments for this photo")
        elif len(found) > 1:
            keep_aside(image, "repeated_annotation", f"{len(found)} entries have this `image_id`")
        elif problem := _annotation_problem(found[0]):
            keep_aside(image, "malformed_annotation", problem)
        else:
            refs.append(_image_ref(image, found[0], captions.get(image["id"], ())))
    if not max_images:
        # With a limit, entries of other photos are there by intention.
        for image_id, entries in annotations.items():
            for entry in entries:
                keep_aside(entry, "unknown_image", f"no photo of the json has the id {image_id!r}", "image_id")
    categories = CategoryTable.from_coco(document["categories"])
    return SplitAnnotations(categories=categories, images=tuple(refs), kept_aside=tuple(kept_aside))


def _read_document(path: str, lists: tuple[str, ...]) -> dict[str, list[Any]]:
    content = read_file(path)
    if content is None:
        raise FileNotFoundError(f"The annotation file must exist. Not found: {path}")
    try:
        document = json.loads(content)
    except ValueError as error:  # Also a file that is not UTF-8.
        raise ValueError(f"An annotation file must be json. Received {path}, which fails with: {error}") from error
    missing = [name for name in lists if not isinstance(document, dict) or not isinstance(document.get(name), list)]
    if missing:
        raise ValueError(f"An annotation file must have the lists {list(lists)}. Not found in {path}: {missing}")
    return document


def _read_captions(files: CocoFiles) -> dict[Any, tuple[str, ...]]:
    if not tf.io.gfile.exists(files.captions_file):
        return {}
    captions: dict[Any, tuple[str, ...]] = {}
    for image_id, entries in _by_image_id(_read_document(files.captions_file, ("annotations",))["annotations"]).items():
        texts = (entry.get("caption") for entry in entries if isinstance(entry, dict))
        captions[image_id] = tuple(text for text in texts if isinstance(text, str))
    return captions


def _file_name(image: Any) -> str:
    return str(image.get("file_name", "")) if isinstance(image, dict) else ""


def _by_image_id(annotations: list[Any]) -> dict[Any, list[Any]]:
    by_id = defaultdict(list)
    for entry in annotations:
        by_id[_id_of(entry, "image_id")].append(entry)
    return dict(by_id)


def _id_of(entry: Any, key: str) -> int | str | None:
    image_id = entry.get(key) if isinstance(entry, dict) else None
    return image_id if isinstance(image_id, int | str) else None


def _image_problem(image: Any) -> str:
    if not isinstance(image, dict):
        return f"an entry of `images` must be an object. Received: {image!r}"
    if not isinstance(image.get("id"), int | str):
        return f"`id` must be a number or text. Received: {image.get('id')!r}"
    if not isinstance(image.get("file_name"), str):
        return f"`file_name` must be text. Received: {image.get('file_name')!r}"
    size = image.get("height"), image.get("width")
    if not all(isinstance(edge, int) and edge > 0 for edge in size):
        return f"`height` and `width` must be positive integers. Received: {size}"
    return ""


def _annotation_problem(annotation: dict[str, Any]) -> str:
    if not isinstance(annotation.get("file_name"), str):
        return f"`file_name` of the panoptic PNG must be text. Received: {annotation.get('file_name')!r}"
    if not isinstance(annotation.get("segments_info"), list):
        return f"`segments_info` must be a list. Received: {annotation.get('segments_info')!r}"
    return ""


def _image_ref(image: dict[str, Any], annotation: dict[str, Any], captions: tuple[str, ...]) -> ImageRef:
    return ImageRef(
        image_id=str(image["id"]),
        file_name=image["file_name"],
        height_px=image["height"],
        width_px=image["width"],
        panoptic_name=annotation["file_name"],
        segments_info=tuple(annotation["segments_info"]),
        captions=captions,
    )
