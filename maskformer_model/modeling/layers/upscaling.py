"""Doubles the resolution of a map as EoMT does (reference `scale_block.py`)."""

from __future__ import annotations

import math

import keras
from keras import ops

from maskformer_model.modeling.layers.linear import torch_default_uniform

_NORM_EPSILON = 1e-6


def num_upscalings(patch_size: int) -> int:
    """Returns how often patches are doubled: until a cell is 4 px, or 4 to 8 px where the patch is no power of two."""
    return max(1, int(math.log2(patch_size)) - 2)


class Upscaling(keras.layers.Layer):
    """A transposed 2x2 convolution of stride 2, GELU, a depthwise 3x3 convolution and a layer norm.

    `[batch, height, width, dim]` -> `[batch, 2 height, 2 width, dim]`.
    """

    def __init__(self, dim: int, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.depthwise = keras.layers.DepthwiseConv2D(
            3, padding="same", use_bias=False, depthwise_initializer=torch_default_uniform(9), name="depthwise"
        )
        self.norm = keras.layers.LayerNormalization(epsilon=_NORM_EPSILON, name="norm")

    def build(self, map_shape=None):
        """Makes the weights, which depend on no size."""
        start = torch_default_uniform(4 * self.dim)
        self.kernel = self.add_weight(name="kernel", shape=(2, 2, self.dim, self.dim), initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer=start)
        self.depthwise.build((None, None, None, self.dim))
        self.norm.build((None, None, None, self.dim))

    def call(self, cells):
        batch, height, width, _ = ops.shape(cells)
        cells = ops.cast(cells, self.compute_dtype)
        # Stride and size are equal: no two cells meet, so it is one product and a rearrangement.
        kernel = ops.cast(self.kernel, cells.dtype)  # [2, 2, out, in]
        kernel = ops.reshape(ops.transpose(kernel, (3, 0, 1, 2)), (self.dim, 4 * self.dim))
        parts = ops.matmul(ops.reshape(cells, (-1, self.dim)), kernel)
        parts = ops.reshape(parts, (batch, height, width, 2, 2 * self.dim))
        doubled = ops.reshape(ops.transpose(parts, (0, 1, 3, 2, 4)), (batch, 2 * height, 2 * width, self.dim))
        doubled = ops.gelu(doubled + ops.cast(self.bias, doubled.dtype), approximate=False)
        return self.norm(self.depthwise(doubled))
