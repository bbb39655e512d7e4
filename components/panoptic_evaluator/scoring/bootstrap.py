"""Computes confidence intervals by resampling images; for a change, it resamples candidate and baseline together.

TFMA's own intervals were tried first. They are a t-interval around the mean of 20 resamples. PQ of a resample is lower
than PQ of the sample, because a rare class is drawn in few images or none. So such an interval can miss PQ itself, and
it differs from run to run, because its seed cannot be set (`benchmarks.bootstrap_coverage` measures ours). Here a
score's interval is the basic one: the resamples' distribution is mirrored at the value, which removes that bias. In a
change the bias cancels, so its interval is the percentile one, which keeps a sign that all resamples share. Resamples
only depend on the number of images, so a gate's verdict can be repeated exactly.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np
import scipy.sparse

from components.panoptic_evaluator.scoring.scores import CountLayout

_SEED = 20_210_706
_RESAMPLES_AT_ONCE = 100
CountVectors: TypeAlias = "np.ndarray | scipy.sparse.csr_array"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its confidence interval.

    Attributes:
        value: The value over all images.
        low: The lower end of the two-sided interval; None if it is unknown, as for fewer than two images.
        high: The upper end of the two-sided interval.
        lower_bound: The one-sided lower bound of the true value, with the same confidence.
    """

    value: float
    low: float | None = None
    high: float | None = None
    lower_bound: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampled:
    """Scores of one set of images.

    Attributes:
        scores: The scores of the candidate, by name; classes as `pq_per_class[<index>]` are in `per_class`.
        changes: The candidate's scores minus the baseline's, if there is one.
        per_class: The `pq` of each class, None if the class does not occur.
        per_class_changes: The change of each class's `pq`, None if the class does not occur for both models.
    """

    scores: dict[str, Interval]
    changes: dict[str, Interval]
    per_class: list[Interval | None]
    per_class_changes: list[Interval | None]


def resample(
    layout: CountLayout,
    candidate: CountVectors,
    baseline: CountVectors | None,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> Resampled:
    """Computes scores with intervals.

    Args:
        layout: The layout of the vectors.
        candidate: `[images, size]`, one vector per image, in the order of their ids; dense or sparse.
        baseline: `[images, size]`, the baseline's vectors of the same images, or None.
        num_resamples: The number of resamples; 0 gives values without intervals.
        confidence: The confidence of the intervals, in 0..1.
    """
    models = [candidate] if baseline is None else [candidate, baseline]
    values = [_flat(layout, vectors.sum(axis=0)) for vectors in models]
    draws = _draw(layout, models, num_resamples if candidate.shape[0] > 1 else 0)
    scores = _intervals(values[0], draws[0], confidence, mirrored=True)
    changes: list[Interval | None] = [None] * len(scores)
    if baseline is not None:
        changes = _intervals(values[0] - values[1], draws[0] - draws[1], confidence, mirrored=False)
    names, num_names = layout.names, len(layout.names)
    return Resampled(
        scores={name: i for name, i in zip(names, scores[:num_names], strict=True) if i is not None},
        changes={name: i for name, i in zip(names, changes[:num_names], strict=True) if i is not None},
        per_class=scores[num_names:],
        per_class_changes=changes[num_names:],
    )


def _flat(layout: CountLayout, sums: np.ndarray) -> np.ndarray:
    """Returns `[..., scores]`: the named scores, then PQ of each class."""
    scores = layout.scores(sums)
    return np.concatenate([np.stack([scores[name] for name in layout.names], axis=-1), scores["pq_per_class"]], axis=-1)


def _draw(layout: CountLayout, models: list[CountVectors], num_resamples: int) -> list[np.ndarray]:
    """Returns `[resamples, scores]` per model, from the same resamples."""
    num_images = models[0].shape[0]
    generator = np.random.default_rng([_SEED, num_images])
    draws: list[list[np.ndarray]] = [[] for _ in models]
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        count = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        times = generator.multinomial(num_images, np.full(num_images, 1 / num_images), count).astype(np.float64)
        for of_model, vectors in zip(draws, models, strict=True):
            of_model.append(_flat(layout, times @ vectors))
    width = len(layout.names) + layout.categories.num_classes
    return [np.concatenate(of_model) if of_model else np.empty((0, width)) for of_model in draws]


def _intervals(values: np.ndarray, draws: np.ndarray, confidence: float, *, mirrored: bool) -> list[Interval | None]:
    tail = (1 - confidence) / 2
    intervals: list[Interval | None] = []
    for value, column in zip(values.tolist(), draws.T, strict=True):
        known = column[np.isfinite(column)]
        if not np.isfinite(value):
            intervals.append(None)
        elif not known.size:
            intervals.append(Interval(value=value))
        elif mirrored:
            below, above, far = np.quantile(known, [tail, 1 - tail, confidence]).tolist()
            low, high, bound = (min(max(2 * value - quantile, 0.0), 1.0) for quantile in (above, below, far))
            intervals.append(Interval(value=value, low=low, high=high, lower_bound=bound))
        else:
            low, high, bound = np.quantile(known, [tail, 1 - tail, 1 - confidence]).tolist()
            intervals.append(Interval(value=value, low=low, high=high, lower_bound=bound))
    return intervals
