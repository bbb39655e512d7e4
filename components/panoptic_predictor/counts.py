"""Turns PQ counts of images into a short list per class, for Beam and files, and back.

An image holds a handful of a data set's classes, so a row per class that occurs is far smaller than the dense arrays of
`maskformer_model.metrics.panoptic_quality`, which alone says how an image is counted and how counts become PQ. IoU
sums arrive from there in units that float64 adds without rounding, so a sum does not depend on the order of its terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from maskformer_model.metrics.panoptic_quality import PanopticCounts


class SegmentCounts(NamedTuple):
    """The PQ counts of one class.

    Attributes:
        iou_sum: The summed IoU of the matched segments.
        true_positives: The number of matched pairs of segments.
        false_positives: The number of predicted segments without a match.
        false_negatives: The number of true segments without a match.
    """

    iou_sum: float = 0.0
    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0


ClassCounts = tuple[int, SegmentCounts]


def counts_per_class(counts: PanopticCounts) -> list[ClassCounts]:
    """Returns `(class_index, SegmentCounts)` of every class that occurs, in ascending class order."""
    occurs = counts.true_positives + counts.false_positives + counts.false_negatives > 0
    return [
        (
            int(index),
            SegmentCounts(
                float(counts.iou_sum[index]),
                int(counts.true_positives[index]),
                int(counts.false_positives[index]),
                int(counts.false_negatives[index]),
            ),
        )
        for index in np.flatnonzero(occurs)
    ]


def sum_counts(counts: Iterable[SegmentCounts]) -> SegmentCounts:
    """Adds the counts of one class over images, in any order and in any grouping."""
    total = SegmentCounts()
    for term in counts:
        total = SegmentCounts(
            total.iou_sum + term.iou_sum,
            total.true_positives + term.true_positives,
            total.false_positives + term.false_positives,
            total.false_negatives + term.false_negatives,
        )
    return total


def to_panoptic_counts(rows: Iterable[ClassCounts], num_classes: int) -> PanopticCounts:
    """Returns the dense counts of `counts_per_class` rows; rows of one class add up.

    Raises:
        ValueError: if a class index is outside 0..num_classes-1.
    """
    total = PanopticCounts.zeros(num_classes)
    for class_index, counts in rows:
        if not 0 <= class_index < num_classes:
            raise ValueError(f"A class index must be in 0..{num_classes - 1}. Received: {class_index}")
        total.iou_sum[class_index] += counts.iou_sum
        total.true_positives[class_index] += counts.true_positives
        total.false_positives[class_index] += counts.false_positives
        total.false_negatives[class_index] += counts.false_negatives
    return total


def to_json_rows(rows: Iterable[ClassCounts]) -> list[list[float]]:
    """Rows `[class_index, iou_sum, true_positives, false_positives, false_negatives]`; json keeps every bit of them."""
    return [[class_index, *counts] for class_index, counts in rows]


def from_json_rows(rows: Iterable[list[float]]) -> list[ClassCounts]:
    """Reads rows that `to_json_rows` wrote."""
    return [(int(index), SegmentCounts(float(iou), int(tp), int(fp), int(fn))) for index, iou, tp, fp, fn in rows]
