"""Turns a reference into a checked record: reads and decodes photo and truth, and compares them with the annotations.

Whatever form the truth has, it becomes segment ids of a panoptic PNG and a list of segments, and one set of checks.
Areas and boxes are counted from the pixels, and what the json says of them is compared with that. A panoptic PNG of the
data set is stored as it is; where there is none, one is made.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from components.coco_example_gen.kept_aside import BadRecordError, Notice
from components.coco_example_gen.layouts.class_folders import CLASSES_CODE
from components.coco_example_gen.layouts.data_files import read_category_file, read_file
from components.coco_example_gen.layouts.split_source import BACKGROUND, INSTANCES, LABELS, PANOPTIC, SplitSource
from components.coco_example_gen.records.categories_file import stuff_ids
from components.coco_example_gen.records.class_names import read_class_names
from components.coco_example_gen.records.class_png import ClassPngs, read_class_png
from components.coco_example_gen.records.instance_masks import paint_objects
from components.coco_example_gen.records.label_png import label_png_size, read_label_png
from components.coco_example_gen.records.photo_check import check_photo, check_size
from components.coco_example_gen.records.references import ImageRef
from maskformer_model import coco_schema
from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import FieldError, SegmentEntry
from maskformer_model.data import stated_extents
from maskformer_model.data.examples import ExampleRecord, SegmentRecord
from maskformer_model.data.panoptic_png import (
    decode_panoptic_png,
    encode_panoptic_png,
    panoptic_png_size,
    segment_extents,
)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth about a photo.

    Attributes:
        segment_ids: `[height, width]` int32, 0 = void.
        png: the same as a panoptic PNG's file.
        segments_info: what the annotations say of the segments, not yet checked.
        name: The name of the file, for messages.
        notices: what was left out.
    """

    segment_ids: np.ndarray
    png: bytes
    segments_info: Sequence[Any]
    name: str
    notices: Sequence[Notice] = ()


class CheckedRecord(NamedTuple):
    """A photo with its truth.

    Attributes:
        record: what becomes an Example.
        segment_ids: `[height, width]` int32, 0 = void.
        notices: what was noticed on the way.
    """

    record: ExampleRecord
    segment_ids: np.ndarray
    notices: tuple[Notice, ...]


def read_record(ref: ImageRef, source: SplitSource, categories: CategoryTable) -> ExampleRecord:
    """Reads and checks one photo with its truth.

    Raises:
        BadRecordError: if the record has to be skipped; the reasons are listed in `kept_aside`.
    """
    return read_checked_record(ref, source, categories).record


def read_checked_record(ref: ImageRef, source: SplitSource, categories: CategoryTable) -> CheckedRecord:
    """Reads a record as `read_record` does; also returns the segment ids and what was noticed."""
    photo = _read_photo(ref.file_name, source)
    facts = check_photo(photo, ref.size_px)
    truth = _read_truth(ref, source, facts.size_px, categories)
    record = ExampleRecord(
        source_id=ref.image_id,
        filename=ref.file_name,
        image_encoded=photo,
        image_format=facts.image_format,
        height_px=facts.size_px[0],
        width_px=facts.size_px[1],
        panoptic_png=truth.png,
        segments=check_segments(truth, categories, source.areas),
        brightness=facts.brightness,
        captions=ref.captions,
        channel_sums=facts.channel_sums,
        channel_square_sums=facts.channel_square_sums,
        void_is_background=source.truth == INSTANCES and source.unlabeled == BACKGROUND,
    )
    notices = list(truth.notices)
    if facts.orientation != 1:
        detail = f"its EXIF orientation is {facts.orientation}; photo and truth are taken as they are stored"
        notices.append(Notice("exif_orientation", detail))
    notices += [
        Notice("box_leaves_photo", f"object {entry.id}: `bbox` {list(entry.bbox)} in a photo of {facts.size_px} px")
        for entry in ref.objects
        if entry.bbox is not None and stated_extents.clipped(entry.bbox, facts.size_px) != entry.bbox
    ]
    return CheckedRecord(record, truth.segment_ids, tuple(notices))


def check_segments(
    truth: Truth, categories: CategoryTable, areas: str = stated_extents.PIXELS
) -> tuple[SegmentRecord, ...]:
    """Compares the annotations' segments with the pixels.

    Args:
        truth: both.
        categories: The data set's categories.
        areas: "json" where a stated area may be larger than the pixels, see `stated_extents`.

    Returns:
        The segments in the annotations' order.

    Raises:
        BadRecordError: if the two disagree, or a segment is malformed or of an unknown category.
    """
    ids, areas_px, boxes_px = segment_extents(truth.segment_ids)
    extents: dict[int, tuple[int, list[int]]] = {
        segment_id: (area_px, bbox_px)
        for segment_id, area_px, bbox_px in zip(ids.tolist(), areas_px.tolist(), boxes_px.tolist(), strict=True)
    }
    entries = _segments_by_id(truth.segments_info)
    if absent := sorted(entries.keys() - extents.keys()):
        raise BadRecordError("segment_not_in_png", f"no pixel of {truth.name} has the ids {absent[:10]}")
    if unknown := sorted(extents.keys() - entries.keys()):
        raise BadRecordError("segment_not_in_json", f"{truth.name} has pixels of the ids {unknown[:10]}")
    for segment_id, entry in entries.items():
        area_px, bbox_px = extents[segment_id]
        if problem := stated_extents.area_problem(entry.area, area_px, areas):
            raise BadRecordError("area_mismatch", f"segment {segment_id} of {truth.name}: {problem}")
        if problem := stated_extents.box_problem(entry.bbox, bbox_px, areas):
            raise BadRecordError("bbox_mismatch", f"segment {segment_id} of {truth.name}: {problem}")
    return tuple(_segment_record(entry, *extents[segment_id], categories) for segment_id, entry in entries.items())


