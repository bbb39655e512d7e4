"""Deformable sampling by hand, its gradient, and how an attention begins."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.deformable_attention import MultiScaleDeformableAttention, sample_levels


def read(cells, x, y, weights=None):
    """Reads one level of one head and one channel at points; `cells` is `[height, width]`."""
    value = np.reshape(np.array(cells, np.float32), (1, -1, 1, 1))
    points = np.reshape(np.array([x, y], np.float32), (2, 1, -1, 1, 1, 1))
    weights = np.ones_like(points[0]) if weights is None else weights
    return np.asarray(sample_levels(value, points[0], points[1], weights, [np.shape(cells)]))[0, :, 0, 0].tolist()


def test_points_are_read_between_cells_and_fade_to_zero_outside():
    cells = [[1.0, 2.0], [3.0, 4.0]]
    x, y = [0.0, 0.5, 0.5, -0.5, -0.5, -1.0, 1.75, 9.0], [0.0, 0.5, 0.0, 0.0, -0.5, 0.0, 1.0, -9.0]
    # A centre; the middle; half way; half outside; three quarters outside; outside; a quarter left of 4; far away.
    assert read(cells, x, y) == [1, 2.5, 1.5, 0.5, 0.25, 0, 1, 0]


def test_a_coordinate_that_is_not_a_number_gives_none():
    assert np.isnan(read([[1.0, 2.0]], [np.nan], [0.0])).all()


def test_levels_and_points_are_weighted_and_heads_keep_their_channels():
    # Two levels, 1x1 and 1x2 cells; two heads of one channel.
    value = np.array([[[[1.0], [10.0]], [[2.0], [20.0]], [[3.0], [30.0]]]], np.float32)
    zeros = np.zeros((1, 1, 2, 2, 1), np.float32)
    x = zeros.copy()
    x[0, 0, :, 1, 0] = 1.0  # The second level's second cell.
    weights = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32).reshape(1, 1, 2, 2, 1)
    found = np.asarray(sample_levels(value, x, zeros, weights, [(1, 1), (1, 2)]))
    assert found[0, 0, :, 0].tolist() == [0.25 * 1 + 0.75 * 3, 10.0]


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    sizes = [(2, 3), (3, 4)]
    tensors = [
        tf.Variable(rng.normal(size=(2, 18, 2, 3))),
        *(tf.Variable(rng.uniform(-1.5, 4.5, (2, 5, 2, 2, 2))) for _ in range(2)),
        tf.Variable(rng.uniform(size=(2, 5, 2, 2, 2))),
    ]
    flow = rng.normal(size=(2, 5, 2, 3))

    def total(*values):
        return tf.reduce_sum(sample_levels(*values, sizes) * flow)

    with tf.GradientTape() as tape:
        value = total(*tensors)
    for index, gradient in enumerate(tape.gradient(value, tensors)):
        direction = rng.normal(size=tensors[index].shape)
        moved = [
            total(*(tensor + step * direction if k == index else tensor for k, tensor in enumerate(tensors)))
            for step in (1e-6, -1e-6)
        ]
        expected = float(moved[0] - moved[1]) / 2e-6
        assert float(np.sum(gradient * direction)) == pytest.approx(expected, rel=1e-5)


def test_training_keeps_nothing_that_it_gathered():
    # Each of four layers gathers 64 MB. A training that kept them for the gradient would hold 256 MB at once.
    gathered_bytes = 64 * 2**20
    sizes, tokens, points = [(32, 32)], 1024, 128
    rng = np.random.default_rng(0)
    value = tf.constant(rng.normal(size=(1, 1024, 1, 32)), tf.float32)
    x, y = (tf.constant(rng.uniform(0, 31, (1, tokens, 1, 1, points)), tf.float32) for _ in range(2))
    weights = tf.ones_like(x) / points

    @tf.function
    def gradients(value, x):
        with tf.GradientTape() as tape:
            tape.watch((value, x))
            read = value
            for _ in range(4):
                read = sample_levels(read, x, y, weights, sizes)
            loss = tf.reduce_sum(read**2)
        return tape.gradient(loss, (value, x))

    gradients(value, x)
    tf.config.experimental.reset_memory_stats("CPU:0")
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    gradients(value, x)
    assert tf.config.experimental.get_memory_info("CPU:0")["peak"] - before < 2.5 * gathered_bytes


def test_it_starts_by_looking_around_with_equal_weights():
    attention = MultiScaleDeformableAttention(32, num_heads=8, num_levels=3, num_points=4)
    attention.build(None)
    offsets = attention.offsets.bias.numpy().reshape(8, 3, 4, 2)
    np.testing.assert_allclose(offsets[0, 0], [[1, 0], [2, 0], [3, 0], [4, 0]], atol=1e-6)
    np.testing.assert_allclose(offsets[1, 2], [[1, 1], [2, 2], [3, 3], [4, 4]], atol=1e-5)
    np.testing.assert_allclose(offsets[6, 1, 3], [0, -4], atol=1e-5)
    assert not attention.offsets.kernel.numpy().any()
    assert not attention.weights_of_points.kernel.numpy().any()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads"):
        MultiScaleDeformableAttention(32, num_heads=5, num_levels=3, num_points=4)
