"""Point sampling: values between pixel centres by hand, where points fall."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskformer_model.losses import point_loss

CORNERS = np.array([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]], np.float32)  # Centres of 2 x 2 pixels.


def test_masks_are_read_at_pixel_centres():
    masks = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
    assert np.asarray(point_loss.sample_masks(masks, CORNERS))[0, 0].tolist() == [1, 2, 3, 4]


def test_masks_are_read_between_centres_and_fade_to_zero_outside():
    masks = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
    points = np.array([[[0.5, 0.5], [0.5, 0.25], [0.0, 0.25], [0.0, 0.0]]], np.float32)
    # The middle; half way along the top row; on the left edge, half outside; on the corner, three quarters outside.
    assert np.asarray(point_loss.sample_masks(masks, points))[0, 0].tolist() == [2.5, 1.5, 0.5, 0.25]


def test_targets_are_read_as_their_masks():
    segment_map = np.array([[[1, 2], [0, 2]]], np.uint8)
    at_centres = point_loss.sample_targets(segment_map, CORNERS[:, None], 2)
    assert np.asarray(at_centres)[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1]]
    middle = np.full((1, 1, 1, 2), 0.5, np.float32)
    assert np.asarray(point_loss.sample_targets(segment_map, middle, 2))[0, :, 0].tolist() == [0.25, 0.5]


def test_three_quarters_of_the_points_lie_where_the_mask_is_uncertain():
    logits = np.full((1, 8, 8), 9.0, np.float32)
    logits[:, :, :4] = np.linspace(-9, 9, 4)  # Falls through zero inside the left half.
    points = np.asarray(point_loss.uncertain_points(logits, 400, keras.random.SeedGenerator(0)))
    assert points.shape == (1, 400, 2) and points.min() >= 0 and points.max() < 1
    certainty = np.abs(np.asarray(point_loss.sample_masks(logits[:, None], points)))[0, 0]
    assert certainty[:300].max() < 9.0
    assert certainty[300:].max() == pytest.approx(9.0)


def test_points_follow_their_seed():
    draw = [np.asarray(point_loss.even_points(2, 5, keras.random.SeedGenerator(seed))) for seed in (1, 1, 2)]
    assert (draw[0] == draw[1]).all() and (draw[0] != draw[2]).any()


def test_nothing_matched_costs_nothing():
    sums = point_loss.point_mask_loss_sums(
        np.ones((1, 2, 4, 4), np.float32),
        np.ones((1, 4, 4), np.uint8),
        np.full((1, 2), -1, np.int32),
        10,
        keras.random.SeedGenerator(0),
    )
    assert np.asarray(sums).tolist() == [0.0, 0.0]
