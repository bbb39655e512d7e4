"""What layers compute in, and the float type of what half precision would spoil: pixels, losses, matching costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


def precise_dtype() -> str:
    """Returns "float32", or "float64" where Keras's `floatx` is: so that a comparison can compute in float64."""
    return keras.backend.result_type(keras.config.floatx(), "float32")


@contextlib.contextmanager
def dtype_policy(dtype: str) -> Iterator[None]:
    """Layers made inside compute in `dtype`, one of those of `runtime.mixed_precision_dtype`; weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype if dtype == "float32" or dtype.startswith("mixed_") else f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
