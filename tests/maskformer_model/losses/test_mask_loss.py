"""Focal and dice loss at full resolution: values by hand, gradients against automatic differentiation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.losses import mask_loss

MAP = np.zeros((2, 8, 12), np.uint8)
MAP[0, :4, :5], MAP[0, 2:, 6:], MAP[1, 1:3, 1:3] = 1, 2, 3
MATCHED = np.array([[4, 0, -1], [-1, -1, 2]], np.int32)


def random_logits(height=4, width=6):
    return np.random.default_rng(0).normal(size=(2, 5, height, width)).astype(np.float32) * 3


def sums_by_definition(mask_logits, segment_map, matched_query):
    """The same sums, mask by mask, by TensorFlow's own resize and automatic differentiation."""
    focal, dice = tf.constant(0.0), tf.constant(0.0)
    for image, target in zip(*np.nonzero(matched_query >= 0), strict=True):
        logits = mask_logits[image, matched_query[image, target]][None, :, :, None]
        full = tf.reshape(tf.image.resize(logits, segment_map.shape[1:]), [1, -1])
        truth = tf.constant(np.reshape(segment_map[image] == target + 1, [1, -1]), tf.float32)
        focal += tf.reduce_sum(mask_loss.focal_loss(full, truth))
        dice += tf.reduce_sum(mask_loss.dice_loss(full, truth))
    return tf.stack([focal, dice])


def value_and_gradient(function, logits, *args, flow=(1.0, 1.0)):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        sums = function(logits, *args)
        total = tf.reduce_sum(sums * tf.constant(flow))
    return sums.numpy(), tape.gradient(total, logits).numpy()


def test_focal_loss_by_hand():
    # Two pixels at probability 1/2 and 3/4, the second one on the target.
    logits = np.array([[0.0, math.log(3)]], np.float32)
    expected = (0.75 * 0.5**2 * math.log(2) + 0.25 * 0.25**2 * -math.log(0.75)) / 2
    assert float(mask_loss.focal_loss(logits, np.array([[0.0, 1.0]], np.float32))[0]) == pytest.approx(expected, 1e-6)


def test_dice_loss_by_hand():
    logits = np.array([[0.0, math.log(3)]], np.float32)
    expected = 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)
    assert float(mask_loss.dice_loss(logits, np.array([[0.0, 1.0]], np.float32))[0]) == pytest.approx(expected, 1e-6)


def test_sure_and_right_costs_nothing_and_sure_and_wrong_stays_finite():
    truth = np.array([[1.0, 0.0]], np.float32)
    right, wrong = np.array([[90.0, -90.0]], np.float32), np.array([[-90.0, 90.0]], np.float32)
    assert float(mask_loss.focal_loss(right, truth)[0]) == 0.0
    assert float(mask_loss.dice_loss(right, truth)[0]) == 0.0
    assert float(mask_loss.focal_loss(wrong, truth)[0]) == pytest.approx((0.25 * 90 + 0.75 * 90) / 2, 1e-5)


def test_an_empty_target_costs_no_dice_where_nothing_is_predicted():
    # The smoothing of 1 makes 0 of 0 a perfect overlap.
    assert float(mask_loss.dice_loss(np.full((1, 6), -90.0, np.float32), np.zeros((1, 6), np.float32))[0]) == 0.0


def test_pixels_are_compared_after_enlarging():
    # One row of two pixels becomes four: logits -2, -1, 1, 2; the last two are the target.
    logits = np.array([[[[-2.0, 2.0]]]], np.float32)
    segment_map = np.array([[[0, 0, 1, 1]]], np.uint8)
    focal, dice = mask_loss.matched_mask_loss_sums(logits, segment_map, np.array([[0]], np.int32))
    sigmoid = [1 / (1 + math.exp(x)) for x in (2, 1)]  # Probability of the wrong answer, the same on both sides.
    expected = sum((0.25 + 0.75) * p**2 * -math.log(1 - p) for p in sigmoid) / 4
    assert float(focal) == pytest.approx(expected, 1e-5)
    overlap = 2 - sum(sigmoid)
    assert float(dice) == pytest.approx(1 - (2 * overlap + 1) / (2 + 2 + 1), 1e-5)


@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_value_and_gradient_equal_the_definition(size):
    logits = random_logits(*size)
    for flow in ((1.0, 1.0), (20.0, -0.5)):
        sums, gradient = value_and_gradient(mask_loss.matched_mask_loss_sums, logits, MAP, MATCHED, flow=flow)
        expected, expected_gradient = value_and_gradient(sums_by_definition, logits, MAP, MATCHED, flow=flow)
        np.testing.assert_allclose(sums, expected, rtol=2e-6)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-7)


def test_unmatched_masks_get_no_gradient():
    _, gradient = value_and_gradient(mask_loss.matched_mask_loss_sums, random_logits(), MAP, MATCHED)
    moved = np.abs(gradient).sum(axis=(2, 3)) > 0
    assert np.argwhere(moved).tolist() == [[0, 0], [0, 4], [1, 2]]


def test_nothing_matched_costs_nothing():
    nothing = np.full((2, 3), -1, np.int32)
    sums, gradient = value_and_gradient(mask_loss.matched_mask_loss_sums, random_logits(), MAP, nothing)
    assert sums.tolist() == [0.0, 0.0] and not gradient.any()


def test_nan_comes_out_as_nan():
    logits = random_logits()
    logits[0, 4, 0, 0] = np.nan
    sums, gradient = value_and_gradient(mask_loss.matched_mask_loss_sums, logits, MAP, MATCHED)
    assert np.isnan(sums).all() and np.isnan(gradient[0, 4]).any()


def test_unknown_sizes_in_a_graph_and_an_outer_compilation_give_the_same():
    expected, expected_gradient = value_and_gradient(mask_loss.matched_mask_loss_sums, random_logits(), MAP, MATCHED)

    def step(logits, segment_map, matched):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            sums = mask_loss.matched_mask_loss_sums(logits, segment_map, matched)
        return sums, tape.gradient(sums, logits)

    signature = [
        tf.TensorSpec([None, 5, None, None]),
        tf.TensorSpec([None, None, None], tf.uint8),
        tf.TensorSpec([None, None], tf.int32),
    ]
    for function in (tf.function(step, input_signature=signature), tf.function(step, jit_compile=True)):
        sums, gradient = function(tf.constant(random_logits()), tf.constant(MAP), tf.constant(MATCHED))
        np.testing.assert_allclose(sums, expected, rtol=1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-7)


def test_cross_entropy_by_hand():
    logits = np.array([[0.0, 2.0]], np.float32)
    # ln 2 where the logit is 0, and half of each answer's price where the target is one half.
    expected = (np.log(2) + 0.5 * np.log1p(np.exp(-2.0)) + 0.5 * np.log1p(np.exp(2.0))) / 2
    found = mask_loss.cross_entropy_loss(logits, np.array([[0.0, 0.5]], np.float32))
    assert float(found[0]) == pytest.approx(expected, rel=1e-6)
