"""Resizing matrices, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.bilinear import bilinear_matrix, resize_bilinear


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


def test_a_map_is_resized_along_its_rows_and_its_columns_each_channel_by_itself():
    first = np.array([[0.0, 4.0], [8.0, 12.0]])
    expected = np.array([[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]])
    maps = np.stack([first, 10 * first], axis=-1)[None].astype(np.float32)
    maps = np.concatenate([maps, -maps])
    resized = np.asarray(resize_bilinear(maps, 4, 4))
    np.testing.assert_allclose(resized[0, :, :, 0], expected, atol=1e-5)
    np.testing.assert_allclose(resized[1, :, :, 1], -10 * expected, atol=1e-5)
    # Each row once, each column twice: not the other way round.
    np.testing.assert_allclose(resize_bilinear(maps, 2, 4)[0, :, :, 0], [[0, 1, 3, 4], [8, 9, 11, 12]], atol=1e-5)


def test_a_graph_of_unknown_lengths_and_xla_give_the_eager_matrix():
    lengths = tf.TensorSpec([], tf.int32)
    graph = tf.function(bilinear_matrix, input_signature=[lengths, lengths])
    np.testing.assert_array_equal(graph(5, 9), bilinear_matrix(5, 9))
    compiled = tf.function(lambda: bilinear_matrix(5, 9), jit_compile=True)
    np.testing.assert_allclose(compiled(), bilinear_matrix(5, 9), atol=1e-6)
