"""Pixels of known value, exact zeros in the padding."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.data import normalization


def test_normalisation_of_known_pixels():
    image = np.zeros([1, 1, 2, 3], np.uint8)
    image[0, 0, 1] = (124, 116, 104)
    expected = [[-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375], [0.325 / 58.395, -0.28 / 57.12, 0.47 / 57.375]]
    normalized = np.asarray(normalization.normalize(image))
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[0, 0], expected, atol=1e-6)


def test_padding_is_exactly_zero_after_normalisation():
    image = np.full([2, 4, 5, 3], 200, np.uint8)
    normalized = np.asarray(normalization.normalize(image, np.array([[2, 5], [4, 3]])))
    is_zero = (normalized == 0).all(-1)
    expected = np.zeros([2, 4, 5], bool)
    expected[0, 2:] = True
    expected[1, :, 3:] = True
    np.testing.assert_array_equal(is_zero, expected)


@pytest.mark.parametrize(
    "compilation",
    [
        {},
        {"jit_compile": True},
        {"input_signature": [tf.TensorSpec([None, None, None, 3], tf.uint8), tf.TensorSpec([None, 2], tf.int32)]},
    ],
)
def test_graph_xla_and_unknown_sizes_give_the_eager_answer(compilation):
    image = np.random.default_rng(0).integers(0, 256, (2, 6, 7, 3), dtype=np.uint8)
    size_px = np.array([[5, 6], [6, 7]], np.int32)
    answer = tf.function(normalization.normalize, **compilation)(image, size_px)
    np.testing.assert_allclose(answer, normalization.normalize(image, size_px), atol=1e-5)
    assert not answer.numpy()[0, 5:].any()
