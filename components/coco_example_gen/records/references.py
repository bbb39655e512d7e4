"""Defines what the annotations say about one photo, without its pixels: enough to find and to check it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.layouts.split_source import PANOPTIC, SplitSource
from maskformer_model import coco_schema
from maskformer_model.coco_schema import FieldError, ImageEntry, ObjectEntry


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A photo, as the annotations describe it.

    Attributes:
        image_id: the json's id, as text; of a photo without json its file name without ending.
        file_name: the photo's file as the json gives it.
        size_px: height and width as the json says; None where nothing says them.
        panoptic_name: the panoptic PNG's file, relative to the PNGs' folder; "" without one.
        segments_info: the json's entries of its panoptic segments, not yet checked.
        objects: the objects of the instances json.
        captions: may be empty.
    """

    image_id: str
    file_name: str
    size_px: tuple[int, int] | None
    panoptic_name: str = ""
    segments_info: tuple[Any, ...] = ()
    objects: tuple[ObjectEntry, ...] = ()
    captions: tuple[str, ...] = ()


def id_of(entry: Any, key: str) -> str | None:
    """Returns an entry's id as text; None if it has none that could be an id."""
    if not isinstance(entry, Mapping):
        return None
    try:
        return coco_schema.image_key(entry.get(key), key)
    except FieldError:
        return None


def make_ref(
    image: ImageEntry, panoptic: Sequence[Any], objects: Sequence[Any], captions: Sequence[Any], source: SplitSource
) -> ImageRef:
    """Puts together what the annotation files say of one photo.

    Args:
        image: the photo.
        panoptic: the photo's entries of the panoptic json.
        objects: its entries of the instances json.
        captions: its entries of the captions json.
        source: says what must be there.

    Raises:
        BadRecordError: if the panoptic entry is missing, there twice, or malformed, or an object is malformed.
    """
    panoptic_name, segments_info = _panoptic(panoptic, source) if source.truth == PANOPTIC else ("", [])
    texts = (caption.get("caption") for caption in captions if isinstance(caption, Mapping))
    return ImageRef(
        image_id=image.image_id,
        file_name=image.file_name,
        size_px=image.size_px,
        panoptic_name=panoptic_name,
        segments_info=tuple(segments_info),
        objects=tuple(_object(entry) for entry in objects),
        captions=tuple(coco_schema.whole_text(text) for text in texts if isinstance(text, str)),
    )


def _panoptic(entries: Sequence[Any], source: SplitSource) -> tuple[str, Sequence[Any]]:
    if not entries:
        raise BadRecordError("missing_annotation", f"{source.panoptic_file} has no segments for this photo")
    if len(entries) > 1:
        raise BadRecordError("repeated_annotation", f"{len(entries)} entries have this `image_id`")
    try:
        return coco_schema.text_field(entries[0], "file_name"), coco_schema.list_field(entries[0], "segments_info")
    except FieldError as error:
        raise BadRecordError("malformed_annotation", f"the photo's entry of `annotations`: {error}") from error


def _object(entry: Any) -> ObjectEntry:
    try:
        return coco_schema.object_entry(entry)
    except FieldError as error:
        where = coco_schema.shown(entry.get("id")) if isinstance(entry, Mapping) else ""
        raise BadRecordError("malformed_annotation", f"object {where}: {error}") from error
