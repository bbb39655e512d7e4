"""Counts everything about one image and its prediction, as short rows for files and Beam.

Counted once, while the pixels are in memory. Every number of an evaluation is a function of these rows, summed or
listed over images. What each row means is defined in `maskformer_model`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.panoptic_predictor import counts as counts_lib
from components.panoptic_predictor.counts import ClassCounts, counts_per_class
from maskformer_model.metrics import average_precision, panoptic_quality, segment_confusion, semantic_quality
from maskformer_model.metrics.segment_matching import MatchedSegment, default_boundary_px, match_segments

ALL, BOUNDARY = "all", "boundary"
# The ways in which PQ's counts are taken, in the order of arrays that hold all of them.
VARIANTS = (ALL, BOUNDARY, *panoptic_quality.SIZES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageMeasures:
    """The counts of one image and its prediction.

    Attributes:
        panoptic: PQ's counts as rows per class, by variant: `all`, `boundary`, `small`, `medium` and `large`.
        pixels: (true class, predicted class, pixels); predicted void, and true background, is the number of classes.
        confusion: (true class, predicted class, segments), -1 for nothing; see `segment_confusion`.
        instances: record of the matched instances; see `average_precision`.
    """

    panoptic: Mapping[str, tuple[ClassCounts, ...]]
    pixels: tuple[tuple[int, int, int], ...]
    confusion: tuple[tuple[int, int, int], ...]
    instances: Mapping[str, Sequence[Mapping[str, Any]]]

    def to_json(self) -> dict[str, Any]:
        """Returns a json object, which keeps every bit."""
        return {
            "panoptic": {name: counts_lib.to_json_rows(rows) for name, rows in self.panoptic.items()},
            "pixels": self.pixels,
            "confusion": self.confusion,
            "instances": self.instances,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ImageMeasures:
        """Reads what `to_json` returned."""
        return cls(
            panoptic={name: tuple(counts_lib.from_json_rows(rows)) for name, rows in document["panoptic"].items()},
            pixels=_triples(document["pixels"]),
            confusion=_triples(document["confusion"]),
            instances=document["instances"],
        )


def measure_image(
    truth_ids: np.ndarray,
    truth_segments: Sequence[MatchedSegment],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[MatchedSegment],
    scores: Sequence[float],
    isthing: np.ndarray,
    *,
    instances: Sequence[average_precision.Instance] | None = None,
    max_instances: int = average_precision.COCO_MAX_INSTANCES,
    image_name: str = "",
    void_is_background: bool = False,
) -> ImageMeasures:
    """Counts one image.

    Semantic and, unless there are `instances`, instance numbers are derived from the panoptic map: a pixel is of its
    segment's class, and an instance is a thing segment with the segment's score.

    Args:
        truth_ids: `[height, width]` integer segment ids, 0 = void.
        truth_segments: all segments of `truth_ids`.
        predicted_ids: `[height, width]` integer segment ids of the prediction, 0 = void.
        predicted_segments: exactly the segments of `predicted_ids`.
        scores: The scores of the predicted segments.
        isthing: `[classes]` bool.
        instances: The predictions for AP, if they are not the thing segments of the map.
        max_instances: How many predictions of a class AP counts.
        image_name: The image's name in error messages.
        void_is_background: Whether pixels without a true segment are background, see `match_segments`.

    Raises:
        ValueError: from `segment_matching.match_segments` and `panoptic_quality.count_matches`.
    """
    maps = (truth_ids, truth_segments, predicted_ids, predicted_segments)
    sides, num_classes = (truth_segments, predicted_segments), len(isthing)
    options: dict[str, Any] = {"image_name": image_name, "void_is_background": void_is_background}
    matches = match_segments(*maps, **options)
    bounded = match_segments(*maps, boundary_px=default_boundary_px(*truth_ids.shape), **options)
    by_size = panoptic_quality.count_by_size(matches, *sides, num_classes)
    panoptic = {
        ALL: panoptic_quality.count_matches(matches, *sides, num_classes),
        BOUNDARY: panoptic_quality.count_matches(bounded, *sides, num_classes),
        **by_size,
    }
    pixels = semantic_quality.pixel_confusion_of_segments(
        matches.intersections, *sides, num_classes, void_is_background=void_is_background
    )
    confusion = segment_confusion.segment_confusion(matches, *sides)
    if instances is None:
        instances = average_precision.instances_of_map(predicted_ids, predicted_segments, isthing, scores)
    matched = average_precision.match_instances(
        average_precision.instances_of_map(truth_ids, truth_segments, isthing), instances, max_instances
    )
    return ImageMeasures(
        panoptic={name: tuple(counts_per_class(counts)) for name, counts in panoptic.items()},
        pixels=tuple((int(t), int(p), int(pixels[t, p])) for t, p in np.argwhere(pixels)),
        confusion=tuple((t, p, count) for (t, p), count in sorted(confusion.items())),
        instances={str(class_index): records for class_index, records in matched.items()},
    )


def _triples(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(first), int(second), int(count)) for first, second, count in rows)
