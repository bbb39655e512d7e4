"""Panoptic quality: match the segments of an image, count, reduce the counts (arXiv:1801.00868, sections 4.1-4.2).

This is the only PQ of the project. It follows the rules of COCO's official evaluation (panopticapi `evaluation.py`) to
the letter, including those the paper does not mention: the area of a true segment comes from its json entry, the void
part of a prediction is left out of the union, and a false positive is excused when more than half of it lies on void
or on the last listed crowd of its class. Decoding PNGs is left to `panoptic_png`, intervals and gates to the evaluator.

Pixels are visited once, as runs: neighbours with equal ids on both sides are one entry with a length, and a panoptic
map has some fifty times fewer runs than pixels.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskformer_model import panoptic_png
from maskformer_model.categories import CategoryTable

# IoUs are summed in units of 2^-36 (1.5e-11). Such sums are exact in float64 up to 131,072 matches of a class, so the
# result is bitwise the same in whatever order and in whatever shards the images are added.
_IOU_UNITS = 2.0**36


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a panoptic map.

    Attributes:
        id: Its value in the map, positive (0 is void).
        class_index: Dense class index, 0..classes-1.
        iscrowd: True for a group that is not told apart; true segments only.
        area: Pixels as the truth's json states them; None counts them in the map. Not used for predictions.
    """

    id: int
    class_index: int
    iscrowd: bool = False
    area: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentMatches:
    """How the segments of one image meet. Rows follow the order of the two segment lists.

    Attributes:
        intersections: `[1 + truths, 1 + predictions]` int64, shared pixels; row 0 and column 0 are void.
        truth_index: `[matches]` int64, the true segment of each match.
        predicted_index: `[matches]` int64, the predicted segment of each match.
        iou: `[matches]` float64 in (0.5, 1]; above 1 only where the truth states too small an area.
        false_negative: `[truths]` bool, true segments that nobody found; never a crowd.
        false_positive: `[predictions]` bool, unmatched predictions that no void or crowd excuses.
    """

    intersections: np.ndarray
    truth_index: np.ndarray
    predicted_index: np.ndarray
    iou: np.ndarray
    false_negative: np.ndarray
    false_positive: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class PanopticCounts:
    """What PQ is made of, per class; counts of disjoint sets of images add up with `+`.

    Attributes:
        iou_sum: `[classes]` float64, summed IoU of the matches.
        true_positives: `[classes]` int64, matches.
        false_positives: `[classes]` int64.
        false_negatives: `[classes]` int64.
    """

    iou_sum: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> PanopticCounts:
        """The counts of no image at all, where a sum starts."""
        return cls(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))

    @property
    def num_classes(self) -> int:
        """Number of classes counted."""
        return len(self.iou_sum)

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        if not isinstance(other, PanopticCounts):
            return NotImplemented
        if self.num_classes != other.num_classes:
            raise ValueError(
                f"Counts add up only over the same classes. Received: {self.num_classes} and "
                f"{other.num_classes} classes"
            )
        return PanopticCounts(
            self.iou_sum + other.iou_sum,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PanopticCounts):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))

    __hash__ = None  # type: ignore[assignment]  # Arrays inside, as for a list.


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityMean:
    """Means over the classes that were seen (in truth or prediction), as fractions; 0 when none was.

    Attributes:
        pq: Mean of the per-class PQ; not `sq * rq`, because means do not multiply.
        sq: Mean segmentation quality, 0 for a class without a match.
        rq: Mean recognition quality.
        num_classes: Number of classes the means are taken over.
    """

    pq: float
    sq: float
    rq: float
    num_classes: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QualityPerClass:
    """Each class on its own.

    Attributes:
        pq: `[classes]` float64 in 0..1; 0 for a class that was not seen.
        sq: `[classes]` float64 in 0..1.
        rq: `[classes]` float64 in 0..1.
        seen: `[classes]` bool, False where neither truth nor prediction has the class, which no mean includes.
    """

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray
    seen: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PanopticQuality:
    """PQ, SQ and RQ of a set of images: in all, over things, over stuff and per class."""

    all: QualityMean
    things: QualityMean
    stuff: QualityMean
    per_class: QualityPerClass


