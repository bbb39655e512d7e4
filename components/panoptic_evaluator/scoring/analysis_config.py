"""What an evaluation looks at besides all images and all classes. Imports nothing heavy: command lines read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """What is looked at.

    Attributes:
        slices: features of the Examples to slice by, such as `image/statistics/brightness`.
        class_groups: class names of each group, by the group's name; things and stuff are always there.
        num_resamples: The number of resamples of the bootstrap; 0 gives no intervals.
        confidence: of intervals and of "surely", above 0.5 and below 1.

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
        """Reads a json object of the attributes; those that are absent keep their defaults."""
        document = json.loads(text)
        return cls(**document | {"slices": tuple(document.get("slices", ()))})
