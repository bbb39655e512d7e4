"""Takes a result apart into regions, one per segment, instance or class: what a labelling tool calls an annotation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from maskformer_model.prediction.results import InstanceResult, PanopticResult, SemanticResult

MIN_INSTANCE_SCORE = 0.5  # Instances below it are not worth a labeller's correction.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Region:
    """One annotation.

    Attributes:
        mask: `[height, width]` bool with at least one True.
        category_id: the data set's number of the class.
        name: what a person calls the class.
        score: in 0..1.
    """

    mask: np.ndarray
    category_id: int
    name: str
    score: float

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """Left, top, width and height."""
        rows, columns = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def regions_of(result: PanopticResult | SemanticResult | InstanceResult) -> Iterator[Region]:
    """Yields the regions of a result: its segments, its classes, or its instances that score at least 0.5."""
    if isinstance(result, SemanticResult):
        for index in np.unique(result.class_map).tolist():
            category = result.categories.categories[index]
            mask = result.class_map == index
            yield Region(mask=mask, category_id=int(category.id), name=category.name, score=1.0)
    elif isinstance(result, PanopticResult):
        for segment in result.segments:
            mask = result.segment_ids == segment.id
            if mask.any():
                yield Region(mask=mask, category_id=segment.category_id, name=segment.name, score=segment.score)
    else:
        for mask, segment in zip(result.masks, result.segments, strict=True):
            if mask.any() and segment.score >= MIN_INSTANCE_SCORE:
                yield Region(mask=mask, category_id=segment.category_id, name=segment.name, score=segment.score)
