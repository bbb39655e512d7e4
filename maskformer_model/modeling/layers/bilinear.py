"""Bilinear resizing as a product with two matrices, one for rows and one for columns.

The samples sit at pixel centres (half-pixel coordinates) and borders are clamped, as in PyTorch's `interpolate` with
`align_corners=False`; nothing is antialiased. As a matrix, a resize works with sizes that are known only at run time,
runs on every backend, and its transpose is its gradient.
"""

from __future__ import annotations

from keras import ops


def bilinear_matrix(length, new_length):
    """The matrix that resizes an axis.

    Args:
        length: Number of old samples, an int or an int32 scalar of a graph.
        new_length: Number of new samples, likewise.

    Returns:
        `[new_length, length]` float32; each row sums to 1.
    """
    scale = ops.cast(length, "float32") / ops.cast(new_length, "float32")
    centers = (ops.arange(new_length, dtype="float32") + 0.5) * scale - 0.5
    centers = ops.clip(centers, 0.0, ops.cast(length - 1, "float32"))
    return ops.maximum(1.0 - ops.abs(centers[:, None] - ops.arange(length, dtype="float32")), 0.0)
