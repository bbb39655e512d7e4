"""Counts confused classes: pairs of segments that overlap by more than half, whatever their classes.

For diagnosis beside PQ, which only says that a segment was missed. Overlap is counted as for PQ, without the void part
of a prediction; crowds are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from maskformer_model.metrics.segment_matching import MatchedSegment, SegmentMatches, classes_of

NOTHING = -1  # In place of the class that a missed or an invented segment has no partner of.


def segment_confusion(
    matches: SegmentMatches, truth_segments: Sequence[MatchedSegment], predicted_segments: Sequence[MatchedSegment]
) -> dict[tuple[int, int], int]:
    """Counts `(true class, predicted class)` over the segments of one image.

    `NOTHING` stands for the prediction of a true segment that no predicted one overlaps by more than half, and for the
    truth of a predicted segment in the same way, unless void or a crowd excuses it.
    """
    truth_classes, predicted_classes = classes_of(truth_segments), classes_of(predicted_segments)
    shared = matches.intersections[1:, 1:]
    truth_areas = matches.intersections[1:].sum(axis=1)
    predicted_areas = matches.intersections[1:, 1:].sum(axis=0)  # Without their void part.
    is_pair = 3 * shared > truth_areas[:, None] + predicted_areas  # IoU > 1/2, in whole numbers.
    is_pair &= ~np.array([segment.iscrowd for segment in truth_segments], dtype=bool).reshape(-1, 1)
    counts: Counter[tuple[int, int]] = Counter()
    for truth, predicted in np.argwhere(is_pair):
        counts[int(truth_classes[truth]), int(predicted_classes[predicted])] += 1
    for truth in np.flatnonzero(matches.false_negative & ~is_pair.any(axis=1)):
        counts[int(truth_classes[truth]), NOTHING] += 1
    for predicted in np.flatnonzero(matches.false_positive & ~is_pair.any(axis=0)):
        counts[NOTHING, int(predicted_classes[predicted])] += 1
    return dict(counts)
