"""A compared quantity, and the bars that differences are held to."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One compared quantity: `difference` must not exceed `bar`."""

    quantity: str
    difference: float
    bar: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """False for a difference that is not a number, too."""
        return self.difference <= self.bar


@dataclasses.dataclass(frozen=True)
class Bars:
    """The largest differences that rounding explains.

    Attributes:
        output: As a share of the tensor's largest magnitude.
        loss: Of a loss term, relative, before the first update.
        later_loss: The same at the later steps of the trajectory.
        gradient: As a share of the parameter's own gradient norm.
        norm: Relative difference of the global gradient norm, at the later steps.
        noise: Share of the global gradient norm under which a parameter's gradient is rounding error.
        change: As a share of the norm of all weights' change over the trajectory.
        change_of_one: As a share of the norm of one parameter's change.
    """

    output: float
    loss: float
    later_loss: float
    gradient: float
    norm: float
    noise: float
    change: float
    change_of_one: float


FLOAT32 = Bars(
    output=1e-4,
    loss=1e-4,
    later_loss=1e-3,
    gradient=1e-3,
    norm=1e-2,
    noise=1e-6,
    change=1e-2,
    change_of_one=1e-1,
)
# Where the golden numbers were computed in float64, and ours too. Arrays are stored in float32, losses in full.
FLOAT64 = Bars(
    output=2e-7,
    loss=1e-10,
    later_loss=1e-10,
    gradient=1e-6,
    norm=1e-10,
    noise=1e-9,
    change=1e-6,
    change_of_one=1e-5,
)


def largest_difference(value: Any, expected: Any) -> float:
    """Returns the largest absolute difference of two arrays; NaN where their shapes differ."""
    import numpy as np

    value = np.asarray(value)
    return float(np.abs(value - expected).max()) if value.shape == expected.shape else float("nan")


def relative(value: float, expected: float) -> float:
    """Returns the difference as a share of what was expected; the value itself where 0 was."""
    return abs(value - expected) / abs(expected) if expected else abs(value)


def worst_of(differences: dict[str, float]) -> tuple[str, float]:
    """Returns the name and the size of the largest difference; one that is not a number is the largest."""
    name = max(differences, key=lambda name: (differences[name] != differences[name], differences[name]))
    return name, differences[name]
