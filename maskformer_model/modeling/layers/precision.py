"""Layers that compute in float32 whatever the policy of the network around them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def at_least_float32() -> Iterator[None]:
    """Makes layers that are made inside compute in float32 where the global policy would have them in fewer bits."""
    before = keras.config.dtype_policy()
    if before.compute_dtype in ("float16", "bfloat16"):
        keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
