"""Matches the true and the predicted segments of one image (arXiv:1801.00868, section 4.1).

The rules are COCO's official ones (panopticapi `evaluation.py`) to the letter, including those that the paper does not
mention: the area of a true segment comes from its json entry, the void part of a prediction is left out of the union,
and a false positive is excused when more than half of it lies on void or on the last listed crowd of its class. What
the matches are worth is left to `panoptic_quality`.

Pixels are visited once, as runs: neighbours with equal ids on both sides are one entry with a length, and a panoptic
map has some twenty times fewer runs than pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskformer_model.data import panoptic_png

_BOUNDARY_SHARE = 0.02
_PIXELS_AT_ONCE = 1 << 17
_MULTIPLIERS = (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263)  # Odd, with their bits well mixed.


class MatchedSegment(NamedTuple):
    """A segment of a panoptic map.

    Attributes:
        id: Its value in the map, positive (0 is void).
        class_index: Dense class index, 0..classes-1.
        iscrowd: True for a group whose members are not separated; true segments only.
        area: Pixels as the truth's json states them; None counts them in the map. Not used for predictions.
    """

    id: int
    class_index: int
    iscrowd: bool = False
    area: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentMatches:
    """The matches of one image's segments. Rows follow the order of the two segment lists.

    Attributes:
        intersections: `[1 + truths, 1 + predictions]` int64, shared pixels; row 0 and column 0 are void.
        truth_index: `[matches]` int64, the true segment of each match.
        predicted_index: `[matches]` int64, the predicted segment of each match.
        iou: `[matches]` float64 in (0.5, 1].
        false_negative: `[truths]` bool, true segments that nobody found; never a crowd.
        false_positive: `[predictions]` bool, unmatched predictions that no void or crowd excuses.
    """

    intersections: np.ndarray
    truth_index: np.ndarray
    predicted_index: np.ndarray
    iou: np.ndarray
    false_negative: np.ndarray
    false_positive: np.ndarray


def match_segments(
    truth_ids: np.ndarray,
    truth_segments: Sequence[MatchedSegment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[MatchedSegment],
    *,
    image_name: str = "",
    boundary_px: int | None = None,
    void_is_background: bool = False,
) -> SegmentMatches:
    """Matches the segments of one image by the official rules.

    Args:
        truth_ids: `[height, width]` integer segment ids, 0 = void.
        truth_segments: All segments of `truth_ids`. One that has no pixel (ADE20K paints things over stuff) is simply
            not found by any prediction.
        predicted_ids: `[height, width]` integer segment ids, 0 = void.
        predicted_segments: Exactly the segments of `predicted_ids`.
        image_name: What error messages call the image.
        boundary_px: If given, the IoU of a pair is the smaller one of its IoU and the IoU of its two boundaries, each
            that many pixels wide (Boundary PQ, arXiv:2103.16562); see `boundary_map`.
        void_is_background: The annotation is exhaustive: what no true segment covers is background, so a prediction
            there is not excused and counts in unions.

    Raises:
        ValueError: if the maps differ in shape, an id repeats or is not positive, a map holds an id that is not
            listed, a predicted segment has no pixel, or a stated area is so small that an IoU would be above 1.
    """
    intersections = shared_pixels(truth_ids, truth_segments, predicted_ids, predicted_segments, image_name=image_name)
    boundary_intersections = None
    if boundary_px is not None:
        # What is predicted on true void is left out of boundaries as it is left out of areas.
        predicted_boundaries = boundary_map(predicted_ids, boundary_px)
        if not void_is_background:
            predicted_boundaries = np.where(truth_ids == 0, 0, predicted_boundaries)
        boundary_intersections = shared_pixels(
            boundary_map(truth_ids, boundary_px), truth_segments, predicted_boundaries, predicted_segments
        )
    predicted_areas = intersections[:, 1:].sum(axis=0)
    if not predicted_areas.all():
        missing = [s.id for s, area in zip(predicted_segments, predicted_areas, strict=True) if not area]
        raise ValueError(
            f"{_where(image_name)}Every predicted segment needs a pixel in the predicted map. "
            f"Received segments without one, ids: {missing}"
        )
    truth_classes, predicted_classes = classes_of(truth_segments), classes_of(predicted_segments)
    iscrowd = np.array([segment.iscrowd for segment in truth_segments], dtype=bool)
    excused_void = np.zeros_like(intersections[0]) if void_is_background else intersections[0]
    truth_index, predicted_index, iou = _matched_pairs(
        intersections, excused_void, _truth_areas(truth_segments, intersections), predicted_areas,
        (truth_classes[:, None] == predicted_classes) & ~iscrowd[:, None], image_name,
    )  # fmt: skip
    if boundary_intersections is not None:
        iou = np.minimum(iou, _boundary_iou(boundary_intersections, truth_index, predicted_index))
        matched = iou > 0.5
        truth_index, predicted_index, iou = truth_index[matched], predicted_index[matched], iou[matched]
    false_negative = ~iscrowd
    false_negative[truth_index] = False
    excused = _excused_pixels(intersections, excused_void, truth_classes, iscrowd, predicted_classes)
    false_positive = 2 * excused <= predicted_areas
    false_positive[predicted_index] = False
    return SegmentMatches(
        intersections=intersections,
        truth_index=truth_index,
        predicted_index=predicted_index,
        iou=iou,
        false_negative=false_negative,
        false_positive=false_positive,
    )


def classes_of(segments: Sequence[MatchedSegment]) -> np.ndarray:
    """Returns `[segments]` int64 class indices."""
    return np.array([segment.class_index for segment in segments], dtype=np.int64)


def _where(image_name: str) -> str:
    return f"Image {image_name}: " if image_name else ""


def default_boundary_px(height_px: int, width_px: int) -> int:
    """Width of a boundary: 2 % of the photo's diagonal, at least 1 px, as arXiv:2103.16562 takes it for COCO."""
    return max(1, round(_BOUNDARY_SHARE * float(np.hypot(height_px, width_px))))


