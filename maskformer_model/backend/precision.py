"""The float type of what half precision would spoil: normalised pixels, losses, the matcher's costs."""

from __future__ import annotations

import keras


def precise_dtype() -> str:
    """Returns "float32", or "float64" where Keras's `floatx` is: so that a comparison can compute in float64."""
    return keras.backend.result_type(keras.config.floatx(), "float32")
