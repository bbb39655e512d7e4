"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along rows (arXiv:1509.09308, section 4.3).

Four neighbours in a row of the output need three products each, for one row of the filter and one pair of channels.
Taken together, as a tile, they need six: of six sums of the tile's data by six sums of the filter. The transforms that
make these sums cost passes over the map, so it pays where channels are many. The sums magnify rounding errors, in
float32 to less than three times those of a direct convolution (`test_winograd.py`); it is not for TensorFloat-32 and
the like.

Everything is in operations that TensorFlow has everywhere; the six products are one convolution of six groups. With
oneDNN on x86-64 that is sooner done than TensorFlow's direct convolution (docs/serving.md, "Latency").
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_OUTPUTS, _TAPS = 4, 3
NUM_PRODUCTS = _OUTPUTS + _TAPS - 1  # As many as a tile has columns.
# The paper's matrices of one dimension.
_DATA_TRANSFORM = np.array(
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
_FILTER_TRANSFORM = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32) / 24
_INVERSE_TRANSFORM = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


def transform_filter(kernel: tf.Tensor) -> tf.Tensor:
    """`[3, 3, in, out]` float32 -> `[3, 1, in, 6 * out]`, the kernel of a convolution of six groups."""
    rows, _, channels, filters = kernel.shape
    transformed = tf.einsum("pw,hwcf->hcpf", _FILTER_TRANSFORM, kernel)
    return tf.reshape(transformed, [rows, 1, channels, NUM_PRODUCTS * filters])


def convolve(image: tf.Tensor, transformed_filter: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d(image, kernel, 1, "SAME")` but for rounding.

    Args:
        image: `[batch, height, width, in]` float32.
        transformed_filter: `[3, 1, in, 6 * out]`, see `transform_filter`.

    Returns:
        `[batch, height, width, out]` float32.
    """
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    channels, filters = image.shape[-1], transformed_filter.shape[-1] // NUM_PRODUCTS
    num_tiles = -(-width // _OUTPUTS)
    columns = tf.range(num_tiles)[:, None] * _OUTPUTS + tf.range(-1, NUM_PRODUCTS - 1)
    is_inside = tf.cast((columns >= 0) & (columns < width), image.dtype)
    tiles = tf.gather(image, tf.clip_by_value(columns, 0, width - 1), axis=2)
    # A column beyond the edge has weight 0 in its tile's transform, so that no padded copy of the map is made.
    data = tf.matmul(_DATA_TRANSFORM * is_inside[:, None, :], tiles)
    data = tf.reshape(data, [batch, height, num_tiles, NUM_PRODUCTS * channels])
    products = tf.nn.conv2d(data, transformed_filter, 1, "SAME")
    products = tf.reshape(products, [batch, height, num_tiles, NUM_PRODUCTS, filters])
    outputs = tf.matmul(_INVERSE_TRANSFORM, products)
    return tf.reshape(outputs, [batch, height, num_tiles * _OUTPUTS, filters])[:, :, :width]
