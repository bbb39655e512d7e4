"""Checks the values of a config."""

from __future__ import annotations

from typing import Any


def require(condition: bool, rule: str, received: Any) -> None:
    """Raises ValueError with the rule and the received value if the condition does not hold."""
    if not condition:
        raise ValueError(f"{rule} Received: {received}")


def require_heads(hidden_dim: int, num_heads: int, path: str, width: str = "hidden_dim") -> None:
    """Raises ValueError if attention with that many heads and a sine position embedding do not fit the width."""
    require(
        num_heads > 0 and hidden_dim % num_heads == 0 and hidden_dim % 4 == 0,
        f"`{path}.num_heads` must divide `{path}.{width}`, which must be a multiple of 4.",
        (num_heads, hidden_dim),
    )