def boundary_map(segment_ids: np.ndarray, boundary_px: int) -> np.ndarray:
    """Keeps the ids near an edge of their segment and makes the rest void.

    A pixel is inside, and goes, when all pixels at most `boundary_px` away in x and in y have its id; what is beyond
    the photo has no id, so its frame is an edge. This is the mask less its erosion by a square.

    Args:
        segment_ids: `[height, width]` integers, 0 = void.
        boundary_px: 1 or more.
    """
    is_boundary = np.ones(segment_ids.shape, dtype=bool)
    reach, (height_px, width_px) = boundary_px, segment_ids.shape
    if min(height_px, width_px) > 2 * reach:
        # A window is of one id when none of its rows changes, and its middle column does not. Sums of changes tell.
        across = _changes_before(segment_ids, axis=1)
        row_changes = across[:, 2 * reach :] != across[:, : width_px - 2 * reach]
        rows = np.zeros((height_px + 1, width_px - 2 * reach), np.int32)
        np.cumsum(row_changes, axis=0, out=rows[1:])
        down = _changes_before(segment_ids[:, reach : width_px - reach], axis=0)
        is_boundary[reach : height_px - reach, reach : width_px - reach] = (
            rows[2 * reach + 1 :] != rows[: height_px - 2 * reach]
        ) | (down[2 * reach :] != down[: height_px - 2 * reach])
    return np.where(is_boundary, segment_ids, panoptic_png.VOID_SEGMENT_ID)


def _changes_before(values: np.ndarray, axis: int) -> np.ndarray:
    """Returns `[height, width]` int32: how often neighbours differ along an axis up to each value."""
    changes = np.zeros(values.shape, np.int32)
    lines, target = np.moveaxis(values, axis, 0), np.moveaxis(changes, axis, 0)
    np.cumsum(lines[1:] != lines[:-1], axis=0, out=target[1:])
    return changes


