"""Matching costs by hand, the nearest rule of PyTorch, and which query gets which target."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.losses import matcher


def test_focal_cost_by_hand():
    # One query, two pixels at probability 1/2 and 3/4; two targets, one on each pixel.
    logits = np.array([[[0.0, math.log(3)]]], np.float32)
    found = matcher.pairwise_focal(logits, np.eye(2, dtype=np.float32)[None])
    half, quarter = math.log(2), -math.log(0.75)
    on_first = 0.25 * 0.5**2 * half + 0.75 * 0.75**2 * -math.log(0.25)
    on_second = 0.75 * 0.5**2 * half + 0.25 * 0.25**2 * quarter
    np.testing.assert_allclose(np.asarray(found)[0, 0], [on_first / 2, on_second / 2], rtol=1e-6)


def test_dice_cost_by_hand():
    logits = np.array([[[0.0, math.log(3)]]], np.float32)
    found = matcher.pairwise_dice(logits, np.eye(2, dtype=np.float32)[None])
    np.testing.assert_allclose(np.asarray(found)[0, 0], [1 - 2.0 / 3.25, 1 - 2.5 / 3.25], rtol=1e-6)


def test_cost_weighs_class_focal_and_dice():
    class_logits = np.log(np.array([[[0.2, 0.7, 0.1]]], np.float32))
    mask_logits = np.array([[[[0.0, math.log(3)]]]], np.float32)
    target = np.array([[[0.0], [1.0]]], np.float32)
    focal = float(matcher.pairwise_focal(mask_logits[:, :, 0], target)[0, 0, 0])
    dice = float(matcher.pairwise_dice(mask_logits[:, :, 0], target)[0, 0, 0])
    classes = np.array([[1]], np.int32)
    official = matcher.matching_cost(class_logits, mask_logits, target, classes)
    assert float(official[0, 0, 0]) == pytest.approx(20 * focal + dice - 0.7, rel=1e-5)
    other = matcher.matching_cost(
        class_logits, mask_logits, target, classes, class_weight=2, mask_weight=3, dice_weight=4
    )
    assert float(other[0, 0, 0]) == pytest.approx(3 * focal + 4 * dice - 1.4, rel=1e-5)


@pytest.mark.parametrize(
    ("length", "new_length", "expected"),
    [
        (8, 2, [0, 4]),  # TensorFlow's own nearest would take the centres 2 and 6.
        (7, 2, [0, 3]),
        (2, 5, [0, 0, 0, 1, 1]),
        (3, 3, [0, 1, 2]),
        (5, 1, [0]),
    ],
)
def test_nearest_is_pytorch_s(length, new_length, expected):
    assert np.asarray(matcher.nearest_indices(length, new_length)).tolist() == expected


def test_nearest_rounds_the_scale_to_float32_as_pytorch_does():
    # 110 / 28 is 3.9285715 in float32, slightly too much: index 14 stays at 55 either way, none falls short.
    found = np.asarray(matcher.nearest_indices(110, 28))
    scale = np.float32(110) / np.float32(28)
    assert found.tolist() == [int(np.floor(np.float32(i) * scale)) for i in range(28)]


def test_targets_are_taken_down_by_the_nearest_pixel():
    segment_map = np.array([[[1, 2, 2, 2], [1, 1, 0, 0]]], np.uint8)
    found = np.asarray(matcher.downsampled_targets(segment_map, (1, 2), 3))
    assert found.shape == (1, 2, 3)
    assert found[0].T.tolist() == [[1, 0], [0, 1], [0, 0]]  # The third target is too small to be seen.


def test_each_target_gets_the_query_that_shows_it():
    # Query 2 draws target 0, query 0 draws target 1; the third row is padding.
    segment_map = np.zeros((1, 8, 8), np.uint8)
    segment_map[0, :, :4], segment_map[0, :, 4:] = 1, 2
    masks = np.full((1, 3, 2, 2), -9.0, np.float32)
    masks[0, 2, :, 0] = masks[0, 0, :, 1] = 9.0
    classes = np.array([[1, 0, -1]], np.int32)
    found = matcher.match(np.zeros((1, 3, 3), np.float32), masks, segment_map, classes)
    assert np.asarray(found).tolist() == [[2, 0, -1]]


def test_the_class_decides_between_equal_masks():
    segment_map = np.ones((1, 4, 4), np.uint8)
    class_logits = np.array([[[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]], np.float32)
    masks = np.ones((1, 2, 1, 1), np.float32)
    assert np.asarray(matcher.match(class_logits, masks, segment_map, np.array([[1]], np.int32))).tolist() == [[1]]


def test_more_targets_than_queries_leave_the_dearest_out():
    segment_map = np.array([[[1, 2, 3, 3]]], np.uint8)
    masks = np.array([[[[9.0, -9.0, -9.0, -9.0]], [[-9.0, -9.0, 9.0, 9.0]]]], np.float32)
    found = matcher.match(np.zeros((1, 2, 2), np.float32), masks, segment_map, np.array([[0, 0, 0]], np.int32))
    assert np.asarray(found).tolist() == [[0, -1, 1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_passed_over(bad):
    segment_map = np.ones((1, 2, 2), np.uint8)
    masks = np.array([[[[bad]], [[-9.0]]]], np.float32)
    class_logits = np.array([[[bad, bad], [0.0, 0.0]]], np.float32)
    assert np.asarray(matcher.match(class_logits, masks, segment_map, np.array([[0]], np.int32))).tolist() == [[1]]


def test_no_gradient_flows_through_the_cost():
    masks = tf.random.stateless_normal((1, 3, 2, 2), seed=(0, 0))
    with tf.GradientTape() as tape:
        tape.watch(masks)
        target = matcher.downsampled_targets(np.ones((1, 4, 4), np.uint8), (2, 2), 1)
        cost = matcher.matching_cost(tf.zeros((1, 3, 2)), masks, target, np.array([[0]], np.int32))
    assert tape.gradient(cost, masks) is None


def test_pairwise_cross_entropy_by_hand():
    logits = np.array([[[0.0, 2.0]]], np.float32)
    targets = np.array([[[0.0], [1.0]]], np.float32)
    # ln 2 where the logit is 0, and ln(1 + e^-2) where the target is 1.
    expected = (np.log(2) + np.log1p(np.exp(-2.0))) / 2
    found = matcher.pairwise_cross_entropy(tf.constant(logits), tf.constant(targets))
    assert float(found[0, 0, 0]) == pytest.approx(expected, rel=1e-6)
