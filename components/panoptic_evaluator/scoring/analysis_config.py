"""Defines the slices, class groups and intervals of an evaluation. Imports nothing heavy: command lines read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """The settings of an analysis.

    Attributes:
        slices: The Examples' features to slice by, such as `image/statistics/brightness`.
        class_groups: The class names of each group, by the group's name; things and stuff are always included.
        num_resamples: The number of resamples of the bootstrap; 0 gives no intervals.
        confidence: The confidence of intervals and of "surely", above 0.5 and below 1.

    Raises:
        ValueError: if a value breaks its rule.
    """

    slices: tuple[str, ...] = ()
    class_groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    num_resamples: int = 1000
    confidence: float = 0.95

    def __post_init__(self):
        if self.num_resamples < 0:
            raise ValueError(f"`num_resamples` must not be negative. Received: {self.num_resamples}")
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"`confidence` must be above 0.5 and below 1. Received: {self.confidence}")
        if len(set(self.slices)) < len(self.slices):
            raise ValueError(f"`slices` must not repeat a feature. Received: {self.slices}")

    @classmethod
    def from_json(cls, text: str) -> AnalysisConfig:
        """Reads a json object of the attributes; missing ones have their defaults."""
        document = json.loads(text)
        return cls(**document | {"slices": tuple(document.get("slices", ()))})
