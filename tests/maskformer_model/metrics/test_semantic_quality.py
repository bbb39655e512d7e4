"""mIoU, fwIoU and accuracy against counts by hand and pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskformer_model.metrics.segment_matching import MatchedSegment, match_segments
from maskformer_model.metrics.semantic_quality import pixel_confusion, pixel_confusion_of_segments, semantic_quality

VOID = 3
CLASS_MAPS = hnp.arrays(np.int64, (5, 7), elements=st.integers(0, VOID))


def test_hand_counted_pixels():
    # Class 0: 2 of 3 right, one taken for class 1. Class 1: 1 right, one predicted void. Class 2 is nowhere.
    truth = np.array([[0, 0, 0, 1, 1, VOID]])
    prediction = np.array([[0, 0, 1, 1, VOID, 0]])
    quality = semantic_quality(pixel_confusion(truth, prediction, 3))
    assert quality.iou.tolist() == [2 / 3, 1 / 3, 0.0]  # 2 / (3 + 2 - 2); 1 / (2 + 2 - 1).
    assert quality.seen.tolist() == [True, True, False]
    assert quality.mean_iou == 0.5
    assert quality.frequency_weighted_iou == pytest.approx((3 * 2 / 3 + 2 * 1 / 3) / 5)
    assert quality.pixel_accuracy == 3 / 5


def test_a_class_on_background_is_wrong_where_the_annotation_is_exhaustive():
    # Of 4 pixels of class 0 two are found; it is predicted on 3 of 6 pixels of background too.
    truth = np.array([[0] * 4 + [VOID] * 6])
    prediction = np.array([[0, 0, VOID, VOID, 0, 0, 0, VOID, VOID, VOID]])
    void = semantic_quality(pixel_confusion(truth, prediction, 3))
    assert (void.mean_iou, void.pixel_accuracy) == (2 / 4, 2 / 4)
    exhaustive = semantic_quality(pixel_confusion(truth, prediction, 3, void_is_background=True))
    assert exhaustive.iou.tolist() == [2 / 7, 0, 0]  # 2 / (4 + 5 - 2).
    assert exhaustive.mean_iou == exhaustive.frequency_weighted_iou == 2 / 7  # Background is no class.
    assert exhaustive.pixel_accuracy == 5 / 10  # Two nuclei's pixels, and three where nothing is predicted.


def test_a_class_that_is_predicted_on_background_alone_is_seen():
    truth, prediction = np.array([[0, VOID]]), np.array([[0, 1]])
    assert semantic_quality(pixel_confusion(truth, prediction, 3)).mean_iou == 1.0
    assert semantic_quality(pixel_confusion(truth, prediction, 3, void_is_background=True)).mean_iou == 0.5


def test_nothing_but_void_is_zero_and_no_error():
    quality = semantic_quality(pixel_confusion(np.full((2, 2), VOID), np.zeros((2, 2), int), 3))
    assert (quality.mean_iou, quality.frequency_weighted_iou, quality.pixel_accuracy) == (0.0, 0.0, 0.0)
    assert not quality.seen.any()


@given(CLASS_MAPS, CLASS_MAPS)
def test_mean_iou_is_that_of_a_direct_count(truth, prediction):
    ious = []
    for index in range(3):
        counted = truth != VOID
        intersection = np.sum((truth == index) & (prediction == index))
        union = np.sum(counted & ((truth == index) | (prediction == index)))
        if union:
            ious.append(intersection / union)
    quality = semantic_quality(pixel_confusion(truth, prediction, 3))
    assert quality.mean_iou == pytest.approx(np.mean(ious) if ious else 0.0, abs=1e-12)
    assert quality.seen.sum() == len(ious)


@given(st.integers(0, 2**32 - 1))
def test_segments_count_like_the_class_maps_that_they_paint(seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 5, (2, 6, 6))
    classes = rng.integers(0, VOID, (2, 5))
    classes[:, 0] = VOID
    truth, prediction = (
        [MatchedSegment(int(i), int(of_id[i])) for i in np.unique(of_map) if i]
        for of_map, of_id in zip(ids, classes, strict=True)
    )
    shared = match_segments(ids[0], truth, ids[1], prediction).intersections
    for rule in (False, True):
        expected = pixel_confusion(classes[0][ids[0]], classes[1][ids[1]], VOID, void_is_background=rule)
        found = pixel_confusion_of_segments(shared, truth, prediction, VOID, void_is_background=rule)
        assert np.array_equal(found, expected)


def test_maps_of_two_sizes_and_unknown_classes_are_refused():
    with pytest.raises(ValueError, match="of one size"):
        pixel_confusion(np.zeros((2, 2), int), np.zeros((2, 3), int), 3)
    with pytest.raises(ValueError, match=r"`predicted_classes` must be in 0..3. Received: 0..4"):
        pixel_confusion(np.zeros((1, 2), int), np.array([[0, 4]]), 3)
