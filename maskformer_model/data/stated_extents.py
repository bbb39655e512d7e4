"""Compares a segment's area and box in a json with the segment's pixels.

COCO's jsons hold both beside the PNG that they can be counted in. Where the two disagree, one of them belongs to
another size or another version of the data set, and a score or a training that believes either is wrong without a word.
ADE20K's official panoptic json alone counts stuff before things are pasted over it; there (`"json"`) the stated segment
may be larger than its pixels, and never smaller.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PIXELS, JSON = "pixels", "json"
AREA_SOURCES = (PIXELS, JSON)

Box = Sequence[float]  # x, y, width, height in px.

_MARGIN_PX = 1.0  # Some writers leave the last row and column out of a box.
_ADE20K_PREFIX = "ade20k_panoptic_"
_NEXT_STEP = "leave it out of the json where it is unknown, or mend the data set"


def areas_of(json_path: str) -> str:
    """Which areas an official data set is scored with, by the name of its panoptic json: ADE20K's says "json"."""
    return JSON if os.path.basename(json_path).startswith(_ADE20K_PREFIX) else PIXELS


def area_problem(stated: float | None, counted_px: int, areas: str = PIXELS) -> str:
    """Returns what is wrong with a stated area; empty if it is right or missing."""
    if stated is None or abs(stated - counted_px) < 1 or (areas == JSON and stated > counted_px):
        return ""
    return area_words(stated, counted_px)


def box_problem(stated: Box | None, counted_px: Box, areas: str = PIXELS) -> str:
    """Returns what is wrong with a stated box; empty if it is right or missing."""
    if stated is None or is_same_box(stated, counted_px, _MARGIN_PX):
        return ""
    if areas == JSON and holds(stated, counted_px, _MARGIN_PX):
        return ""
    return box_words(stated, counted_px)


def holds_box(segment_ids: np.ndarray, segment_id: int, area_px: int, stated: Box) -> bool:
    """Returns whether a stated box is the segment's to the pixel: cheaper than looking for the box.

    Args:
        segment_ids: `[height, width]` integers.
        segment_id: The segment.
        area_px: Its pixels.
        stated: Its box.
    """
    import numpy as np  # Late: commands that print help need the words above alone.

    x, y, width, height = edges_px = [int(edge) for edge in stated]
    if edges_px != list(stated) or x < 0 or y < 0 or width < 1 or height < 1:
        return False
    inside = segment_ids[y : y + height, x : x + width] == segment_id
    if inside.shape != (height, width) or np.count_nonzero(inside) != area_px:
        return False
    return all(np.count_nonzero(edge) for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def is_same_box(one: Box, other: Box, margin_px: float) -> bool:
    """Returns whether every edge of two boxes is within a margin."""
    pairs = zip(_edges(one), _edges(other), strict=True)
    return all(abs(first - second) <= margin_px for first, second in pairs)


def holds(outer: Box, inner: Box, margin_px: float) -> bool:
    """Returns whether a box is inside of another, up to a margin."""
    return is_same_box(_union(outer, inner), outer, margin_px)


def clipped(box: Box, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns the part of a box that is inside of a photo of this height and width."""
    left, top, right, bottom = _edges(box)
    left, right = (min(max(edge, 0), size_px[1]) for edge in (left, right))
    top, bottom = (min(max(edge, 0), size_px[0]) for edge in (top, bottom))
    return left, top, right - left, bottom - top


def area_words(stated: float, counted_px: int) -> str:
    """Returns a message with both areas and what to do."""
    return f"`area` is {stated:.12g} in the json and {counted_px} px counted in the pixels; {_NEXT_STEP}"


def box_words(stated: Box, counted_px: Box) -> str:
    """Returns a message with both boxes and what to do."""
    left, right = (f"[{', '.join(f'{edge:.12g}' for edge in box)}]" for box in (stated, counted_px))
    return f"`bbox` is {left} in the json and {right} around the pixels; {_NEXT_STEP}"


def _edges(box: Box) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def _union(one: Box, other: Box) -> tuple[float, float, float, float]:
    (left, top, right, bottom), others = _edges(one), _edges(other)
    left, top, right, bottom = min(left, others[0]), min(top, others[1]), max(right, others[2]), max(bottom, others[3])
    return left, top, right - left, bottom - top
