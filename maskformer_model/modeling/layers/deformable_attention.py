"""Multi-scale deformable attention (arXiv:2010.04159, section 4.1), by gathers.

Every token looks at a few points of every level instead of at all cells. Where, and how much each point counts, are
linear functions of the token. A point lies between four cells and is read bilinearly, as 0 beyond the edge.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from maskformer_model.modeling.layers.linear import flat_linear

Size = tuple[Any, Any]  # Rows and columns of a level: Python ints or scalar tensors.


class MultiScaleDeformableAttention(keras.layers.Layer):
    """`call(query, value, reference, sizes)` -> `[batch, tokens, dim]`, for tokens of all levels in one row.

    Args:
        dim: The tokens' width.
        num_heads: Must divide `dim`; each head reads its own contiguous channels.
        num_levels: How many levels there are.
        num_points: Points that a head reads on each level.

    Raises:
        ValueError: if `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int, **kwargs):
        super().__init__(**kwargs)
        if dim % num_heads:
            raise ValueError(f"`num_heads` must divide `dim`. Received: dim={dim}, num_heads={num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        num_samples = num_heads * num_levels * num_points
        self.offsets = keras.layers.Dense(
            2 * num_samples,
            kernel_initializer="zeros",
            bias_initializer=_rays(num_heads, num_levels, num_points),
            name="offsets",
        )
        self.weights_of_points = keras.layers.Dense(num_samples, kernel_initializer="zeros", name="weights_of_points")
        self.value = keras.layers.Dense(dim, name="value")
        self.output_projection = keras.layers.Dense(dim, name="output")

    def build(self, query_shape):
        """Makes the weights."""
        for layer in (self.offsets, self.weights_of_points, self.value, self.output_projection):
            layer.build((None, None, self.dim))

    def call(self, query, value, reference, sizes: Sequence[Size]):
        """Attends.

        Args:
            query: `[batch, tokens, dim]`, with positions.
            value: `[batch, tokens, dim]`, without.
            reference: `[tokens, 2]`, x and y of each token's cell in 0..1.
            sizes: Rows and columns of each level, in the tokens' order.
        """
        batch, tokens = ops.shape(query)[0], ops.shape(query)[1]
        per_level = (batch, tokens, self.num_heads, self.num_levels, self.num_points)
        offsets = ops.reshape(flat_linear(self.offsets, query), (*per_level, 2))
        weights = ops.reshape(flat_linear(self.weights_of_points, query), (batch, tokens, self.num_heads, -1))
        weights = ops.reshape(ops.softmax(weights, axis=-1), per_level)  # Over the points of all levels together.
        heads = ops.reshape(flat_linear(self.value, value), (batch, tokens, self.num_heads, self.dim // self.num_heads))
        x, y = (self._in_cells(reference[:, axis], offsets[..., axis], sizes, 1 - axis) for axis in (0, 1))
        read = sample_levels(heads, x, y, weights, sizes)
        return flat_linear(self.output_projection, ops.reshape(read, (batch, tokens, self.dim)))

    def _in_cells(self, reference, offsets, sizes, axis):
        """Where the points lie, in cells of their level: offsets are in cells, references are shares of the edge."""
        edges = ops.stack([ops.cast(size[axis], offsets.dtype) for size in sizes])
        reference = ops.reshape(ops.cast(reference, offsets.dtype), (1, -1, 1, 1, 1))
        return reference * ops.reshape(edges, (1, 1, 1, -1, 1)) + offsets - 0.5


def sample_levels(value, x, y, weights, sizes: Sequence[Size]):
    """Reads every level at points and adds up what is read.

    Args:
        value: `[batch, cells, heads, channels]`, the levels' cells one after the other, row by row.
        x: `[batch, tokens, heads, levels, points]`, in cells of the level; 0 is the centre of the first column.
        y: The same for rows.
        weights: The weight of each point, in the same shape.
        sizes: Rows and columns of each level.

    Returns:
        `[batch, tokens, heads, channels]`.
    """
    # What is gathered is most of a step's memory, so it is gathered again for the gradient.
    return keras.remat(functools.partial(_sample_levels, sizes=sizes))(value, x, y, weights)


def _sample_levels(value, x, y, weights, sizes):
    blocks, indices, corner_weights, first = [], [], [], 0
    first_block = 0
    for level, (height, width) in enumerate(sizes):
        cells = ops.reshape(value[:, first : first + height * width], (-1, height, width, *value.shape[2:]))
        blocks.append(_blocks(cells))
        index, weight = _corners(x[:, :, :, level], y[:, :, :, level], height, width)
        indices.append(index + first_block)
        corner_weights.append(ops.expand_dims(weights[:, :, :, level], -1) * weight)
        first += height * width
        first_block += (height + 1) * (width + 1)
    blocks = ops.concatenate(blocks, axis=1)  # [batch, blocks, heads, 4 * channels]
    return _weighted_sum(blocks, ops.concatenate(indices, axis=3), ops.concatenate(corner_weights, axis=3))


def _blocks(cells):
    """Every two by two cells of a level with a border of zeros, side by side: one gather reads a point.

    `[batch, height, width, heads, channels]` -> `[batch, (height + 1) * (width + 1), heads, 4 * channels]`.
    """
    shape = ops.shape(cells)
    padded = ops.pad(cells, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)))
    corners = [padded[:, y : y + shape[1] + 1, x : x + shape[2] + 1] for y in (0, 1) for x in (0, 1)]
    return ops.reshape(
        ops.concatenate(corners, axis=-1), (shape[0], (shape[1] + 1) * (shape[2] + 1), shape[3], 4 * shape[4])
    )


def _corners(x, y, height, width):
    """Which block each point lies in, int32 of the points' shape, and the weights of its corners, `[..., 4]`."""
    columns, rows = ops.cast(width, x.dtype), ops.cast(height, y.dtype)
    # From the border's centres outwards everything is 0, and the slope as well.
    x, y = ops.clip(x, -1.0, columns), ops.clip(y, -1.0, rows)
    left = ops.stop_gradient(ops.clip(ops.floor(x), -1.0, columns - 1.0))
    top = ops.stop_gradient(ops.clip(ops.floor(y), -1.0, rows - 1.0))
    right_share, bottom_share = x - left, y - top
    left_share, top_share = 1.0 - right_share, 1.0 - bottom_share
    weights = ops.stack(
        [top_share * left_share, top_share * right_share, bottom_share * left_share, bottom_share * right_share],
        axis=-1,
    )
    index = (ops.cast(top, "int32") + 1) * (width + 1) + ops.cast(left, "int32") + 1
    # A coordinate that is not a number must not read beyond the table.
    return ops.clip(index, 0, (height + 1) * (width + 1) - 1), weights


def _weighted_sum(blocks, index, weights):
    """Gathers and sums.

    Args:
        blocks: `[batch, blocks, heads, 4 * channels]`.
        index: `[batch, tokens, heads, samples]` int32, into the blocks.
        weights: `[batch, tokens, heads, samples, 4]`.

    Returns:
        `[batch, tokens, heads, channels]`.
    """
    batch, num_blocks = ops.shape(blocks)[:2]
    num_heads, width = blocks.shape[2:]
    shape = ops.shape(index)
    samples = index.shape[3]
    of_batch = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1)) * (num_blocks * num_heads)
    rows = of_batch + index * num_heads + ops.reshape(ops.arange(num_heads, dtype="int32"), (1, 1, -1, 1))
    found = ops.take(ops.reshape(blocks, (-1, width)), ops.reshape(rows, (-1, samples)), axis=0)
    found = ops.reshape(found, (-1, 4 * samples, width // 4))
    summed = ops.matmul(ops.reshape(weights, (-1, 1, 4 * samples)), found)
    return ops.reshape(summed, (*shape[:3], width // 4))


def _rays(num_heads: int, num_levels: int, num_points: int):
    """Returns the initial offsets: head h looks along the angle 2 pi h / heads, point p at p + 1 cells along it."""

    def initializer(shape, dtype=None):
        values = []
        for head in range(num_heads):
            angle = 2.0 * math.pi * head / num_heads
            direction = (math.cos(angle), math.sin(angle))
            longest = max(map(abs, direction))
            points = [[(point + 1) * part / longest for part in direction] for point in range(num_points)]
            values += points * num_levels
        return ops.reshape(ops.convert_to_tensor(values, dtype), shape)

    return initializer
