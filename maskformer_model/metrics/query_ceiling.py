"""Computes the query ceiling: the best PQ that a limited number of queries leaves, with everything else perfect.

A query proposes at most one segment, and training drops all but the largest `max_targets` segments of a photo
(`choose_targets`). So a model with fewer queries than a photo has segments misses the smallest ones however good it is:
those count as false negatives, the others as perfect matches. Crowds are never counted. Reading truth from files is
left to the callers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskformer_model.config import INSTANCE, PANOPTIC, SEMANTIC
from maskformer_model.metrics.panoptic_quality import PanopticCounts, PanopticQuality, panoptic_quality

WARN_BELOW = 0.95  # A run whose ceiling is lower says so as a warning.
AIM = 0.99  # The ceiling that suggestions of a larger number of queries aim at.
MOST_TARGETS = 255  # Target numbers are stored in 8 bits.


class SegmentRanks:
    """How many segments of each class are the largest, second largest, ... of their photo.

    Photos are added one by one; ceilings of any number of queries follow without reading them again.

    Args:
        isthing: `[classes]` bool.
        kind: what is trained: "panoptic", "instance" (things alone) or "semantic" (a class is one segment of a photo).
    """

    def __init__(self, isthing: np.ndarray, kind: str = PANOPTIC):
        self._isthing = np.asarray(isthing, bool)
        self._kind = kind
        self._counts = np.zeros((1, len(self._isthing)), np.int64)
        self.num_photos = 0

    def add_photo(self, class_indices: Sequence[int], areas_px: Sequence[float], iscrowd: Sequence[bool]) -> None:
        """Adds the segments of one photo.

        Args:
            class_indices: class of each segment.
            areas_px: its pixels; of two equal ones the earlier counts as the larger, as in training.
            iscrowd: whether it is a crowd.
        """
        self.num_photos += 1
        classes = np.asarray(class_indices, np.int64)
        areas: np.ndarray = np.asarray(areas_px, np.float64)
        if self._kind == SEMANTIC:
            areas = np.bincount(classes, areas, len(self._isthing))
            classes = np.unique(classes)
            areas = areas[classes]
        else:
            is_kept = ~np.asarray(iscrowd, bool)
            if self._kind == INSTANCE:
                is_kept &= self._isthing[classes]
            classes, areas = classes[is_kept], areas[is_kept]
        order = np.argsort(-areas, kind="stable")
        if len(order) > len(self._counts):
            more = np.zeros((len(order) - len(self._counts), len(self._isthing)), np.int64)
            self._counts = np.concatenate([self._counts, more])
        self._counts[np.arange(len(order)), classes[order]] += 1

    @property
    def most_segments(self) -> int:
        """Segments of the photo that has most."""
        return int(self._counts.any(axis=1).sum())

    def ceiling(self, num_queries: int) -> PanopticQuality:
        """Returns the best PQ of a model that proposes at most `num_queries` segments per photo."""
        found = self._counts[:num_queries].sum(axis=0)
        missed = self._counts[num_queries:].sum(axis=0)
        counts = PanopticCounts(found.astype(np.float64), found, np.zeros_like(found), missed)
        return panoptic_quality(counts, self._isthing)

    def queries_for(self, pq: float = AIM) -> int:
        """Returns the smallest number of queries whose ceiling is at least `pq`; 1 where there is no segment."""
        low, high = 1, max(self.most_segments, 1)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.ceiling(middle).all.pq >= pq else (middle + 1, high)
        return low


def ceiling_sentence(split: str, ranks: SegmentRanks, num_queries: int, max_targets: int) -> str:
    """Says the ceiling of a split, warns where it is low, and names the settings that would allow 0.99.

    Args:
        split: its name, for people.
        ranks: The ranks of its photos' segments.
        num_queries: The number of the model's queries.
        max_targets: The most targets that its training takes.
    """
    pq = ranks.ceiling(min(num_queries, max_targets)).all.pq
    warning = "WARNING: " if pq < WARN_BELOW else ""
    said = f"{warning}query ceiling of {split}: PQ {pq:.3f} at best with num_queries={num_queries}"
    said += f" and max_targets={max_targets}"
    if pq >= AIM:
        return f"{said}."
    needed = ranks.queries_for(AIM)
    said += f"; photos have up to {ranks.most_segments} segments. "
    if needed > MOST_TARGETS:
        most = ranks.ceiling(MOST_TARGETS).all.pq
        return said + f"{AIM} needs {needed}, but max_targets is {MOST_TARGETS} at most, which allows {most:.3f}."
    return said + f"{AIM} needs {needed}: task.model.num_queries={needed},task.train_data.parser.max_targets={needed}"
