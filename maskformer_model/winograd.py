"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along rows (arXiv:1509.09308, section 4.1).

Four neighbours in a row of the output need three products each, for one row of taps and one pair of channels. Taken
together they need six: of sums of six neighbours of the input by sums of the three taps. Those sums cost passes over
the map, so it pays where channels are many. Rounding errors are about twice those of a direct convolution.

Everything is in operations that TensorFlow has everywhere; the six products are one convolution of six groups. On
processors that is sooner done than TensorFlow's direct convolution (docs/serving.md, "Latency").
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_OUTPUTS, _TAPS = 4, 3
NUM_PRODUCTS = _OUTPUTS + _TAPS - 1  # As many as neighbours of the input.
# The paper's matrices, for the points 0, 1, -1, 2, -2 and infinity.
_INPUT_SUMS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_TAP_SUMS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
_OUTPUT_SUMS = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


def convolve(image: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d(image, kernel, 1, "SAME")` but for rounding.

    Args:
        image: `[batch, height, width, in]` float32.
        kernel: `[3, 3, in, out]`, or what `sum_taps` made of it.

    Returns:
        `[batch, height, width, out]` float32.
    """
    if kernel.shape[1] == _TAPS:
        kernel = sum_taps(kernel)
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    channels, filters = image.shape[-1], kernel.shape[-1] // NUM_PRODUCTS
    num_tiles = -(-width // _OUTPUTS)
    columns = tf.range(num_tiles)[:, None] * _OUTPUTS + tf.range(-1, NUM_PRODUCTS - 1)
    is_inside = tf.cast((columns >= 0) & (columns < width), image.dtype)
    tiles = tf.gather(image, tf.clip_by_value(columns, 0, width - 1), axis=2)
    # What lies beyond the edge counts for nothing: by the sums' weights, which are small, and not by a padded map.
    sums = tf.matmul(_INPUT_SUMS * is_inside[:, None, :], tiles)
    products = tf.nn.conv2d(tf.reshape(sums, [batch, height, num_tiles, NUM_PRODUCTS * channels]), kernel, 1, "SAME")
    outputs = tf.matmul(_OUTPUT_SUMS, tf.reshape(products, [batch, height, num_tiles, NUM_PRODUCTS, filters]))
    return tf.reshape(outputs, [batch, height, num_tiles * _OUTPUTS, filters])[:, :, :width]


def sum_taps(kernel: tf.Tensor) -> tf.Tensor:
    """`[3, 3, in, out]` -> `[3, 1, in, 6 * out]`, the kernel of a convolution of six groups."""
    rows, _, channels, filters = kernel.shape
    return tf.reshape(tf.einsum("iw,hwcf->hcif", _TAP_SUMS, kernel), [rows, 1, channels, NUM_PRODUCTS * filters])
