"""A reference -> a checked record: photo and panoptic PNG are read, decoded and held against the json.

The photo is decoded by the same function that training and serving use, so what passes here decodes there. Areas and
boxes are counted from the PNG.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.coco_example_gen.annotations import ImageRef
from components.coco_example_gen.coco_files import CocoFiles, read_file
from components.coco_example_gen.kept_aside import BadRecordError
from maskformer_model import preprocessing
from maskformer_model.categories import CategoryTable
from maskformer_model.examples import ExampleRecord, SegmentRecord
from maskformer_model.panoptic_png import decode_panoptic_png, panoptic_png_size, segment_extents

MAX_PHOTO_PIXELS = 100_000_000
_IMAGE_FORMATS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}
_LUMA_OF_RGB = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it.


def read_record(ref: ImageRef, files: CocoFiles, categories: CategoryTable) -> ExampleRecord:
    """Reads and checks one photo with its panoptic truth.

    Raises:
        BadRecordError: if the record has to be kept aside; the reasons are listed in `kept_aside`.
    """
    photo = _read(files.photo_dir, ref.file_name, "missing_photo")
    png = _read(files.panoptic_dir, ref.panoptic_name, "missing_panoptic_png")
    image_format, brightness = check_photo(photo, ref.height_px, ref.width_px)
    return ExampleRecord(
        source_id=ref.image_id,
        filename=ref.file_name,
        image_encoded=photo,
        image_format=image_format,
        height_px=ref.height_px,
        width_px=ref.width_px,
        panoptic_png=png,
        segments=check_segments(ref, png, categories),
        brightness=brightness,
        captions=ref.captions,
    )


def check_photo(photo: bytes, height_px: int, width_px: int) -> tuple[str, float]:
    """Decodes a photo.

    Args:
        photo: a whole file.
        height_px: that it should have.
        width_px: that it should have.

    Returns:
        "jpeg" or "png", and the mean of the photo's luma in 0..1.

    Raises:
        BadRecordError: if it is not an image, damaged, too large, or of another size.
    """
    image_format = next((name for start, name in _IMAGE_FORMATS.items() if photo.startswith(start)), None)
    if image_format is None:
        raise BadRecordError("not_an_image", f"a photo must be a JPEG or PNG file; this one begins with {photo[:8]!r}")
    try:
        size_px = tuple(preprocessing.image_size(tf.constant(photo)).numpy().tolist())
        _check_size("the photo", size_px, (height_px, width_px))
        if height_px * width_px > MAX_PHOTO_PIXELS:
            raise BadRecordError("too_large", f"{height_px} x {width_px} px are more than {MAX_PHOTO_PIXELS} pixels")
        rgb = preprocessing.decode_image(tf.constant(photo)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise BadRecordError("damaged_photo", f"it cannot be decoded: {error.message}") from error
    # Rows first: adding whole rows is several times faster than adding up three interleaved channels.
    row_sums = rgb.reshape(height_px, 3 * width_px).sum(axis=0, dtype=np.uint32)
    mean_rgb = row_sums.reshape(width_px, 3).sum(axis=0, dtype=np.int64) / (height_px * width_px)
    return image_format, float(mean_rgb @ _LUMA_OF_RGB / 255)


def check_segments(ref: ImageRef, png: bytes, categories: CategoryTable) -> tuple[SegmentRecord, ...]:
    """Holds the json's segments against the PNG's.

    Args:
        ref: with the json's segments.
        png: a whole panoptic PNG.
        categories: of the data set.

    Returns:
        The segments in the json's order.

    Raises:
        BadRecordError: if the two disagree, or a segment is malformed or of an unknown category.
    """
    # The size is in the header: a PNG that claims to be huge is refused before it is decoded.
    _check_size("the panoptic PNG", _read_png(panoptic_png_size, png), (ref.height_px, ref.width_px))
    ids, areas, boxes = segment_extents(_read_png(decode_panoptic_png, png))
    extents: dict[int, tuple[int, list[int]]] = {
        segment_id: (area_px, bbox_px)
        for segment_id, area_px, bbox_px in zip(ids.tolist(), areas.tolist(), boxes.tolist(), strict=True)
    }
    entries = _segments_by_id(ref.segments_info)
    if absent := sorted(entries.keys() - extents.keys()):
        raise BadRecordError("segment_not_in_png", f"no pixel of {ref.panoptic_name} has the ids {absent[:10]}")
    if unknown := sorted(extents.keys() - entries.keys()):
        raise BadRecordError("segment_not_in_json", f"{ref.panoptic_name} has pixels of the ids {unknown[:10]}")
    return tuple(_segment_record(entry, *extents[segment_id], categories) for segment_id, entry in entries.items())


def _read(directory: str, name: str, missing_reason: str) -> bytes:
    normal = posixpath.normpath(name)
    if not name or posixpath.isabs(name) or "\\" in name or "\0" in name or normal.split("/")[0] in (".", ".."):
        raise BadRecordError("bad_file_name", f"a file name must lead to a file inside {directory}. Received: {name!r}")
    path = os.path.join(directory, normal)
    content = read_file(path)
    if content is None:
        raise BadRecordError(missing_reason, f"not found: {path}")
    return content


def _check_size(what: str, size_px: tuple[int, ...], expected_px: tuple[int, int]) -> None:
    if size_px != expected_px:
        raise BadRecordError(
            "size_mismatch", f"{what} has height and width {size_px} px, the json says {expected_px} px"
        )


def _read_png(read: Callable[[bytes], Any], png: bytes) -> Any:
    try:
        return read(png)
    except ValueError as error:
        raise BadRecordError("damaged_panoptic_png", str(error)) from error


def _segments_by_id(segments_info: tuple[Any, ...]) -> dict[int, dict[str, Any]]:
    entries: dict[int, dict[str, Any]] = {}
    for entry in segments_info:
        keys = ("id", "category_id")
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), int) for key in keys):
            raise BadRecordError("malformed_annotation", f"a segment needs the integers {keys}. Received: {entry!r}")
        if entry["id"] in entries:
            raise BadRecordError("repeated_segment_id", f"two segments have the id {entry['id']}")
        entries[entry["id"]] = entry
    return entries


def _segment_record(
    entry: dict[str, Any], area_px: int, bbox_px: Sequence[int], categories: CategoryTable
) -> SegmentRecord:
    try:
        class_index = categories.class_index(entry["category_id"])
    except KeyError as error:
        raise BadRecordError("unknown_category", f"segment {entry['id']}: {error.args[0]}") from error
    return SegmentRecord(
        id=entry["id"],
        category_id=entry["category_id"],
        class_index=class_index,
        isthing=categories.categories[class_index].isthing,
        iscrowd=bool(entry.get("iscrowd", 0)),
        area_px=area_px,
        bbox_px=(bbox_px[0], bbox_px[1], bbox_px[2], bbox_px[3]),
    )