def _boundary_iou(intersections: np.ndarray, truth_index: np.ndarray, predicted_index: np.ndarray) -> np.ndarray:
    """IoU of the boundaries of pairs; row and column 0 of the `intersections` are void and insides."""
    shared = intersections[1 + truth_index, 1 + predicted_index]
    of_truth = intersections[1:].sum(axis=1)[truth_index]
    of_prediction = intersections[:, 1:].sum(axis=0)[predicted_index]
    return shared / (of_truth + of_prediction - shared)


def shared_pixels(
    truth_ids: np.ndarray,
    truth_segments: Sequence[MatchedSegment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[MatchedSegment],
    *,
    image_name: str = "",
) -> np.ndarray:
    """`[1 + truths, 1 + predictions]` int64 shared pixels, void first; arguments and errors as `match_segments`."""
    truth_ids, predicted_ids = np.asarray(truth_ids), np.asarray(predicted_ids)
    if truth_ids.shape != predicted_ids.shape or truth_ids.ndim != 2:
        raise ValueError(
            f"{_where(image_name)}`truth_ids` and `predicted_ids` must be two [height, width] maps of one "
            f"size. Received: {truth_ids.shape} and {predicted_ids.shape}"
        )
    truth_ids, predicted_ids = truth_ids.ravel(), predicted_ids.ravel()
    truth_places = _Places(truth_ids, truth_segments, f"{_where(image_name)}truth")
    predicted_places = _Places(predicted_ids, predicted_segments, f"{_where(image_name)}prediction")
    shape = (truth_places.count, predicted_places.count)
    # Exact, although it is added up in float64: an image has fewer than 2^53 pixels.
    pixels = np.zeros(shape[0] * shape[1])
    # By pieces that stay in the processor's cache; buffers of a whole photo would be allocated each time.
    for start in range(0, truth_ids.size, _PIXELS_AT_ONCE):
        truth_piece, predicted_piece = (ids[start : start + _PIXELS_AT_ONCE] for ids in (truth_ids, predicted_ids))
        run_starts, run_lengths = _runs(truth_piece, predicted_piece)
        pairs = truth_places.of(truth_piece.take(run_starts))
        pairs *= shape[1]
        pairs += predicted_places.of(predicted_piece.take(run_starts))
        pixels += np.bincount(pairs, run_lengths, pixels.size)
    return pixels.astype(np.int64).reshape(shape)


def _runs(truth_ids: np.ndarray, predicted_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`[runs]` int64 where neighbours with equal ids on both sides begin, and `[runs]` float64 how many they are."""
    starts_run = np.empty(truth_ids.size, dtype=bool)
    starts_run[0] = True
    np.not_equal(truth_ids[1:], truth_ids[:-1], out=starts_run[1:])
    starts_run[1:] |= predicted_ids[1:] != predicted_ids[:-1]
    starts = starts_run.nonzero()[0]
    lengths = np.empty(starts.size)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = truth_ids.size - starts[-1]
    return starts, lengths


def _listed_ids(segments: Sequence[MatchedSegment], what: str) -> list[int]:
    """Returns `[1 + segments]` ids, void first."""
    ids = [int(segment.id) for segment in segments]
    if len(set(ids)) < len(ids) or not 0 < min(ids, default=1) <= max(ids, default=1) <= panoptic_png.MAX_SEGMENT_ID:
        raise ValueError(f"{what}: segment ids must be positive (0 is void), of 24 bits, and unique. Received: {ids}")
    return [panoptic_png.VOID_SEGMENT_ID, *ids]


class _Places:
    """Finds the place of every id of a map among the listed ones, void first.

    A hash gives each listed id a slot of its own, for multiplying is faster than sorting. An id that is not listed
    finds the slot of another one, or one that is empty and stands for void, and is recognised by not being equal to it.
    """

    def __init__(self, ids: np.ndarray, segments: Sequence[MatchedSegment], what: str):
        self._ids, self._what = ids, what
        listed = _listed_ids(segments, what)
        self.count = len(listed)
        # Compared in a type that holds both, so that no id looks like another for having lost its upper bits.
        self._listed = np.array(listed, dtype=np.promote_types(ids.dtype, np.int32))
        self._multiplier, self._shift, slots = _hash_of(listed)
        self._place_of_slot = np.zeros(1 << (32 - self._shift if self._shift else 24), np.int64)
        self._place_of_slot[slots] = range(self.count)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Returns `[ids]` int64; raises where one is not listed."""
        places = self._place_of_slot.take(_slots(ids, self._multiplier, self._shift), mode="clip")
        if (self._listed.take(places) != ids).any():
            unlisted = np.setdiff1d(self._ids, self._listed).tolist()
            raise ValueError(
                f"{self._what}: every id of the map must be in its segment list. Received ids that are not: {unlisted}"
            )
        return places


def _hash_of(listed: Sequence[int]) -> tuple[int, int, list[int]]:
    """Returns a multiplier and a shift that give every listed id a slot of its own, and these slots; see `_slots`."""
    for bits in range((len(listed) ** 2).bit_length(), 24):
        for multiplier in _MULTIPLIERS:
            slots = [(multiplier * segment_id % 2**32) >> (32 - bits) for segment_id in listed]
            if len(set(slots)) == len(listed):
                return multiplier, 32 - bits, slots
    return 1, 0, list(listed)  # An id has 24 bits: it is its own slot.


def _slots(ids: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    slots = ids.astype(np.uint32)
    slots *= np.uint32(multiplier)
    slots >>= np.uint32(shift)
    return slots


def _truth_areas(truth_segments: Sequence[MatchedSegment], intersections: np.ndarray) -> np.ndarray:
    stated = [segment.area for segment in truth_segments]
    if None in stated:
        counted = intersections[1:].sum(axis=1)
        stated = [pixels if area is None else area for area, pixels in zip(stated, counted, strict=True)]
    return np.array(stated, dtype=np.int64)


def _matched_pairs(intersections, excused_void, truth_areas, predicted_areas, comparable, image_name):
    """Pairs of comparable segments with IoU above one half, as (truth index, predicted index, IoU)."""
    truth_index, predicted_index = np.nonzero(comparable & (intersections[1:, 1:] > 0))
    shared = intersections[1 + truth_index, 1 + predicted_index]
    void = excused_void[1 + predicted_index]
    union = predicted_areas[predicted_index] + truth_areas[truth_index] - shared - void
    if (union <= 0).any():
        raise ValueError(
            f"{_where(image_name)}`area` of a true segment must not leave its union with a prediction "
            f"empty. Received areas: {truth_areas[truth_index[union <= 0]].tolist()}"
        )
    iou = shared / union
    if (iou > 1).any():
        wrong = sorted(set(truth_areas[truth_index[iou > 1]].tolist()))
        raise ValueError(
            f"{_where(image_name)}`area` of a true segment must not make its IoU larger than 1. Received areas: {wrong}"
        )
    matched = iou > 0.5
    return truth_index[matched], predicted_index[matched], iou[matched]


def _excused_pixels(intersections, excused_void, truth_classes, iscrowd, predicted_classes) -> np.ndarray:
    """Returns `[predictions]` pixels on void or on the last listed crowd of the prediction's class."""
    excused = excused_void[1:].copy()
    last_crowd_of_class = {truth_classes[index]: index for index in np.flatnonzero(iscrowd)}
    for class_index, crowd in last_crowd_of_class.items():
        same_class = predicted_classes == class_index
        excused[same_class] += intersections[1 + crowd, 1:][same_class]
    return excused
