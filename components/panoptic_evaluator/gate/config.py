"""Defines the gate's thresholds for the flags, the pipeline and the evaluator's executor. Imports nothing heavy."""

from __future__ import annotations

import dataclasses

from components.panoptic_evaluator.gate.rules import NOT_WORSE, POINT, Rule
from maskformer_model.config.rules import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The thresholds that a model must reach to be pushed.

    Attributes:
        pq_floor: The smallest headline score (PQ, unless the task has another) that passes, 0..1; 0 lets every model
            pass.
        allowed_drop: How far the score may be below the last blessed model's on the same images, 0..1.
        significance: "not_worse" requires confidence that it is not below by more than `allowed_drop`; with "point"
            only the value decides.
        rules: Further rules, as `gate.rules` reads them.

    Raises:
        ValueError: if a value breaks its rule.
    """

    pq_floor: float = 0.0
    allowed_drop: float = 0.0
    significance: str = NOT_WORSE
    rules: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("pq_floor", "allowed_drop"):
            require(0 <= getattr(self, name) <= 1, f"`{name}` must be in 0..1.", getattr(self, name))
        require(
            self.significance in (NOT_WORSE, POINT),
            f"`significance` must be {NOT_WORSE!r} or {POINT!r}.",
            repr(self.significance),
        )
        for rule in self.rules:
            Rule.parse(rule)
