"""COCO's instances json without any PNG: polygons and run lengths -> a map of segments, things only.

Overlap: crowds lie at the bottom, above them the objects from the largest to the smallest, so that a cup stays on its
table; of two of the same area the later of the json is on top. What nothing covers is void. An object of which nothing
is left, such as the first of two equal ones, is a fault of the record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.coco_example_gen.kept_aside import BadRecordError


def paint_objects(objects: Sequence[Any], size_px: tuple[int, int]) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draws the objects of a photo.

    Args:
        objects: entries of the instances json.
        size_px: height and width of the photo.

    Returns:
        `[height, width]` int32 segment ids, 0 = void, k = the k-th object; and what COCO's `segments_info` says of
        them.

    Raises:
        BadRecordError: if an object is malformed, empty, outside the photo, or hidden by others.
    """
    ids = np.zeros(size_px, np.int32)
    seen: set[Any] = set()
    masks, entries = [], []
    for place, entry in enumerate(objects):
        _check_entry(entry, seen)
        masks.append(object_mask(entry["segmentation"], size_px, entry.get("id")))
        iscrowd = int(entry.get("iscrowd", 0))
        entries.append({"id": place + 1, "category_id": entry["category_id"], "iscrowd": iscrowd})
    areas = [int(mask.sum()) for mask in masks]
    for place in sorted(range(len(masks)), key=lambda place: (not entries[place]["iscrowd"], -areas[place])):
        ids[masks[place]] = place + 1
    counts = np.bincount(ids.ravel(), minlength=len(masks) + 1)[1:]
    if hidden := [objects[place].get("id") for place, count in enumerate(counts) if count == 0]:
        raise BadRecordError("hidden_segment", f"other objects cover all of the objects with the ids {hidden[:10]}")
    return ids, entries


def object_mask(segmentation: Any, size_px: tuple[int, int], object_id: Any = None) -> np.ndarray:
    """One object's mask.

    Args:
        segmentation: a list of polygons, or a dict of run lengths, as COCO has them.
        size_px: height and width of the photo.
        object_id: for messages.

    Returns:
        `[height, width]` bool with at least one True.

    Raises:
        BadRecordError: if it is malformed, empty, of another size, or outside the photo.
    """
    from pycocotools import mask as coco_mask

    where = f"object {object_id}"
    if isinstance(segmentation, dict):
        run_lengths = _checked_run_lengths(segmentation, size_px, where)
        if not sum(run_lengths[1::2]):
            raise BadRecordError("empty_segment", f"{where}: its run lengths cover no pixel")
        values = np.zeros(len(run_lengths), np.uint8)
        values[1::2] = 1
        return np.repeat(values, run_lengths).reshape(size_px, order="F").astype(bool)
    polygons = _checked_polygons(segmentation, where)
    mask = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size_px))).astype(bool)
    if not mask.any():
        if any(_touches(polygon, size_px) for polygon in polygons):
            raise BadRecordError("empty_segment", f"{where}: its polygons cover no pixel")
        raise BadRecordError("polygon_outside_image", f"{where}: its polygons lie outside of {size_px} px")
    return mask


def _check_entry(entry: Any, seen: set[Any]) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("category_id"), int):
        raise BadRecordError("malformed_annotation", f"an object needs the integer `category_id`. Received: {entry!r}")
    if entry.get("id") is not None and entry["id"] in seen:
        raise BadRecordError("repeated_segment_id", f"two objects have the id {entry['id']}")
    seen.add(entry.get("id"))
    if "segmentation" not in entry:
        raise BadRecordError("malformed_annotation", f"object {entry.get('id')} has no `segmentation`")


def _checked_polygons(segmentation: Any, where: str) -> list[list[float]]:
    if not isinstance(segmentation, list):
        rule = "`segmentation` must be a list of polygons or a dict of run lengths"
        raise BadRecordError("malformed_annotation", f"{where}: {rule}. Received: {segmentation!r}")
    if not segmentation or not all(isinstance(polygon, list) and polygon for polygon in segmentation):
        raise BadRecordError("empty_polygon", f"{where}: every polygon must have points. Received: {segmentation!r}")
    for polygon in segmentation:
        numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            rule = "a polygon must be x, y of three points or more"
            raise BadRecordError("malformed_polygon", f"{where}: {rule}. Received: {polygon[:10]}")
        if max(map(abs, polygon)) > 1e6:
            raise BadRecordError("polygon_outside_image", f"{where}: a polygon has the corner {max(polygon, key=abs)}")
    return segmentation


def _touches(polygon: list[float], size_px: tuple[int, int]) -> bool:
    xs, ys = polygon[0::2], polygon[1::2]
    return min(xs) < size_px[1] and max(xs) > 0 and min(ys) < size_px[0] and max(ys) > 0


def _checked_run_lengths(segmentation: dict[str, Any], size_px: tuple[int, int], where: str) -> list[int]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if list(size or []) != list(size_px):
        raise BadRecordError("rle_size_mismatch", f"{where}: run lengths of {size} px for a photo of {size_px} px")
    if isinstance(counts, str):
        counts = _expand(counts, where)
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise BadRecordError("malformed_annotation", f"{where}: `counts` must be run lengths. Received: {counts!r:.80}")
    # Checked before anything is decoded: pycocotools trusts them and writes past the mask's end.
    if sum(counts) != size_px[0] * size_px[1]:
        raise BadRecordError("rle_size_mismatch", f"{where}: its runs add up to {sum(counts)} of {size_px} px")
    return counts


def _expand(text: str, where: str) -> list[int]:
    """COCO's compressed run lengths: five bits a character, lowest first; from the fourth on relative to the last but
    one.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise BadRecordError("malformed_annotation", f"{where}: {character!r} is no character of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise BadRecordError("malformed_annotation", f"{where}: its run lengths are cut off")
    return counts
