"""Resizing matrices, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.bilinear import bilinear_matrix


def test_twice_as_many_samples_lie_a_quarter_from_the_old_centres():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(bilinear_matrix(2, 4), expected, atol=1e-6)


def test_half_as_many_samples_are_means_of_neighbours():
    np.testing.assert_allclose(bilinear_matrix(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], atol=1e-6)


def test_the_same_number_of_samples_changes_nothing():
    np.testing.assert_array_equal(bilinear_matrix(3, 3), np.eye(3))


@pytest.mark.parametrize(("length", "new_length"), [(1, 5), (7, 3), (5, 1), (160, 640)])
def test_weights_are_not_negative_and_sum_to_one(length, new_length):
    matrix = np.asarray(bilinear_matrix(length, new_length))
    assert matrix.shape == (new_length, length)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)


def test_a_graph_of_unknown_lengths_and_xla_give_the_eager_matrix():
    lengths = tf.TensorSpec([], tf.int32)
    graph = tf.function(bilinear_matrix, input_signature=[lengths, lengths])
    np.testing.assert_array_equal(graph(5, 9), bilinear_matrix(5, 9))
    compiled = tf.function(lambda: bilinear_matrix(5, 9), jit_compile=True)
    np.testing.assert_allclose(compiled(), bilinear_matrix(5, 9), atol=1e-6)