def _read_truth(ref: ImageRef, source: SplitSource, size_px: tuple[int, int], categories: CategoryTable) -> Truth:
    if source.truth == PANOPTIC:
        png = _read_in(source.panoptic_dir, ref.panoptic_name, "missing_panoptic_png")
        # The size is in the header: a PNG that claims to be huge is refused before it is decoded.
        reason = "unsuitable_panoptic_png" if png.startswith(_PNG_SIGNATURE) else "damaged_panoptic_png"
        check_size("the panoptic PNG", _read_png(panoptic_png_size, png, reason), size_px)
        ids = _read_png(decode_panoptic_png, png, "damaged_panoptic_png")
        return Truth(ids, png, ref.segments_info, ref.panoptic_name)
    if source.truth == LABELS and source.label_code == CLASSES_CODE:
        name = os.path.splitext(ref.file_name)[0] + source.label_suffix
        ids, entries = _read_class_png(name, source, size_px, categories)
    elif source.truth == LABELS:
        name = ref.file_name[: -len(source.photo_suffix)] + source.label_suffix
        png = _read_label(source.label_dir, name)
        check_size("the label PNG", label_png_size(png), size_px)
        content = read_category_file(source.category_file)
        ids, entries = read_label_png(png, source.label_code, categories, content)
    elif source.truth == INSTANCES:
        painted = paint_objects(ref.objects, size_px, stuff_ids(categories))
        png = encode_panoptic_png(painted.ids)
        return Truth(painted.ids, png, painted.segments_info, source.object_file, painted.notices)
    else:
        name, ids, entries = "", np.zeros(size_px, np.int32), []
    return Truth(ids, encode_panoptic_png(ids), entries, name)


def _read_class_png(
    name: str, source: SplitSource, size_px: tuple[int, int], categories: CategoryTable
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    objects = None
    if source.object_dir:
        objects = read_file(_path_in(source.object_dir, name))  # May be missing: then regions are the objects.
    pngs = ClassPngs(_read_label(source.label_dir, name), objects)
    things = {int(category.id) for category in categories.categories if category.isthing}
    classes = read_class_names(read_category_file(source.category_file))
    ids, entries = read_class_png(pngs, classes, things)
    check_size("the label PNG", (ids.shape[0], ids.shape[1]), size_px)
    return ids, entries


def _read_photo(name: str, source: SplitSource) -> bytes:
    paths = [_path_in(folder, source.photo_name(name)) for folder in source.photo_dirs]
    found = [content for content in map(_read_named, paths) if content is not None]
    if not found:
        raise BadRecordError("missing_photo", f"not found: {', '.join(paths)}")
    if len(found) > 1:
        raise BadRecordError("ambiguous_photo", f"there is more than one of {', '.join(paths)}")
    return found[0]


def _read_in(directory: str, name: str, missing_reason: str) -> bytes:
    path = _path_in(directory, name)
    content = _read_named(path)
    if content is None:
        raise BadRecordError(missing_reason, f"not found: {path}")
    return content


def _read_label(directory: str, name: str) -> bytes:
    """The label PNG of a photo, also where its ending is upper-case."""
    content = _read_named(_path_in(directory, name))
    if content is not None:
        return content
    stem, ending = os.path.splitext(name)
    upper = _read_named(_path_in(directory, stem + ending.upper()))
    return upper if upper is not None else _read_in(directory, name, "missing_label_png")


def _read_named(path: str) -> bytes | None:
    """Reads a path, also if the file system composes letters and accents differently from the json (macOS)."""
    forms = dict.fromkeys([path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD") if not path.isascii())])
    return next((content for content in map(read_file, forms) if content is not None), None)


def _path_in(directory: str, name: str) -> str:
    normal = posixpath.normpath(name)
    if not name or posixpath.isabs(name) or "\\" in name or "\0" in name or normal.split("/")[0] in (".", ".."):
        raise BadRecordError("bad_file_name", f"a file name must lead to a file inside {directory}. Received: {name!r}")
    return os.path.join(directory, normal)


def _read_png(read: Callable[[bytes], Any], png: bytes, reason: str) -> Any:
    try:
        return read(png)
    except ValueError as error:
        raise BadRecordError(reason, str(error)) from error


def _segments_by_id(segments_info: Sequence[Any]) -> dict[int, SegmentEntry]:
    entries: dict[int, SegmentEntry] = {}
    for value in segments_info:
        try:
            entry = coco_schema.segment_entry(value)
        except FieldError as error:
            where = coco_schema.shown(value.get("id")) if isinstance(value, Mapping) else ""
            raise BadRecordError("malformed_annotation", f"segment {where}: {error}") from error
        if entry.id in entries:
            raise BadRecordError("repeated_segment_id", f"two segments have the id {entry.id}")
        entries[entry.id] = entry
    return entries


def _segment_record(
    entry: SegmentEntry, area_px: int, bbox_px: Sequence[int], categories: CategoryTable
) -> SegmentRecord:
    try:
        class_index = categories.class_index(entry.category_id)
    except KeyError as error:
        raise BadRecordError("unknown_category", f"segment {entry.id}: {error.args[0]}") from error
    return SegmentRecord(
        id=entry.id,
        category_id=entry.category_id,
        class_index=class_index,
        isthing=categories.categories[class_index].isthing,
        iscrowd=entry.iscrowd,
        area_px=area_px,
        bbox_px=(bbox_px[0], bbox_px[1], bbox_px[2], bbox_px[3]),
    )
