"""The heads that the decoders put on a query's state (arXiv:2107.06278, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.modeling.layers.linear import torch_linear
from maskformer_model.modeling.layers.transformer import LAYER_NORM_EPSILON

LEAST_AREA = 1e-3  # In cells: a query that sees nothing has no features.


def class_head(dim: int, num_classes: int) -> keras.layers.Dense:
    """Returns the layer from a query's state to its class logits, the last of which is "no object"."""
    return torch_linear(num_classes + 1, dim, name="class_head")


def mask_head(dim: int, mask_dim: int, activation: str = "relu") -> list[keras.layers.Dense]:
    """Returns the three layers from a query's state to its mask embedding."""
    return [
        torch_linear(dim, dim, activation=activation, name="mask_head_0"),
        torch_linear(dim, dim, activation=activation, name="mask_head_1"),
        torch_linear(mask_dim, dim, name="mask_head_2"),
    ]


class MaskPooledClassHead(keras.layers.Layer):
    """A second opinion on a query's class, from the features under its mask (arXiv:2308.02487, section 3.2).

    A query's state has to learn what classes look like; the backbone's features know much of it already. Their mean
    over the mask, classified linearly, is what a few photos can teach. It begins as 0: the other head decides alone.
    """

    def __init__(self, num_classes: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.linear = keras.layers.Dense(num_classes + 1, use_bias=False, kernel_initializer="zeros", name="linear")

    def build(self, channels: int):
        """Makes the weights for features of so many channels in all."""
        self.norm.build((None, None, channels))
        self.linear.build((None, None, channels))

    def call(self, embeddings, levels: Sequence[tuple[Any, Any]], training=None):
        """Returns class logits `[batch, queries, classes + 1]`. No gradient flows to the masks.

        Args:
            embeddings: The queries' mask embeddings, `[batch, queries, mask_dim]`.
            levels: For each feature, the mask features at its size, `[batch, cells, mask_dim]`, and its own values,
                `[batch, cells, channels]`.
            training: Whether dropout is on.
        """
        means = []
        for cells, values in levels:
            logits = ops.einsum("bqc,bpc->bqp", ops.stop_gradient(embeddings), cells)
            mask = ops.sigmoid(ops.cast(logits, precise_dtype()))
            share = mask / (ops.sum(mask, axis=2, keepdims=True) + LEAST_AREA)
            means.append(ops.matmul(ops.cast(share, values.dtype), values))
        return self.linear(self.dropout(self.norm(ops.concatenate(means, axis=2)), training=training))
