"""How a config refuses a value."""

from __future__ import annotations

from typing import Any


def require(condition: bool, rule: str, received: Any) -> None:
    """Raises ValueError with the rule and the value received where the condition does not hold."""
    if not condition:
        raise ValueError(f"{rule} Received: {received}")
