"""Compiles loops of small steps where the backend would run them one operation at a time.

This is the only place of losses and matcher that knows a backend by name. JAX compiles the whole step anyway, and
PyTorch has no compiler that fits here, so only TensorFlow is concerned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function`, compiled by XLA on the TensorFlow backend and as it is on the others.

    It is compiled once for each combination of argument shapes, which takes about a second. Works eagerly, in a graph,
    inside another compiled function, on each replica of a distributed step and in an export.

    Args:
        function: A module's own function (it is remembered), of tensors only and written in `keras.ops`.
    """
    return _compiled(function, keras.backend.backend())


def compiled_for(tensor: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled(function)` where the tensor's size is known; with sizes that change from batch to batch, `function`.

    There, compiling would take longer than it saves.
    """
    return function if None in tuple(tensor.shape)[1:] else compiled(function)


@functools.cache
def _compiled(function, backend):
    if backend != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)
