"""Computes every score of gate and report, for all images and each slice, with intervals and change.

It starts from the counts per image. `evaluation` reads these counts, `scores` defines the values, and `bootstrap`
computes the intervals.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.bootstrap import Interval, Resampled, resample
from components.panoptic_evaluator.scoring.evaluation import Evaluation
from components.panoptic_evaluator.scoring.scores import CountLayout
from components.panoptic_predictor.image_attributes import slice_images
from maskformer_model.metrics.average_precision import NAMES as AP_NAMES
from maskformer_model.metrics.average_precision import average_precision

ALL_IMAGES = ""
_AP_WITH_INTERVAL = AP_NAMES[:3]
_AP_BLOCKS = 20
_SLICE_RESAMPLES_SHARE = 5  # A slice gets a fifth of the resamples, at least 200: there are many slices.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice of the images, or all of them.

    Attributes:
        name: `attribute=value`, or `ALL_IMAGES`.
        num_images: The number of its images.
        result: The scores of its images.
    """

    name: str
    num_images: int
    result: Resampled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """All scores of an evaluation.

    Attributes:
        layout: The classes and their groups.
        confidence: The confidence of the intervals.
        compared: Whether there is a baseline.
        slices: The slices; all images come first.
    """

    layout: CountLayout
    confidence: float
    compared: bool
    slices: tuple[Slice, ...]

    @property
    def all_images(self) -> Slice:
        """Returns the slice of all images."""
        return self.slices[0]

    def to_json(self) -> dict[str, Any]:
        """Returns all scores as json: per slice `num_images`, `scores`, `changes` and `per_class` by class name."""
        return {
            "confidence": self.confidence,
            "slices": {
                part.name or "all images": {
                    "num_images": part.num_images,
                    "scores": _intervals_to_json(part.result.scores),
                    "changes": _intervals_to_json(part.result.changes),
                    "per_class": _intervals_to_json(self._of_classes(part.result.per_class)),
                    "per_class_changes": _intervals_to_json(self._of_classes(part.result.per_class_changes)),
                }
                for part in self.slices
            },
        }

    def _of_classes(self, intervals: Sequence[Interval | None]) -> dict[str, Interval]:
        names = self.layout.categories.names
        return {name: found for name, found in zip(names, intervals, strict=True) if found is not None}


def analyze(candidate: Evaluation, baseline: Evaluation | None, config: AnalysisConfig) -> Analysis:
    """Computes the candidate's scores and their change from the baseline, over all images and in every slice.

    Args:
        candidate: The evaluated model's counts.
        baseline: The last blessed model's counts, on the same images.
        config: The slices, groups and intervals to compute.

    Raises:
        ValueError: if a slice or class group names something that does not exist.
    """
    layout = CountLayout(categories=candidate.categories, groups=config.class_groups)
    vectors = [evaluation.vectors(layout) for evaluation in (candidate, baseline) if evaluation is not None]

    def part(name: str, chosen: np.ndarray, num_resamples: int) -> Slice:
        result = resample(
            layout,
            vectors[0][chosen],
            vectors[1][chosen] if baseline is not None else None,
            num_resamples=num_resamples,
            confidence=config.confidence,
        )
        return Slice(name=name, num_images=int(chosen.sum()), result=result)

    slices = [part(ALL_IMAGES, np.ones(len(candidate.images), bool), config.num_resamples)]
    _add_average_precision(slices[0].result, candidate, baseline, config)
    fewer = min(config.num_resamples, max(200, config.num_resamples // _SLICE_RESAMPLES_SHARE))
    for labels in slice_labels(candidate, config.slices).values():
        of_image = np.array(labels)
        # Sorted, because the order of the first images would be random: numbers by size, then names.
        for label in sorted(set(labels), key=_slice_order):
            slices.append(part(label, of_image == label, fewer))
    return Analysis(layout=layout, confidence=config.confidence, compared=baseline is not None, slices=tuple(slices))


def slice_labels(evaluation: Evaluation, features: Sequence[str]) -> dict[str, list[str]]:
    """Returns the label of every image's slice, per feature."""
    attributes = [image.attributes for image in evaluation.images]
    return {feature: slice_images(attributes, feature) for feature in features}


def _slice_order(label: str) -> tuple[float, str]:
    value = label.partition("=")[2].partition("..")[0]
    try:
        return float(value), label
    except ValueError:
        return math.inf, label


def _add_average_precision(
    result: Resampled, candidate: Evaluation, baseline: Evaluation | None, config: AnalysisConfig
) -> None:
    """Adds AP with an interval from a jackknife over blocks of images, because AP has no counts that add up."""
    models = [candidate] if baseline is None else [candidate, baseline]
    classes = np.flatnonzero(candidate.categories.isthing).tolist()
    values = [evaluation.average_precision() for evaluation in models]
    num_blocks = min(_AP_BLOCKS, len(candidate.images)) if config.num_resamples else 0
    without: list[list[dict[str, Any]]] = [
        [
            average_precision(
                [m.instances for n, m in enumerate(evaluation.measures) if n % num_blocks != block],
                classes,
                by_size=False,
            )
            for block in range(num_blocks)
        ]
        for evaluation in models
    ]
    for name in AP_NAMES:
        if values[0][name] is None:
            continue
        replicates = [[one[name] for one in of_model] for of_model in without] if name in _AP_WITH_INTERVAL else []
        result.scores[name] = _jackknife(values[0][name], replicates[:1], config.confidence, (0.0, 1.0))
        if baseline is not None and values[1][name] is not None:
            change = values[0][name] - values[1][name]
            result.changes[name] = _jackknife(change, replicates, config.confidence, (-1.0, 1.0))


def _jackknife(
    value: float, replicates: Sequence[Sequence[float | None]], confidence: float, limits: tuple[float, float]
) -> Interval:
    """Computes a normal interval from estimates that each leave out one block of images; two models' are subtracted."""
    if not replicates or len(replicates[0]) < 2 or any(one is None for of_model in replicates for one in of_model):
        return Interval(value=value)
    terms = np.array(replicates, np.float64)
    left_out = terms[0] - terms[1] if len(terms) == 2 else terms[0]
    count = len(left_out)
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    reach = statistics.NormalDist().inv_cdf(1 - (1 - confidence) / 2) * error
    low, high, bound = (
        min(max(edge, limits[0]), limits[1])
        for edge in (value - reach, value + reach, value - statistics.NormalDist().inv_cdf(confidence) * error)
    )
    return Interval(value=value, low=low, high=high, lower_bound=bound)


def _intervals_to_json(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {name: dataclasses.asdict(found) for name, found in intervals.items()}
