"""Computes panoptic quality: counts the matches of images, adds and reduces them (arXiv:1801.00868, section 4.2).

This is the only PQ of the project, by the rules of COCO's official evaluation (panopticapi `evaluation.py`). What
matches is decided in `segment_matching`; intervals, slices and gates are left to the evaluator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskformer_model.categories import CategoryTable
from maskformer_model.metrics.segment_matching import MatchedSegment, SegmentMatches, classes_of, match_segments

# IoUs are summed in units of 2^-36 (1.5e-11). Such sums are exact in float64 up to 131,072 matches of a class, so the
# result is bitwise the same in whatever order and in whatever shards the images are added.
IOU_UNITS = 2.0**36

SIZES = ("small", "medium", "large")
_SIZE_BOUNDS_PX = (32**2, 96**2)  # The first size from which a segment is medium, and large.


@dataclasses.dataclass(frozen=True, eq=False)
class PanopticCounts:
    """The counts behind PQ, per class; counts of disjoint sets of images add up with `+`.

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
        """Returns the counts of no image at all, where a sum starts."""
        return cls(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))

    @property
    def num_classes(self) -> int:
        """Returns the number of counted classes."""
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
    """The means over the classes that occur in truth or prediction, as fractions; 0 if none does.

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


def count_matches(
    matches: SegmentMatches,
    truth_segments: Sequence[MatchedSegment],
    predicted_segments: Sequence[MatchedSegment],
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
    truth_classes, predicted_classes = classes_of(truth_segments), classes_of(predicted_segments)
    for name, classes in (("truth_segments", truth_classes), ("predicted_segments", predicted_classes)):
        wrong = classes[(classes < 0) | (classes >= num_classes)]
        if wrong.size:
            raise ValueError(f"`{name}` must have class indices in 0..{num_classes - 1}. Received: {wrong.tolist()}")
    matched_classes = truth_classes[matches.truth_index]
    iou_in_units = np.rint(matches.iou * IOU_UNITS)
    return PanopticCounts(
        np.bincount(matched_classes, iou_in_units, num_classes).astype(np.float64) / IOU_UNITS,
        np.bincount(matched_classes, minlength=num_classes),
        np.bincount(predicted_classes[matches.false_positive], minlength=num_classes),
        np.bincount(truth_classes[matches.false_negative], minlength=num_classes),
    )


def count_by_size(
    matches: SegmentMatches,
    truth_segments: Sequence[MatchedSegment],
    predicted_segments: Sequence[MatchedSegment],
    num_classes: int,
) -> dict[str, PanopticCounts]:
    """`count_matches`, apart for small, medium and large segments (COCO's bounds, 32 x 32 and 96 x 96 px).

    A match and a missed segment go by the pixels of the true segment, a false positive by those of the predicted one,
    so the three add up to the counts of all segments.
    """
    truth_sizes = np.digitize(matches.intersections[1:].sum(axis=1), _SIZE_BOUNDS_PX)
    predicted_sizes = np.digitize(matches.intersections[:, 1:].sum(axis=0), _SIZE_BOUNDS_PX)
    counts = {}
    for size, name in enumerate(SIZES):
        chosen = truth_sizes[matches.truth_index] == size
        part = dataclasses.replace(
            matches,
            truth_index=matches.truth_index[chosen],
            predicted_index=matches.predicted_index[chosen],
            iou=matches.iou[chosen],
            false_negative=matches.false_negative & (truth_sizes == size),
            false_positive=matches.false_positive & (predicted_sizes == size),
        )
        counts[name] = count_matches(part, truth_segments, predicted_segments, num_classes)
    return counts


def count_image(
    truth_ids: np.ndarray,
    truth_segments: Sequence[MatchedSegment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[MatchedSegment],
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
    per_class = quality_per_class(counts.iou_sum, counts.true_positives, counts.false_positives, counts.false_negatives)
    return PanopticQuality(
        all=_quality_of_chosen(per_class, per_class.seen),
        things=_quality_of_chosen(per_class, per_class.seen & isthing),
        stuff=_quality_of_chosen(per_class, per_class.seen & ~isthing),
        per_class=per_class,
    )


def quality_per_class(
    iou_sum: np.ndarray, true_positives: np.ndarray, false_positives: np.ndarray, false_negatives: np.ndarray
) -> QualityPerClass:
    """PQ, SQ and RQ of each class on its own; the arguments, and so the results, may have axes before `[classes]`."""
    segments = true_positives + 0.5 * false_positives + 0.5 * false_negatives
    return QualityPerClass(
        pq=_ratio(iou_sum, segments),
        sq=_ratio(iou_sum, true_positives),
        rq=_ratio(true_positives, segments),
        seen=segments > 0,
    )


def segments_from_coco(segments_info: Sequence[Mapping[str, Any]], categories: CategoryTable) -> list[MatchedSegment]:
    """The `segments_info` of one COCO panoptic annotation; `area` and `iscrowd` may be absent, as in predictions.

    Raises:
        KeyError: if a category id is not in `categories`.
    """
    return [
        MatchedSegment(
            int(info["id"]), categories.class_index(info["category_id"]), bool(info.get("iscrowd", 0)), info.get("area")
        )
        for info in segments_info
    ]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)


def _quality_of_chosen(per_class: QualityPerClass, chosen: np.ndarray) -> QualityMean:
    num_classes = int(chosen.sum())
    pq, sq, rq = (float(q[chosen].mean()) if num_classes else 0.0 for q in (per_class.pq, per_class.sq, per_class.rq))
    return QualityMean(pq=pq, sq=sq, rq=rq, num_classes=num_classes)
