"""Bilinear resizing as a product with two matrices, one for rows and one for columns.

The samples sit at pixel centres (half-pixel coordinates) and borders are clamped, as in PyTorch's `interpolate` with
`align_corners=False`; nothing is antialiased. As a matrix, a resize works with sizes that are known only at run time,
runs on every backend, and its transpose is its gradient.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.backend.precision import precise_dtype


def bilinear_matrix(length, new_length):
    """Returns the matrix that resizes an axis.

    Args:
        length: Number of old samples, an int or an int32 scalar of a graph.
        new_length: Number of new samples.

    Returns:
        `[new_length, length]` float32; each row sums to 1.
    """
    scale = ops.cast(length, precise_dtype()) / ops.cast(new_length, precise_dtype())
    centers = (ops.arange(new_length, dtype=precise_dtype()) + 0.5) * scale - 0.5
    centers = ops.clip(centers, 0.0, ops.cast(length - 1, precise_dtype()))
    return ops.maximum(1.0 - ops.abs(centers[:, None] - ops.arange(length, dtype=precise_dtype())), 0.0)


def resize_bilinear(image, new_height, new_width):
    """Resizes maps: `[batch, height, width, channels]` -> `[batch, new_height, new_width, channels]`."""
    batch, height, width, channels = ops.shape(image)
    rows = ops.cast(bilinear_matrix(height, new_height), image.dtype)
    columns = ops.cast(bilinear_matrix(width, new_width), image.dtype)
    # Along the rows first: the intermediate map is the smaller one where maps grow. Not with `einsum`, which LiteRT's
    # converter gives a shape that its runtime cannot read.
    image = ops.matmul(rows, ops.reshape(image, (batch, height, width * channels)))
    return ops.matmul(columns, ops.reshape(image, (batch, new_height, width, channels)))
