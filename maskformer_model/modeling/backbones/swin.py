"""Swin transformer as the official MaskFormer builds it (arXiv:2103.14030; reference `modeling/backbone/swin.py`).

Attention inside windows, which every second block shifts by half a window; four stages at strides 4 to 32, each with a
layer norm of its own on what leaves the backbone. Patches are normalised, there is no absolute position embedding, and
a picture is padded to whole windows only after the first norm of a block, as in the reference. Heights and widths may
be unknown until a step runs.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from maskformer_model.config import SwinConfig
from maskformer_model.modeling.layers.linear import torch_default_uniform, torch_linear
from maskformer_model.modeling.layers.padding import pad_to_multiple
from maskformer_model.modeling.layers.transformer import LAYER_NORM_EPSILON

PATCH_SIZE = 4
_OTHER_REGION_LOGIT = -100.0  # The reference's stand-in for minus infinity.


class SwinTransformer(keras.layers.Layer):
    """Image `[batch, height, width, 3]` float, normalised -> {"res2": [batch, height/4, width/4, channels], ...}.

    Sizes are rounded up.

    Args:
        config: Its `embed_dim`, `depths`, `num_heads`, `window_size`, `mlp_ratio` and `drop_path_rate` are read.

    Attributes:
        output_channels: Channels of each output by name.
    """

    def __init__(self, config: SwinConfig, **kwargs):
        super().__init__(**kwargs)
        widths = [config.embed_dim * 2**stage for stage in range(4)]
        drop_rates = iter(np.linspace(0.0, config.drop_path_rate, sum(config.depths)).tolist())
        self.output_channels = {f"res{stage + 2}": width for stage, width in enumerate(widths)}
        self.patch_embedding = keras.layers.Conv2D(
            config.embed_dim,
            PATCH_SIZE,
            PATCH_SIZE,
            kernel_initializer=torch_default_uniform(3 * PATCH_SIZE**2),
            bias_initializer=torch_default_uniform(3 * PATCH_SIZE**2),
            name="patch_embedding",
        )
        self.patch_norm = _layer_norm("patch_norm")
        self.stages = [
            SwinStage(
                width,
                num_heads=config.num_heads[stage],
                window_size=config.window_size,
                mlp_ratio=config.mlp_ratio,
                drop_rates=[next(drop_rates) for _ in range(config.depths[stage])],
                downsamples=stage < 3,
                name=f"stage_{stage}",
            )
            for stage, width in enumerate(widths)
        ]
        self.output_norms = [_layer_norm(f"output_norm_{stage}") for stage in range(4)]

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        self.patch_embedding.build((None, None, None, 3))
        self.patch_norm.build((None, self.output_channels["res2"]))
        for stage, norm, channels in zip(self.stages, self.output_norms, self.output_channels.values(), strict=True):
            stage.build(None)
            norm.build((None, channels))

    def call(self, image, training=None):
        features = self.patch_norm(self.patch_embedding(pad_to_multiple(image, PATCH_SIZE)))
        outputs = {}
        for name, stage, norm in zip(self.output_channels, self.stages, self.output_norms, strict=True):
            features = stage.run_blocks(features, training=training)
            outputs[name] = norm(features)
            if stage.downsample is not None:
                features = stage.downsample(features)
        return outputs


class SwinStage(keras.layers.Layer):
    """Blocks of one width, every second one shifted, and what halves the resolution after them.

    Args:
        dim: Channels.
        num_heads: The number of heads of the attention.
        window_size: Edge of a window in patches.
        mlp_ratio: Hidden width of the feed-forward layers over `dim`.
        drop_rates: Stochastic depth of each block.
        downsamples: Whether a patch merging follows.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        drop_rates: list[float],
        downsamples: bool,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.window_size = window_size
        self.shift = window_size // 2
        self.blocks = [
            SwinBlock(
                dim,
                num_heads=num_heads,
                window_size=window_size,
                shift=self.shift if index % 2 else 0,
                mlp_ratio=mlp_ratio,
                drop_rate=drop_rate,
                name=f"block_{index}",
            )
            for index, drop_rate in enumerate(drop_rates)
        ]
        self.downsample = PatchMerging(dim, name="downsample") if downsamples else None

    def build(self, input_shape):
        """Makes the weights, which depend on no size."""
        for block in self.blocks:
            block.build(None)
        if self.downsample is not None:
            self.downsample.build(None)

    def run_blocks(self, features, training=None):
        """Maps `[batch, height, width, dim]` to the same shape."""
        shape = ops.shape(features)
        region_logits = shift_logits(shape[1], shape[2], self.window_size, self.shift)
        for block in self.blocks:
            features = block(features, region_logits if block.shift else None, training=training)
        return features


