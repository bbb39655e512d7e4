"""The blocks of a plain vision transformer as DINOv2 and DINOv3 have them (timm, Hugging Face).

Layer norms in front of attention and feed-forward, a learned factor for each channel behind them (LayerScale,
arXiv:2103.17239). DINOv3 turns queries and keys of patches by angles that follow from the patch's place (RoPE). Blocks
are numbered through the whole network, because the learning rate depends on the number (`optimizer.py`).
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import VitConfig
from maskformer_model.modeling.layers.linear import flat_linear

BLOCK_NAME = "vit_block_"  # And the block's number in the whole network.


def truncated_normal() -> keras.initializers.Initializer:
    """Returns the initializer of a ViT's matrices and tokens."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


class VitBlocks(keras.layers.Layer):
    """A run of blocks, and the norm behind the last block of the network.

    Args:
        config: The backbone.
        first: The number of the run's first block.
        count: How many blocks it has.
        has_norm: Whether the norm belongs to it.
    """

    def __init__(self, config: VitConfig, *, first: int, count: int, has_norm: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.blocks = [VitBlock(config, name=f"{BLOCK_NAME}{first + index}") for index in range(count)]
        self.norm: Any = _layer_norm(config, "norm") if has_norm else None

    def build(self, tokens_shape=None):
        """Makes the weights, which depend on no size."""
        for block in self.blocks:
            block.build()
        if self.norm is not None:
            self.norm.build((None, None, self.config.embed_dim))

    def rotation(self, grid: tuple[Any, Any], scale: Any = None):
        """Returns what attention turns the tokens of patches by, `rotary_angles`; None for learned positions.

        Args:
            grid: Rows and columns of patches.
            scale: What positions are multiplied by; None: nothing.
        """
        config = self.config
        if config.position_encoding != "rotary":
            return None
        angles = rotary_angles(grid, config.embed_dim // config.num_heads, config.rope_base, scale)
        return tuple(ops.cast(function(angles), self.compute_dtype) for function in (ops.cos, ops.sin))

    def call(self, tokens, rotation=None):
        for block in self.blocks:
            tokens = block(tokens, rotation)
        return tokens


def rotary_angles(grid: tuple[Any, Any], head_dim: int, base: float, scale: Any = None):
    """Computes the angles of RoPE: `[rows * columns, head_dim]`, first half and second half the same.

    Places are those of the patches' centres, from -1 to 1. A quarter of a head's channels turns by the row, the next
    quarter by the column, with periods that grow from 1 towards `base`.
    """
    exponents = ops.arange(head_dim // 4, dtype=precise_dtype()) * (4.0 / head_dim)
    frequencies = 1.0 / ops.power(ops.cast(base, precise_dtype()), exponents)
    places = []
    for length in grid:
        centers = (ops.arange(length, dtype=precise_dtype()) + 0.5) / ops.cast(length, precise_dtype())
        places.append(2.0 * centers - 1.0)
    rows = ops.broadcast_to(ops.expand_dims(places[0], 1), (grid[0], grid[1]))
    columns = ops.broadcast_to(ops.expand_dims(places[1], 0), (grid[0], grid[1]))
    place = ops.reshape(ops.stack([rows, columns], axis=-1), (-1, 2, 1))
    if scale is not None:
        place = place * ops.cast(scale, precise_dtype())
    angles = ops.reshape(2.0 * math.pi * place * frequencies, (-1, head_dim // 2))
    return ops.concatenate([angles, angles], axis=-1)


def turned(tokens, rotation):
    """Turns the last tokens of `[batch, heads, tokens, head_dim]` by `[patches, head_dim]` angles; others stay."""
    cosine, sine = rotation
    num_others = ops.shape(tokens)[2] - ops.shape(cosine)[0]
    patches = tokens[:, :, num_others:]
    first, second = ops.split(patches, 2, axis=-1)
    patches = patches * cosine + ops.concatenate([-second, first], axis=-1) * sine
    return ops.concatenate([tokens[:, :, :num_others], patches], axis=2)


class VitBlock(keras.layers.Layer):
    """Attention and feed-forward of one block, each added to its input."""

    def __init__(self, config: VitConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.norm1, self.norm2 = (_layer_norm(config, name) for name in ("norm1", "norm2"))
        self.attention = VitAttention(config, name="attention")
        widths = {"gelu": {"linear1": config.mlp_dim}, "swiglu": {"gate": config.mlp_dim, "linear1": config.mlp_dim}}
        inner = [_linear(units, name) for name, units in widths[config.mlp_kind].items()]
        self.gate = inner[0] if config.mlp_kind == "swiglu" else None
        self.linear1, self.linear2 = inner[-1], _linear(config.embed_dim, "linear2")

    def build(self, tokens_shape=None):
        """Makes the weights, which depend on no size."""
        dim = self.config.embed_dim
        for layer in (self.norm1, self.norm2, self.linear1, *filter(None, [self.gate])):
            layer.build((None, None, dim))
        self.attention.build()
        self.linear2.build((None, None, self.config.mlp_dim))
        for name in ("layer_scale1", "layer_scale2"):
            start = keras.initializers.Constant(self.config.layer_scale)
            setattr(self, name, self.add_weight(name=name, shape=(dim,), initializer=start))

    def call(self, tokens, rotation=None, blocked=None):
        """Runs the block.

        Args:
            tokens: `[batch, tokens, embed_dim]`, patches last.
            rotation: What `VitBlocks.rotation` gives.
            blocked: `[batch, queries, patches]` bool: which patches the first tokens must not look at; None: none.

        Returns:
            The same shape as `tokens`.
        """
        attended = self.attention(self.norm1(tokens), rotation, blocked)
        tokens = tokens + attended * ops.cast(self.layer_scale1, attended.dtype)
        fed = self._feed_forward(self.norm2(tokens))
        return tokens + fed * ops.cast(self.layer_scale2, fed.dtype)

    def _feed_forward(self, tokens):
        hidden = flat_linear(self.linear1, tokens)
        if self.gate is None:
            hidden = ops.gelu(hidden, approximate=False)
        else:
            hidden = ops.silu(flat_linear(self.gate, tokens)) * hidden
        return flat_linear(self.linear2, hidden)


class VitAttention(keras.layers.Layer):
    """Multi-head attention among all tokens, of which the first may be kept from looking at some of the last."""

    def __init__(self, config: VitConfig, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.num_heads = config.embed_dim, config.num_heads
        self.query, self.value = _linear(self.dim, "query"), _linear(self.dim, "value")
        self.key = _linear(self.dim, "key", use_bias=config.key_bias)
        self.output_projection = _linear(self.dim, "output")

    def build(self, tokens_shape=None):
        """Makes the weights."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build((None, None, self.dim))

    def call(self, tokens, rotation=None, blocked=None):
        query, key, value = (self._heads(flat_linear(layer, tokens)) for layer in (self.query, self.key, self.value))
        if rotation is not None:
            query, key = turned(query, rotation), turned(key, rotation)
        query = query * (self.dim // self.num_heads) ** -0.5
        if blocked is None:
            attended = _attend(query, key, value)
        else:
            # Only the queries' rows are masked: they are few, so the large rest is computed as without any mask.
            num_queries = ops.shape(blocked)[1]
            attended = ops.concatenate(
                [
                    _attend(query[:, :, :num_queries], key, value, blocked),
                    _attend(query[:, :, num_queries:], key, value),
                ],
                axis=2,
            )
        attended = ops.transpose(attended, (0, 2, 1, 3))
        return flat_linear(self.output_projection, ops.reshape(attended, ops.shape(tokens)))

    def _heads(self, tokens):
        shape = ops.shape(tokens)
        heads = ops.reshape(tokens, (shape[0], shape[1], self.num_heads, self.dim // self.num_heads))
        return ops.transpose(heads, (0, 2, 1, 3))


def _attend(query, key, value, blocked=None):
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    if blocked is not None:
        num_others = ops.shape(scores)[3] - ops.shape(blocked)[2]
        blocked = ops.pad(blocked, ((0, 0), (0, 0), (num_others, 0)))
        scores = ops.where(ops.expand_dims(blocked, 1), ops.cast(float("-inf"), scores.dtype), scores)
    return ops.matmul(ops.softmax(scores, axis=-1), value)


def _linear(units: int, name: str, use_bias: bool = True) -> keras.layers.Dense:
    return keras.layers.Dense(units, use_bias=use_bias, kernel_initializer=truncated_normal(), name=name)


def _layer_norm(config: VitConfig, name: str) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=config.norm_epsilon, name=name)
