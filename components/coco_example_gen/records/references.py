"""What the annotations say of one photo, without its pixels: enough to find and to check it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.layouts.split_source import PANOPTIC, SplitSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRef:
    """One photo.

    Attributes:
        image_id: the json's id, as text; of a photo without json its file name without ending.
        file_name: the photo's file as the json gives it.
        size_px: height and width as the json says; None where nothing says them.
        panoptic_name: the panoptic PNG's file, relative to the PNGs' folder; "" without one.
        segments_info: the json's entries of its panoptic segments, not yet checked.
        objects: the entries of the instances json, not yet checked.
        captions: may be empty.
    """

    image_id: str
    file_name: str
    size_px: tuple[int, int] | None
    panoptic_name: str = ""
    segments_info: tuple[Any, ...] = ()
    objects: tuple[Any, ...] = ()
    captions: tuple[str, ...] = ()


def id_of(entry: Any, key: str) -> str | None:
    """An entry's id as text; None where it has none that could be an id."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    return str(value) if isinstance(value, int | str) else None


def image_problem(image: Any) -> str:
    """What is wrong with an entry of `images`; empty if nothing is."""
    if not isinstance(image, Mapping):
        return f"an entry of `images` must be an object. Received: {image!r}"
    if id_of(image, "id") is None:
        return f"`id` must be a number or text. Received: {image.get('id')!r}"
    if not isinstance(image.get("file_name"), str):
        return f"`file_name` must be text. Received: {image.get('file_name')!r}"
    size = image.get("height"), image.get("width")
    if size != (None, None) and not all(isinstance(edge, int) and edge > 0 for edge in size):
        return f"`height` and `width` must be positive integers. Received: {size}"
    return ""


def make_ref(
    image: Mapping[str, Any],
    panoptic: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    captions: Sequence[Mapping[str, Any]],
    source: SplitSource,
) -> ImageRef:
    """Puts together what the annotation files say of one photo.

    Args:
        image: an entry of `images` without a problem.
        panoptic: the photo's entries of the panoptic json.
        objects: its entries of the instances json.
        captions: its entries of the captions json.
        source: says what must be there.

    Raises:
        BadRecordError: if the panoptic entry is missing, there twice, or malformed.
    """
    entry: Mapping[str, Any] = {"file_name": "", "segments_info": []}
    if source.truth == PANOPTIC:
        if not panoptic:
            raise BadRecordError("missing_annotation", f"{source.panoptic_file} has no segments for this photo")
        if len(panoptic) > 1:
            raise BadRecordError("repeated_annotation", f"{len(panoptic)} entries have this `image_id`")
        entry = panoptic[0]
        _check_panoptic_entry(entry)
    height_px, width_px = image.get("height"), image.get("width")
    texts = (caption.get("caption") for caption in captions)
    return ImageRef(
        image_id=str(image["id"]),
        file_name=image["file_name"],
        size_px=None if height_px is None or width_px is None else (height_px, width_px),
        panoptic_name=entry["file_name"],
        segments_info=tuple(entry["segments_info"]),
        objects=tuple(objects),
        captions=tuple(text for text in texts if isinstance(text, str)),
    )


def _check_panoptic_entry(entry: Mapping[str, Any]) -> None:
    if not isinstance(entry.get("file_name"), str):
        problem = f"`file_name` of the panoptic PNG must be text. Received: {entry.get('file_name')!r}"
        raise BadRecordError("malformed_annotation", problem)
    if not isinstance(entry.get("segments_info"), list):
        problem = f"`segments_info` must be a list. Received: {entry.get('segments_info')!r}"
        raise BadRecordError("malformed_annotation", problem)
