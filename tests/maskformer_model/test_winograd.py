"""Winograd's method gives what a direct convolution gives."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import winograd


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def convolve(image, kernel):
    return winograd.convolve(tf.convert_to_tensor(image), winograd.transform_filter(tf.convert_to_tensor(kernel)))


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_each_output_is_the_sum_of_its_neighbours_by_the_taps():
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, :, 0, 0] = [1, 10, 100]
    row = np.array([1, 2, 3, 4, 5], np.float32).reshape(1, 1, 5, 1)
    outputs = convolve(row, kernel)
    np.testing.assert_allclose(outputs[0, 0, :, 0], [210, 321, 432, 543, 54], rtol=1e-5)


@pytest.mark.parametrize("width", range(1, 10))
@pytest.mark.parametrize("height", [1, 2, 5])
def test_maps_of_any_size_are_convolved_up_to_their_edges(height, width):
    image, kernel = drawn(2, height, width, 5), drawn(3, 3, 5, 7, seed=1)
    np.testing.assert_allclose(convolve(image, kernel), tf.nn.conv2d(image, kernel, 1, "SAME"), rtol=1e-4, atol=1e-4)


def test_what_is_not_finite_spoils_the_outputs_of_its_own_tiles_alone():
    image = drawn(1, 3, 24, 2)
    image[0, 1, 8] = np.inf
    outputs = convolve(image, drawn(3, 3, 2, 2, seed=1))
    spoilt = ~np.isfinite(outputs.numpy()).all(axis=(0, 1, 3))
    np.testing.assert_array_equal(np.flatnonzero(spoilt), range(4, 12))


def test_a_graph_of_no_fixed_size_gives_the_eager_answer():
    kernel = drawn(3, 3, 4, 3, seed=1)
    graph = tf.function(lambda image: convolve(image, kernel), input_signature=[tf.TensorSpec([None, None, None, 4])])
    for shape in ((1, 6, 8, 4), (2, 3, 7, 4)):
        image = tf.constant(drawn(*shape))
        np.testing.assert_allclose(graph(image), convolve(image, kernel), rtol=1e-6, atol=1e-6)


def test_rounding_errors_are_within_three_times_those_of_a_direct_convolution():
    image, kernel = drawn(1, 24, 24, 256), drawn(3, 3, 256, 256, seed=1)
    exact = tf.nn.conv2d(image.astype(np.float64), kernel.astype(np.float64), 1, "SAME").numpy()
    direct = tf.nn.conv2d(image, kernel, 1, "SAME").numpy()
    ours = convolve(image, kernel).numpy()
    assert rms(ours - exact) < 3 * rms(direct - exact)
    assert rms(ours - exact) < 1e-5 * rms(exact)
