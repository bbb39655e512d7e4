"""Linear layers that start as PyTorch's do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def torch_default_uniform(fan_in: int) -> keras.initializers.Initializer:
    """PyTorch's default for the kernel and the bias of a linear layer: uniform in +-1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-bound, bound)


def torch_linear(
    units: int, fan_in: int, activation: str | Callable[[Any], Any] | None = None, *, name: str
) -> keras.layers.Dense:
    """Returns a dense layer whose weights and bias start as those of PyTorch's `nn.Linear`.

    Args:
        units: Number of outputs.
        fan_in: Number of inputs.
        activation: Keras's name of an activation, or a function.
        name: The layer's name.
    """
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=torch_default_uniform(fan_in),
        bias_initializer=torch_default_uniform(fan_in),
        name=name,
    )


def flat_linear(layer: keras.layers.Dense, tokens):
    """Applies a dense layer to flat tokens: TensorFlow does product, bias and ReLU in one pass only where rank is 2."""
    flat = layer(ops.reshape(tokens, (-1, tokens.shape[-1])))
    return ops.reshape(flat, (*ops.shape(tokens)[:-1], layer.units))
