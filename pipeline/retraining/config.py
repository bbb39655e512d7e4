"""Defines the settings of the retraining loop: one frozen value, checked when it is made."""

from __future__ import annotations

import dataclasses

from pipeline.retraining import warm_start
from pipeline.retraining.spans import DEFAULT_PATTERN


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """The settings of the loop.

    Attributes:
        spans_dir: The folder of the spans.
        root: The folder of the pipeline.
        pattern: The pattern of the spans' names.
        run_args: Further flags of run_local.
        history_share: The share of the train photos that comes from earlier spans, 0 or more and below 1.
        history_spans: How many of the last spans these photos come from; 0: all.
        warm: The settings of a training that starts from the model that serves; None: all start from scratch.
        fixed_eval: The folder whose validation photos judge every run; empty: the first span's photos do.
        fixed_drop: How far PQ on the fixed photos may be below the last blessed model's, 0..1.
        new_drop: How far PQ on the new span's photos may be below the last blessed model's, 0..1.
        attempts: How many runs of one span may fail before it is given up.
        webhook: The URL that alerts are sent to; empty: none are sent.

    Raises:
        ValueError: if a value breaks its rule.
    """

    spans_dir: str
    root: str
    pattern: str = DEFAULT_PATTERN
    run_args: tuple[str, ...] = ()
    history_share: float = 0.5
    history_spans: int = 0
    warm: warm_start.WarmStart | None = warm_start.WarmStart()
    fixed_eval: str = ""
    fixed_drop: float = 0.02
    new_drop: float = 0.02
    attempts: int = 3
    webhook: str = ""

    def __post_init__(self):
        if not 0 <= self.history_share < 1:
            raise ValueError(f"`--history_share` must be 0 or more and below 1. Received: {self.history_share}")
        for name in ("fixed_drop", "new_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`--{name}` must be in 0..1. Received: {getattr(self, name)}")
        if self.attempts < 1 or self.history_spans < 0:
            raise ValueError(f"`--attempts` must be positive. Received: {self.attempts}, {self.history_spans}")
