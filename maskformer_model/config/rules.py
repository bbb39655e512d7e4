"""Checks the values of a config."""

from __future__ import annotations

from typing import Any


def require(condition: bool, rule: str, received: Any) -> None:
    """Raises ValueError with the rule and the received value if the condition does not hold."""
    if not condition:
        raise ValueError(f"{rule} Received: {received}")


def require_no_pattern(path: str, name: str) -> None:
    """Raises ValueError if a folder's path would be taken for a pattern of files.

    TensorFlow, Beam and TFX look for files by patterns that begin with the folder: `[a]` stands for `a` there, and the
    files are not found.
    """
    require(
        not set(path) & set("*?[\\"),
        f"`{name}` must be a folder without the characters * ? [ \\ in its path, which stand for other files.",
        path,
    )


def require_dtype(dtype: str, name: str) -> None:
    """Raises ValueError if a network cannot compute in `dtype` with weights in float32."""
    dtypes = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
    require(dtype in dtypes, f"`{name}` must be one of {dtypes}.", dtype)


def require_heads(hidden_dim: int, num_heads: int, path: str, width: str = "hidden_dim") -> None:
    """Raises ValueError if attention with that many heads and a sine position embedding do not fit the width."""
    require(
        num_heads > 0 and hidden_dim % num_heads == 0 and hidden_dim % 4 == 0,
        f"`{path}.num_heads` must divide `{path}.{width}`, which must be a multiple of 4.",
        (num_heads, hidden_dim),
    )
