"""Resizing matrices, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.bilinear import bilinear_matrix, bilinear_samples


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


@pytest.mark.parametrize(("length", "new_length"), [(5, 12), (12, 5), (7, 7), (1, 4), (4, 1)])
def test_two_samples_and_their_shares_are_the_rows_of_the_matrix(length, new_length):
    lower, upper, share = (np.asarray(value) for value in bilinear_samples(length, new_length))
    matrix = np.zeros((new_length, length), np.float32)
    np.add.at(matrix, (np.arange(new_length), lower), 1 - share)
    np.add.at(matrix, (np.arange(new_length), upper), share)
    np.testing.assert_allclose(matrix, bilinear_matrix(length, new_length), atol=1e-6)
