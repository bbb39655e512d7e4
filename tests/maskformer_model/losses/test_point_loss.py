"""Point sampling: values between pixel centres by hand, where points fall."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import LossConfig
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
    at_centres = np.asarray(point_loss.sample_targets(segment_map, CORNERS, 2))
    assert at_centres[0].T.tolist() == [[1, 0, 0, 0], [0, 1, 0, 1]]
    middle = np.full((1, 1, 2), 0.5, np.float32)
    assert np.asarray(point_loss.sample_targets(segment_map, middle, 2))[0, 0].tolist() == [0.25, 0.5]


def test_each_row_reads_its_own_mask():
    masks = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], np.float32)
    points = np.array([[[0.25, 0.25]], [[0.5, 0.5]], [[1.0, 0.75]]], np.float32)
    rows = np.array([1, 0, 0], np.int32)
    # The first centre of the second mask; the middle of the first; half outside beside its last pixel.
    assert np.asarray(point_loss.sample_rows(masks, rows, points))[:, 0].tolist() == [5, 2.5, 2]
    number = np.array([5, 4, 4], np.int32)
    assert np.asarray(point_loss.sample_rows(masks, rows, points, equal_to=number))[:, 0].tolist() == [1, 0.25, 0.5]


def test_three_quarters_of_the_points_lie_where_the_mask_is_uncertain():
    logits = np.full((1, 8, 8), 9.0, np.float32)
    logits[:, :, :4] = np.linspace(-9, 9, 4)  # Falls through zero inside the left half.
    config = LossConfig(mask_loss="points", num_points=400)
    draw = point_loss.random_draw(keras.random.SeedGenerator(0))
    points = np.asarray(point_loss._loss_points(logits, config, draw, 0))
    assert points.shape == (1, 400, 2) and points.min() >= 0 and points.max() < 1
    certainty = np.abs(np.asarray(point_loss.sample_masks(logits[:, None], points)))[0, 0]
    assert certainty[:300].max() < 9.0
    assert certainty[300:].max() == pytest.approx(9.0)


@pytest.mark.parametrize(("size", "is_compiled"), [(8, True), (None, False)])
def test_only_photos_of_one_size_are_compiled_for(size, is_compiled):
    # Sizes that change from batch to batch would be compiled again and again.
    config = LossConfig(mask_loss="points", num_points=6)
    draw = point_loss.random_draw(keras.random.SeedGenerator(0))
    signature = [
        tf.TensorSpec([2, 5, size, size]),
        tf.TensorSpec([2, size, size], tf.uint8),
        tf.TensorSpec([2, 3], tf.int32),
    ]
    step = tf.function(lambda *tensors: point_loss.point_mask_loss_sums(*tensors, config, draw, 0), signature)
    functions = step.get_concrete_function().graph.as_graph_def().library.function
    assert any(function.attr["_XlaMustCompile"].b for function in functions) == is_compiled
    logits, segment_map = np.ones((2, 5, 8, 8), np.float32), np.ones((2, 8, 8), np.uint8)
    assert np.isfinite(step(logits, segment_map, np.array([[0, -1, -1]] * 2, np.int32))).all()


def test_points_follow_their_seed():
    draws = [point_loss.random_draw(keras.random.SeedGenerator(seed)) for seed in (1, 1, 2)]
    first, same, other = (np.asarray(draw(0, "matcher", (2, 5, 2))) for draw in draws)
    assert (first == same).all() and (first != other).any()


def test_pairs_are_listed_by_image_and_then_by_query():
    matched = np.array([[4, -1, 1], [0, 3, 2]], np.int32)
    image, target, query, is_pair = (np.asarray(values) for values in point_loss.matched_pairs(matched, 5))
    assert image.tolist() == [0, 0, 1, 1, 1, 0]
    assert target.tolist() == [2, 0, 0, 2, 1, 1]
    assert query.tolist() == [1, 4, 0, 2, 3, 0]  # The last is no pair.
    assert is_pair.tolist() == [1, 1, 1, 1, 1, 0]


def test_a_draw_of_as_many_rows_as_pairs_is_enough():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (1, 3, 4, 4)).astype(np.float32)
    segment_map = np.kron([[1, 2], [0, 0]], np.ones((4, 4), int)).astype(np.int32)[None]
    config = LossConfig(mask_loss="points", num_points=8, pixel_loss="cross_entropy")
    given = {
        (kind, rows): rng.random((rows, points, 2), np.float32)
        for kind, points in (("oversampled", 24), ("random", 2))
        for rows in (1, 3)
    }
    for kind in ("oversampled", "random"):
        given[kind, 3][:1] = given[kind, 1]
    sums = [
        point_loss.point_mask_loss_sums(
            logits,
            segment_map,
            np.array([[2, -1, -1]], np.int32),
            config,
            lambda layer, kind, shape, rows=rows: given[kind, rows],
            0,
        )
        for rows in (1, 3)
    ]
    np.testing.assert_allclose(*sums, rtol=1e-6)
    assert (np.asarray(sums[0]) > 0).all()


def test_nothing_matched_costs_nothing():
    sums = point_loss.point_mask_loss_sums(
        np.ones((1, 2, 4, 4), np.float32),
        np.ones((1, 4, 4), np.uint8),
        np.full((1, 2), -1, np.int32),
        LossConfig(mask_loss="points", num_points=10),
        point_loss.random_draw(keras.random.SeedGenerator(0)),
        0,
    )
    assert np.asarray(sums).tolist() == [0.0, 0.0]