class SwinBlock(keras.layers.Layer):
    """Window attention and feed-forward, each after a layer norm and with a residual around both."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: float,
        drop_rate: float,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim = dim
        self.window_size = window_size
        self.shift = shift
        self.norm1 = _layer_norm("norm1")
        self.attention = WindowAttention(dim, num_heads, window_size, name="attention")
        self.norm2 = _layer_norm("norm2")
        hidden_dim = int(dim * mlp_ratio)
        self.linear1 = torch_linear(hidden_dim, dim, name="linear1")
        self.linear2 = torch_linear(dim, hidden_dim, name="linear2")
        self.drop_path = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name="drop_path")

    def build(self, input_shape):
        """Makes the weights, which depend on no size."""
        for layer in (self.norm1, self.norm2, self.linear1):
            layer.build((None, self.dim))
        self.linear2.build((None, self.linear1.units))
        self.attention.build(None)

    def call(self, features, region_logits=None, training=None):
        """Runs the block.

        Args:
            features: `[batch, height, width, dim]` float.
            region_logits: What `shift_logits` gives, where this block shifts.
            training: Whether paths are dropped.

        Returns:
            `[batch, height, width, dim]`.
        """
        features = features + self.drop_path(self._attend(self.norm1(features), region_logits), training=training)
        return features + self.drop_path(self._feed_forward(self.norm2(features)), training=training)

    def _attend(self, features, region_logits):
        shape = ops.shape(features)
        padded = pad_to_multiple(features, self.window_size)
        padded_shape = ops.shape(padded)
        if self.shift:
            padded = ops.roll(padded, (-self.shift, -self.shift), axis=(1, 2))
        windows = self.attention(partition_windows(padded, self.window_size), region_logits)
        merged = merge_windows(windows, self.window_size, padded_shape)
        if self.shift:
            merged = ops.roll(merged, (self.shift, self.shift), axis=(1, 2))
        return merged[:, : shape[1], : shape[2]]

    def _feed_forward(self, features):
        # Flat, because a matrix product over four axes is computed row by row.
        tokens = ops.reshape(features, (-1, self.dim))
        tokens = self.linear2(ops.gelu(self.linear1(tokens), approximate=False))
        return ops.reshape(tokens, ops.shape(features))


class WindowAttention(keras.layers.Layer):
    """Multi-head attention among the patches of each window, with a learned bias for every relative position."""

    def __init__(self, dim: int, num_heads: int, window_size: int, **kwargs):
        super().__init__(**kwargs)
        if dim % num_heads:
            raise ValueError(f"`num_heads` must divide `dim`. Received: dim={dim}, num_heads={num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = torch_linear(3 * dim, dim, name="qkv")
        self.output_projection = torch_linear(dim, dim, name="output")

    def build(self, input_shape):
        """Makes the weights, which depend on no size."""
        self.qkv.build((None, self.dim))
        self.output_projection.build((None, self.dim))
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window_size - 1) ** 2, self.num_heads),
            # The reference truncates at 100 standard deviations.
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, windows, region_logits=None):
        """Attends.

        Args:
            windows: `[batch * num_windows, patches, dim]` float.
            region_logits: `[num_windows, patches, patches]` float, added to the attention logits; or None.

        Returns:
            `[batch * num_windows, patches, dim]`.
        """
        patches = self.window_size**2
        qkv = self.qkv(ops.reshape(windows, (-1, self.dim)))
        qkv = ops.reshape(qkv, (-1, patches, 3, self.num_heads, self.dim // self.num_heads))
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3, axis=0)
        logits = ops.matmul(query * (self.dim // self.num_heads) ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
        weights = ops.softmax(self._add_bias(logits, region_logits), axis=-1)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        attended = self.output_projection(ops.reshape(attended, (-1, self.dim)))
        return ops.reshape(attended, (-1, patches, self.dim))

    def _add_bias(self, logits, region_logits):
        patches = self.window_size**2
        # Gathered along the last axis: along the first, TensorFlow would make the gradient a sparse one.
        table = ops.transpose(ops.cast(self.relative_position_bias_table, logits.dtype))
        bias = ops.take(table, relative_position_index(self.window_size).reshape(-1), axis=1)
        bias = ops.reshape(bias, (self.num_heads, patches, patches))
        if region_logits is None:
            return logits + bias
        num_windows = ops.shape(region_logits)[0]
        bias = bias + ops.expand_dims(ops.cast(region_logits, logits.dtype), 1)
        by_image = ops.reshape(logits, (-1, num_windows, self.num_heads, patches, patches)) + bias
        return ops.reshape(by_image, (-1, self.num_heads, patches, patches))


class PatchMerging(keras.layers.Layer):
    """Halves the resolution: four neighbours become one patch, normalised and projected to twice the channels."""

    def __init__(self, dim: int, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.norm = _layer_norm("norm")
        self.reduction = keras.layers.Dense(
            2 * dim, use_bias=False, kernel_initializer=torch_default_uniform(4 * dim), name="reduction"
        )

    def build(self, input_shape):
        """Makes the weights, which depend on no size."""
        self.norm.build((None, 4 * self.dim))
        self.reduction.build((None, 4 * self.dim))

    def call(self, features):
        """Maps `[batch, height, width, dim]` to `[batch, ceil(height / 2), ceil(width / 2), 2 * dim]`."""
        stacked = stack_neighbours(features)
        shape = ops.shape(stacked)
        tokens = self.reduction(self.norm(ops.reshape(stacked, (-1, 4 * self.dim))))
        return ops.reshape(tokens, (*shape[:3], 2 * self.dim))


def stack_neighbours(features):
    """Every 2x2 square as one pixel.

    Args:
        features: `[batch, height, width, channels]`; an odd edge is padded with zeros.

    Returns:
        `[batch, ceil(height / 2), ceil(width / 2), 4 * channels]`: rows of the square run fastest, as in the reference.
    """
    features = pad_to_multiple(features, 2)
    shape = ops.shape(features)
    height, width, channels = shape[1] // 2, shape[2] // 2, shape[3]
    squares = ops.reshape(features, (shape[0], height, 2, width, 2, channels))
    return ops.reshape(ops.transpose(squares, (0, 1, 3, 4, 2, 5)), (shape[0], height, width, 4 * channels))


def partition_windows(features, window_size: int):
    """Maps `[batch, height, width, channels]`, multiples of the window, to `[batch * windows, patches, channels]`."""
    shape = ops.shape(features)
    channels = shape[3]
    rows, columns = shape[1] // window_size, shape[2] // window_size
    windows = ops.reshape(features, (shape[0], rows, window_size, columns, window_size, channels))
    return ops.reshape(ops.transpose(windows, (0, 1, 3, 2, 4, 5)), (-1, window_size**2, channels))


def merge_windows(windows, window_size: int, shape):
    """The inverse of `partition_windows`, for features of that shape."""
    rows, columns = shape[1] // window_size, shape[2] // window_size
    windows = ops.reshape(windows, (shape[0], rows, columns, window_size, window_size, shape[3]))
    return ops.reshape(ops.transpose(windows, (0, 1, 3, 2, 4, 5)), shape)


def shift_logits(height, width, window_size: int, shift: int):
    """What keeps patches apart that only the cyclic shift brought into one window.

    Args:
        height: The height of the features in patches, not padded; an int or a scalar tensor, likewise `width`.
        width: See `height`.
        window_size: Edge of a window in patches.
        shift: By how much the features are rolled up and left.

    Returns:
        `[num_windows, patches, patches]` float32: 0 inside a region, -100 between two.
    """

    def regions(size):
        size = size + -size % window_size
        index = ops.arange(size, dtype="int32")
        return ops.cast(index >= size - window_size, "int32") + ops.cast(index >= size - shift, "int32")

    region = 3 * ops.expand_dims(regions(height), 1) + ops.expand_dims(regions(width), 0)
    region = partition_windows(ops.expand_dims(ops.expand_dims(region, 0), -1), window_size)
    return ops.where(ops.equal(region, ops.transpose(region, (0, 2, 1))), 0.0, _OTHER_REGION_LOGIT)


def relative_position_index(window_size: int) -> np.ndarray:
    """Returns the row of the bias table for every pair of patches in a window, `[patches, patches]` int32.

    Rows run over the vertical, then the horizontal distance from key to query, each from the most negative.
    """
    rows, columns = np.divmod(np.arange(window_size**2, dtype=np.int32), window_size)
    vertical = rows[:, None] - rows[None] + window_size - 1
    horizontal = columns[:, None] - columns[None] + window_size - 1
    return vertical * (2 * window_size - 1) + horizontal


def _layer_norm(name: str) -> keras.layers.Layer:
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)
