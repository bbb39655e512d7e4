"""Enlarging by phases gives what enlarging by matrices gives, and so does its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.losses.enlargement import Matrices, Phases, make_enlargement


def random_values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_row_of_two_by_hand():
    # Four pixels: -2, -1, 1, 2. First half of the phases: -2 (before the first cell) and 1; second half: -1 and 2.
    phases = make_enlargement((1, 2), (2, 4))
    assert isinstance(phases, Phases)
    np.testing.assert_allclose(
        np.reshape(phases.enlarge(tf.constant([[[-2.0, 2.0]]])), [2, 2, 2])[0], [[-2, 1], [-1, 2]], atol=1e-6
    )
    np.testing.assert_array_equal(
        np.reshape(phases.order(tf.constant([[[1, 2, 3, 4], [5, 6, 7, 8]]])), [2, 2, 2])[0], [[1, 3], [2, 4]]
    )


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (1, 4)])
@pytest.mark.parametrize("factors", [(4, 4), (2, 8), (6, 2)])
def test_phases_give_what_matrices_give(size, factors):
    full_size = (size[0] * factors[0], size[1] * factors[1])
    masks, phases, matrices = random_values(2, *size), make_enlargement(size, full_size), Matrices(size, full_size)
    enlarged = matrices.enlarge(masks)
    np.testing.assert_allclose(phases.enlarge(tf.constant(masks)), phases.order(enlarged), atol=1e-6)
    slope = tf.constant(random_values(2, *full_size))
    np.testing.assert_allclose(phases.shrink(phases.order(slope)), matrices.shrink(slope), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("full_size", [(9, 8), (12, 4), (6, 10), (3, 4), (2, 4)])
def test_other_factors_take_matrices(full_size):
    # Odd, one, not whole, and smaller than the mask.
    assert isinstance(make_enlargement((3, 4), full_size), Matrices)


def test_sizes_of_a_graph_take_matrices():
    assert isinstance(make_enlargement((tf.constant(3), 4), (12, 16)), Matrices)
