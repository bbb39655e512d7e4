"""The heads that the decoders put on a query's state (arXiv:2107.06278, section 3.3)."""

from __future__ import annotations

import keras

from maskformer_model.modeling.layers.linear import torch_linear


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
