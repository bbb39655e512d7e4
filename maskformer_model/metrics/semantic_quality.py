"""Counts pixels by true and predicted class, and computes mIoU, fwIoU and accuracy from the counts.

True void is not counted; a pixel that is predicted void counts as missed by its class. If the annotation is exhaustive,
a pixel without a true segment is background instead: a class that is predicted there has a wrong pixel, as a segment
there is a false positive for PQ. Background is no class, so it has no IoU of its own. Crowds are pixels of their class
here. Counts of disjoint images add up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from maskformer_model.metrics.segment_matching import MatchedSegment, classes_of


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SemanticQuality:
    """The scores of a pixel confusion, as fractions.

    Attributes:
        mean_iou: mean IoU of the classes that are in truth or prediction; 0 without one.
        frequency_weighted_iou: the classes' IoU weighted by their true pixels.
        pixel_accuracy: share of the counted pixels that are right; background is right where nothing is predicted.
        iou: `[classes]` float64; 0 where `seen` is False.
        seen: `[classes]` bool, in truth or prediction.
    """

    mean_iou: float
    frequency_weighted_iou: float
    pixel_accuracy: float
    iou: np.ndarray
    seen: np.ndarray


def pixel_confusion(
    truth_classes: np.ndarray, predicted_classes: np.ndarray, num_classes: int, *, void_is_background: bool = False
) -> np.ndarray:
    """Counts pixels of two class maps.

    Args:
        truth_classes: `[height, width]` class index, `num_classes` for void.
        predicted_classes: The predicted classes, in the same form.
        num_classes: classes of the data set.
        void_is_background: The annotation is exhaustive, so true void is background and is counted.

    Returns:
        `[classes + 1, classes + 1]` int64: true class by predicted class, void last. The last row is that of the
        background, and 0 without `void_is_background`.

    Raises:
        ValueError: if the maps differ in shape or hold another number.
    """
    if truth_classes.shape != predicted_classes.shape:
        raise ValueError(f"Class maps must be of one size. Received: {truth_classes.shape}, {predicted_classes.shape}")
    for name, classes in (("truth_classes", truth_classes), ("predicted_classes", predicted_classes)):
        if classes.size and not 0 <= classes.min() <= classes.max() <= num_classes:
            raise ValueError(f"`{name}` must be in 0..{num_classes}. Received: {classes.min()}..{classes.max()}")
    pairs = truth_classes.ravel().astype(np.int64) * (num_classes + 1) + predicted_classes.ravel()
    confusion = np.bincount(pairs, minlength=(num_classes + 1) ** 2).reshape(num_classes + 1, -1)
    return confusion if void_is_background else _without_void(confusion)


def pixel_confusion_of_segments(
    shared_pixels: np.ndarray,
    truth_segments: Sequence[MatchedSegment],
    predicted_segments: Sequence[MatchedSegment],
    num_classes: int,
    *,
    void_is_background: bool = False,
) -> np.ndarray:
    """`pixel_confusion` of two panoptic maps, whose pixels are of their segments' classes.

    Args:
        shared_pixels: `[1 + truths, 1 + predictions]`, as `segment_matching` counts them.
        truth_segments: the rows, without void.
        predicted_segments: the columns, without void.
        num_classes: classes of the data set.
        void_is_background: The annotation is exhaustive, so true void is background and is counted.
    """
    confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    rows = np.append(num_classes, classes_of(truth_segments))
    columns = np.append(num_classes, classes_of(predicted_segments))
    np.add.at(confusion, (rows[:, None], columns), shared_pixels)
    return confusion if void_is_background else _without_void(confusion)


def semantic_quality(confusion: np.ndarray) -> SemanticQuality:
    """Reduces the summed confusion `[classes + 1, classes + 1]` of all images."""
    right, right_background = np.split(np.diagonal(confusion).astype(np.float64), [-1])
    true, predicted = confusion[:-1].sum(axis=1), confusion[:, :-1].sum(axis=0)
    union = true + predicted - right
    seen = union > 0
    iou = np.divide(right, union, out=np.zeros_like(right), where=seen)
    num_pixels, num_counted = true.sum(), confusion.sum()
    return SemanticQuality(
        mean_iou=float(iou[seen].mean()) if seen.any() else 0.0,
        frequency_weighted_iou=float((iou * true).sum() / num_pixels) if num_pixels else 0.0,
        pixel_accuracy=float((right.sum() + right_background.sum()) / num_counted) if num_counted else 0.0,
        iou=iou,
        seen=seen,
    )


def _without_void(confusion: np.ndarray) -> np.ndarray:
    counted = confusion.copy()
    counted[-1] = 0
    return counted
