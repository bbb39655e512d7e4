"""Reads COCO panoptic data sets: annotation file -> references to records -> checked records.

References are small and travel between workers; photos and PNGs are read where they are written. Areas and boxes are
measured in the PNG, so that they always agree with it. Plain functions: spreading the work is left to `ingest`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from components.coco_example_gen.coco_layout import CocoSplit, DataLayoutError
from components.coco_example_gen.kept_aside import KeptAside, Reason, RecordError
from maskformer_model.categories import CategoryTable
from maskformer_model.examples import ExampleRecord, SegmentRecord
from maskformer_model.panoptic_png import decode_panoptic_png, panoptic_png_size, segment_extents

# Decoded, a photo of this size takes 192 MB and its segment ids 256 MB.
MAX_PIXELS = 64_000_000
_NUM_LISTED_IDS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordReference:
    """Where one photo and its truth are, and what the annotation file says of them.

    Attributes:
        image_id: of the annotation file, as text.
        file_name: of the photo in its folder.
        photo_path: the photo.
        png_path: its panoptic PNG.
        height_px: of both.
        width_px: of both.
        segments_json: the annotation's `segments_info`, as json text: a tenth of the memory of the parsed lists.
        captions: may be empty.
    """

    image_id: str
    file_name: str
    photo_path: str
    png_path: str
    height_px: int
    width_px: int
    segments_json: str
    captions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SplitContent:
    """What an annotation file lists: categories, references in file-name order, and entries that lead nowhere."""

    categories: CategoryTable
    references: tuple[RecordReference, ...]
    kept_aside: tuple[KeptAside, ...]


def read_split(coco_split: CocoSplit, split: str, max_images: int = 0) -> SplitContent:
    """Reads the annotation files of a split, and no photo.

    Args:
        coco_split: where the files are.
        split: what the split is called from here on.
        max_images: the first so many images by file name; 0 takes all.

    Raises:
        DataLayoutError: if an annotation file is absent, is not whole json, or lacks one of its lists.
    """
    content = _read_json(coco_split.panoptic_json, ("images", "annotations", "categories"))
    try:
        categories = CategoryTable.from_coco(content["categories"])
    except ValueError as error:
        raise DataLayoutError(f"{coco_split.panoptic_json} must list its categories. {error}") from error
    images = sorted(content["images"], key=lambda image: str(_get(image, "file_name")))
    annotations = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[str(_get(annotation, "image_id"))].append(annotation)
    captions = _read_captions(coco_split)
    listed = {str(_get(image, "id")) for image in images}
    kept_aside = []
    if not max_images:
        strays = [image_id for image_id in annotations if image_id not in listed]
        kept_aside += [
            KeptAside(split, "", image_id, Reason.UNKNOWN_IMAGE, "An annotation must belong to an image of `images`.")
            for image_id in strays
        ]
    references, seen = [], set()
    for image in images[: max_images or None]:
        image_id = str(_get(image, "id"))
        try:
            if image_id in seen:
                raise RecordError(Reason.DUPLICATE_IMAGE_ID, f"Image ids must be unique. Received again: {image_id}")
            references.append(_reference(coco_split, image, annotations[image_id], captions.get(image_id, ())))
        except RecordError as error:
            kept_aside.append(
                KeptAside(split, str(_get(image, "file_name") or ""), image_id, error.reason, error.detail)
            )
        seen.add(image_id)
    return SplitContent(categories, tuple(references), tuple(kept_aside))


def read_record(reference: RecordReference, categories: CategoryTable) -> ExampleRecord:
    """Reads a photo with its truth and checks that photo, PNG and json agree.

    Raises:
        RecordError: with the reason, if they do not or one of them is absent or damaged.
    """
    declared = (reference.height_px, reference.width_px)
    if declared[0] * declared[1] > MAX_PIXELS:
        raise RecordError(
            Reason.TOO_LARGE, f"A photo may have {MAX_PIXELS} pixels. Received: {declared[0]} x {declared[1]} px"
        )
    photo = _read_file(reference.photo_path, Reason.MISSING_PHOTO)
    image_format, brightness = _check_photo(photo, declared)
    png = _read_file(reference.png_path, Reason.MISSING_PNG)
    return ExampleRecord(
        source_id=reference.image_id,
        filename=reference.file_name,
        image_encoded=photo,
        image_format=image_format,
        height_px=reference.height_px,
        width_px=reference.width_px,
        panoptic_png=png,
        segments=_check_segments(png, reference, categories),
        brightness=brightness,
        captions=reference.captions,
    )


def _read_json(path: str, lists: Iterable[str]) -> dict[str, list[Any]]:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            content = json.loads(file.read())
    except tf.errors.NotFoundError as error:
        raise DataLayoutError(f"An annotation file is missing. Expected: {path}") from error
    except ValueError as error:
        raise DataLayoutError(f"{path} must be a whole json file. Received one that fails with: {error}") from error
    for name in lists:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            received = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise DataLayoutError(f"{path} must be a json object with a list `{name}`. Received: {received}")
    return content


def _read_captions(coco_split: CocoSplit) -> dict[str, tuple[str, ...]]:
    if not tf.io.gfile.exists(coco_split.captions_json):
        return {}
    captions = defaultdict(list)
    for entry in _read_json(coco_split.captions_json, ("annotations",))["annotations"]:
        captions[str(_get(entry, "image_id"))].append(str(_get(entry, "caption")))
    return {image_id: tuple(texts) for image_id, texts in captions.items()}


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, Mapping) else None


def _reference(
    coco_split: CocoSplit, image: Any, annotations: list[Any], captions: tuple[str, ...]
) -> RecordReference:
    height_px, width_px = _get(image, "height"), _get(image, "width")
    sizes_are_counts = all(isinstance(size, int) and size > 0 for size in (height_px, width_px))
    if _get(image, "id") is None or not sizes_are_counts:
        raise RecordError(
            Reason.MALFORMED_ANNOTATION, f"An image needs `id` and positive `height` and `width`. Received: {image}"
        )
    if len(annotations) != 1:
        reason = Reason.MALFORMED_ANNOTATION if annotations else Reason.MISSING_ANNOTATION
        raise RecordError(reason, f"An image needs one annotation. Received: {len(annotations)}")
    if not isinstance(_get(annotations[0], "segments_info"), list):
        raise RecordError(
            Reason.MALFORMED_ANNOTATION, f"An annotation needs a list `segments_info`. Received: {annotations[0]}"
        )
    return RecordReference(
        image_id=str(image["id"]),
        file_name=str(_get(image, "file_name")),
        photo_path=_path_inside(coco_split.photo_dir, _get(image, "file_name")),
        png_path=_path_inside(coco_split.panoptic_png_dir, _get(annotations[0], "file_name")),
        height_px=image["height"],
        width_px=image["width"],
        segments_json=json.dumps(annotations[0]["segments_info"]),
        captions=captions,
    )


def _path_inside(folder: str, file_name: Any) -> str:
    """Joins folder and name; nothing outside the data folder is ever read."""
    if not isinstance(file_name, str) or not file_name:
        raise RecordError(Reason.MALFORMED_ANNOTATION, f"`file_name` must be a name. Received: {file_name!r}")
    if "\\" in file_name or "\0" in file_name or "://" in file_name or file_name.startswith("/"):
        raise RecordError(Reason.PATH_OUTSIDE_FOLDER, f"`file_name` must be relative. Received: {file_name!r}")
    if ".." in file_name.split("/"):
        raise RecordError(Reason.PATH_OUTSIDE_FOLDER, f"`file_name` must stay in its folder. Received: {file_name!r}")
    return posixpath.join(folder, file_name)


def _read_file(path: str, missing: Reason) -> bytes:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError) as error:
        raise RecordError(missing, f"The file must exist. Expected: {path}") from error


def _check_photo(photo: bytes, declared: tuple[int, int]) -> tuple[str, float]:
    """Decodes a photo and returns its format and brightness."""
    try:
        with Image.open(io.BytesIO(photo), formats=("JPEG", "PNG")) as image:
            image_format = str(image.format).lower()
            _check_size("photo", (image.height, image.width), declared)
            if image.mode not in ("L", "RGB"):
                raise RecordError(
                    Reason.UNSUPPORTED_PHOTO, f"A photo must be 8-bit RGB or grayscale. Received: mode {image.mode}"
                )
            # A JPEG is then decoded to an eighth of its size: every byte is still read, and the mean stays the same.
            image.draft("L", (image.width // 8, image.height // 8))
            return image_format, float(np.asarray(image.convert("L")).mean() / 255)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        detail = f"A photo must be a whole JPEG or PNG. Received {len(photo)} bytes that fail with: {error}"
        raise RecordError(Reason.UNREADABLE_PHOTO, detail) from error


def _check_size(what: str, received: tuple[int, int], declared: tuple[int, int]) -> None:
    if received != declared:
        raise RecordError(
            Reason.SIZE_MISMATCH,
            f"The {what} must be as high and wide as the json says: {declared[0]} x {declared[1]} px. "
            f"Received: {received[0]} x {received[1]} px",
        )


def _check_segments(png: bytes, reference: RecordReference, categories: CategoryTable) -> tuple[SegmentRecord, ...]:
    try:
        _check_size("panoptic PNG", panoptic_png_size(png), (reference.height_px, reference.width_px))
        segment_ids = decode_panoptic_png(png)
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(Reason.UNREADABLE_PNG, str(error)) from error
    entries = json.loads(reference.segments_json)
    if any(not isinstance(_get(entry, key), int) for entry in entries for key in ("id", "category_id")):
        raise RecordError(Reason.MALFORMED_ANNOTATION, "Each segment needs whole numbers `id` and `category_id`.")
    extents = {int(i): (int(a), b) for i, a, b in zip(*segment_extents(segment_ids), strict=True)}
    _check_ids([entry["id"] for entry in entries], set(extents))
    return tuple(_segment(entry, *extents[entry["id"]], categories) for entry in entries)


def _check_ids(listed: list[int], painted: set[int]) -> None:
    if len(set(listed)) != len(listed):
        raise RecordError(Reason.IDS_DISAGREE, f"Segment ids must be unique. Received {len(listed)} with repetitions.")
    only_listed, only_painted = sorted(set(listed) - painted), sorted(painted - set(listed))
    if only_listed or only_painted:
        raise RecordError(
            Reason.IDS_DISAGREE,
            "PNG and json must have the same segment ids. Received, in the json alone: "
            f"{only_listed[:_NUM_LISTED_IDS]}; in the PNG alone: {only_painted[:_NUM_LISTED_IDS]}",
        )


def _segment(entry: Mapping[str, Any], area_px: int, box: np.ndarray, categories: CategoryTable) -> SegmentRecord:
    try:
        class_index = categories.class_index(entry["category_id"])
    except KeyError as error:
        raise RecordError(Reason.UNKNOWN_CATEGORY, str(error.args[0])) from error
    x, y, width, height = (int(edge) for edge in box)
    return SegmentRecord(
        id=entry["id"],
        category_id=entry["category_id"],
        class_index=class_index,
        isthing=bool(categories.isthing[class_index]),
        iscrowd=bool(entry.get("iscrowd", 0)),
        area_px=area_px,
        bbox_px=(x, y, width, height),
    )