def match_segments(
    truth_ids: np.ndarray,
    truth_segments: Sequence[Segment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[Segment],
    *,
    image_name: str = "",
) -> SegmentMatches:
    """Matches the segments of one image by the official rules.

    Args:
        truth_ids: `[height, width]` integer segment ids, 0 = void.
        truth_segments: All segments of `truth_ids`. One that has no pixel (ADE20K paints things over stuff) is simply
            not found by any prediction.
        predicted_ids: `[height, width]` integer segment ids, 0 = void.
        predicted_segments: Exactly the segments of `predicted_ids`.
        image_name: What error messages call the image.

    Raises:
        ValueError: if the maps differ in shape, an id repeats or is not positive, a map holds an id that is not
            listed, a predicted segment has no pixel, or a stated area is so small that a union would be empty.
    """
    intersections = _intersections(truth_ids, truth_segments, predicted_ids, predicted_segments, image_name)
    predicted_areas = intersections[:, 1:].sum(axis=0)
    if not predicted_areas.all():
        missing = [s.id for s, area in zip(predicted_segments, predicted_areas, strict=True) if not area]
        raise ValueError(
            f"{_where(image_name)}Every predicted segment needs a pixel in the predicted map. "
            f"Received segments without one, ids: {missing}"
        )
    truth_classes, predicted_classes = _classes(truth_segments), _classes(predicted_segments)
    iscrowd = np.array([segment.iscrowd for segment in truth_segments], dtype=bool)
    truth_index, predicted_index, iou = _matched_pairs(
        intersections, _truth_areas(truth_segments, intersections), predicted_areas,
        (truth_classes[:, None] == predicted_classes) & ~iscrowd[:, None], image_name,
    )  # fmt: skip
    false_negative = ~iscrowd
    false_negative[truth_index] = False
    false_positive = 2 * _excused_pixels(intersections, truth_classes, iscrowd, predicted_classes) <= predicted_areas
    false_positive[predicted_index] = False
    return SegmentMatches(
        intersections=intersections,
        truth_index=truth_index,
        predicted_index=predicted_index,
        iou=iou,
        false_negative=false_negative,
        false_positive=false_positive,
    )


def count_matches(
    matches: SegmentMatches,
    truth_segments: Sequence[Segment],
    predicted_segments: Sequence[Segment],
    num_classes: int,
) -> PanopticCounts:
    """Counts the matches of one image per class.

    Args:
        matches: What `match_segments` made of the same two lists.
        truth_segments: The true segments.
        predicted_segments: The predicted segments.
        num_classes: Number of classes of the data set.

    Raises:
        ValueError: if a class index is outside 0..num_classes-1.
    """
    truth_classes, predicted_classes = _classes(truth_segments), _classes(predicted_segments)
    for name, classes in (("truth_segments", truth_classes), ("predicted_segments", predicted_classes)):
        wrong = classes[(classes < 0) | (classes >= num_classes)]
        if wrong.size:
            raise ValueError(f"`{name}` must have class indices in 0..{num_classes - 1}. Received: {wrong.tolist()}")
    matched_classes = truth_classes[matches.truth_index]
    iou_in_units = np.rint(matches.iou * _IOU_UNITS)
    return PanopticCounts(
        np.bincount(matched_classes, iou_in_units, num_classes).astype(np.float64) / _IOU_UNITS,
        np.bincount(matched_classes, minlength=num_classes),
        np.bincount(predicted_classes[matches.false_positive], minlength=num_classes),
        np.bincount(truth_classes[matches.false_negative], minlength=num_classes),
    )


def count_image(
    truth_ids: np.ndarray,
    truth_segments: Sequence[Segment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[Segment],
    num_classes: int,
    *,
    image_name: str = "",
) -> PanopticCounts:
    """Matches and counts one image: `match_segments`, then `count_matches`, with their arguments and errors."""
    matches = match_segments(truth_ids, truth_segments, predicted_ids, predicted_segments, image_name=image_name)
    return count_matches(matches, truth_segments, predicted_segments, num_classes)


def panoptic_quality(counts: PanopticCounts, isthing: np.ndarray) -> PanopticQuality:
    """Reduces the counts of all images to PQ, SQ and RQ.

    Args:
        counts: Summed over images first; PQ is not a mean of per-image scores.
        isthing: `[classes]` bool.

    Raises:
        ValueError: if `isthing` has another number of classes than `counts`.
    """
    isthing = np.asarray(isthing, dtype=bool)
    if isthing.shape != (counts.num_classes,):
        raise ValueError(f"`isthing` must be [{counts.num_classes}], one per counted class. Received: {isthing.shape}")
    matches = counts.true_positives
    segments = matches + 0.5 * counts.false_positives + 0.5 * counts.false_negatives
    seen = segments > 0
    per_class = QualityPerClass(
        pq=_ratio(counts.iou_sum, segments),
        sq=_ratio(counts.iou_sum, matches),
        rq=_ratio(matches, segments),
        seen=seen,
    )
    return PanopticQuality(
        all=_mean(per_class, seen),
        things=_mean(per_class, seen & isthing),
        stuff=_mean(per_class, seen & ~isthing),
        per_class=per_class,
    )


def segments_from_coco(segments_info: Sequence[Mapping[str, Any]], categories: CategoryTable) -> list[Segment]:
    """The `segments_info` of one COCO panoptic annotation; `area` and `iscrowd` may be absent, as in predictions.

    Raises:
        KeyError: if a category id is not in `categories`.
    """
    return [
        Segment(
            int(info["id"]), categories.class_index(info["category_id"]), bool(info.get("iscrowd", 0)), info.get("area")
        )
        for info in segments_info
    ]


def count_coco_files(
    truth_json: str | os.PathLike[str],
    predicted_json: str | os.PathLike[str],
    truth_dir: str | os.PathLike[str] | None = None,
    predicted_dir: str | os.PathLike[str] | None = None,
) -> tuple[PanopticCounts, CategoryTable]:
    """Counts all images of two COCO panoptic data sets; the truth's file lists the categories and the images.

    Args:
        truth_json: COCO panoptic json of the truth.
        predicted_json: COCO panoptic json of the predictions.
        truth_dir: Its PNGs; by default the folder named like the json without its ending.
        predicted_dir: Likewise for the predictions.

    Raises:
        ValueError: if an image has no prediction, or where `count_image` refuses one.
        FileNotFoundError: if a PNG is missing.
    """
    truth = json.loads(pathlib.Path(truth_json).read_text(encoding="utf-8"))
    predicted = json.loads(pathlib.Path(predicted_json).read_text(encoding="utf-8"))
    categories = CategoryTable.from_coco(truth["categories"])
    predicted_of_image = {annotation["image_id"]: annotation for annotation in predicted["annotations"]}
    truth_dir = pathlib.Path(truth_dir or os.path.splitext(truth_json)[0])
    predicted_dir = pathlib.Path(predicted_dir or os.path.splitext(predicted_json)[0])
    counts = PanopticCounts.zeros(categories.num_classes)
    for annotation in truth["annotations"]:
        image_id = annotation["image_id"]
        if image_id not in predicted_of_image:
            raise ValueError(f"Every image of the truth needs a prediction. Received none for image id {image_id}")
        sides = []
        for side, folder in ((annotation, truth_dir), (predicted_of_image[image_id], predicted_dir)):
            sides.append(panoptic_png.decode_panoptic_png((folder / side["file_name"]).read_bytes()))
            sides.append(segments_from_coco(side["segments_info"], categories))
        counts += count_image(*sides, categories.num_classes, image_name=annotation["file_name"])
    return counts, categories


def _where(image_name: str) -> str:
    return f"Image {image_name}: " if image_name else ""


def _classes(segments: Sequence[Segment]) -> np.ndarray:
    return np.array([segment.class_index for segment in segments], dtype=np.int64)


def _intersections(truth_ids, truth_segments, predicted_ids, predicted_segments, image_name) -> np.ndarray:
    """`[1 + truths, 1 + predictions]` shared pixels, void first."""
    truth_ids, predicted_ids = np.asarray(truth_ids), np.asarray(predicted_ids)
    if truth_ids.shape != predicted_ids.shape or truth_ids.ndim != 2:
        raise ValueError(
            f"{_where(image_name)}`truth_ids` and `predicted_ids` must be two [height, width] maps of one "
            f"size. Received: {truth_ids.shape} and {predicted_ids.shape}"
        )
    truth_ids, predicted_ids = truth_ids.ravel(), predicted_ids.ravel()
    truth_listed = _listed_ids(truth_segments, f"{_where(image_name)}truth")
    predicted_listed = _listed_ids(predicted_segments, f"{_where(image_name)}prediction")
    changes = (truth_ids[1:] != truth_ids[:-1]) | (predicted_ids[1:] != predicted_ids[:-1])
    run_starts = np.concatenate([np.zeros(min(1, truth_ids.size), np.int64), np.flatnonzero(changes) + 1])
    run_lengths = np.diff(run_starts, append=truth_ids.size)
    rows, columns = _bins(truth_ids[run_starts], truth_listed), _bins(predicted_ids[run_starts], predicted_listed)
    shape = (2 * len(truth_listed) + 1, 2 * len(predicted_listed) + 1)
    # Exact, although bincount adds in float64: an image has fewer than 2^53 pixels.
    pixels = np.bincount(rows * shape[1] + columns, run_lengths, shape[0] * shape[1]).reshape(shape)
    if pixels[::2].any():
        raise _unlisted_error(truth_ids, truth_listed, f"{_where(image_name)}truth")
    if pixels[:, ::2].any():
        raise _unlisted_error(predicted_ids, predicted_listed, f"{_where(image_name)}prediction")
    intersections = np.empty((len(truth_listed), len(predicted_listed)), np.int64)
    intersections[np.ix_(np.argsort(truth_listed), np.argsort(predicted_listed))] = pixels[1::2, 1::2]
    return intersections


def _listed_ids(segments: Sequence[Segment], what: str) -> np.ndarray:
    """`[1 + segments]` ids, void first."""
    ids = [segment.id for segment in segments]
    if len(set(ids)) < len(ids) or min(ids, default=1) <= panoptic_png.VOID_SEGMENT_ID:
        raise ValueError(f"{what}: segment ids must be positive (0 is void) and unique. Received: {ids}")
    return np.array([panoptic_png.VOID_SEGMENT_ID, *ids], dtype=np.int64)


def _bins(ids: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """`2 k + 1` for the k-th smallest listed id; even numbers for ids that are not listed."""
    edges = np.repeat(np.sort(listed), 2)
    edges[1::2] += 1
    return np.searchsorted(edges, ids, side="right")


def _unlisted_error(ids: np.ndarray, listed: np.ndarray, what: str) -> ValueError:
    unlisted = np.setdiff1d(ids, listed).tolist()
    return ValueError(f"{what}: every id of the map must be in its segment list. Received ids that are not: {unlisted}")


def _truth_areas(truth_segments: Sequence[Segment], intersections: np.ndarray) -> np.ndarray:
    counted = intersections[1:].sum(axis=1)
    stated = [area if s.area is None else s.area for s, area in zip(truth_segments, counted, strict=True)]
    return np.array(stated, dtype=np.int64)


def _matched_pairs(intersections, truth_areas, predicted_areas, comparable, image_name):
    """Pairs of comparable segments with IoU above one half, as (truth index, predicted index, IoU)."""
    truth_index, predicted_index = np.nonzero(comparable & (intersections[1:, 1:] > 0))
    shared = intersections[1 + truth_index, 1 + predicted_index]
    void = intersections[0, 1 + predicted_index]
    union = predicted_areas[predicted_index] + truth_areas[truth_index] - shared - void
    if (union <= 0).any():
        raise ValueError(
            f"{_where(image_name)}`area` of a true segment must not leave its union with a prediction "
            f"empty. Received areas: {truth_areas[truth_index[union <= 0]].tolist()}"
        )
    iou = shared / union
    matched = iou > 0.5
    return truth_index[matched], predicted_index[matched], iou[matched]


def _excused_pixels(intersections, truth_classes, iscrowd, predicted_classes) -> np.ndarray:
    """`[predictions]` pixels on void or on the last listed crowd of the prediction's class."""
    excused = intersections[0, 1:].copy()
    last_crowd_of_class = {truth_classes[index]: index for index in np.flatnonzero(iscrowd)}
    for class_index, crowd in last_crowd_of_class.items():
        same_class = predicted_classes == class_index
        excused[same_class] += intersections[1 + crowd, 1:][same_class]
    return excused


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def _mean(per_class: QualityPerClass, chosen: np.ndarray) -> QualityMean:
    num_classes = int(chosen.sum())
    pq, sq, rq = (float(q[chosen].mean()) if num_classes else 0.0 for q in (per_class.pq, per_class.sq, per_class.rq))
    return QualityMean(pq=pq, sq=sq, rq=rq, num_classes=num_classes)
