"""Turns summed counts into named scores, for a set of images and for each of its resamples.

Counts of images add up; a score is a function of the sum. `CountLayout` defines the place of each class's and variant's
counts in one long vector per image, so that sums over images, slices and resamples are plain matrix products. All terms
are whole numbers or multiples of 2^-36, so sums are exact in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from components.panoptic_predictor.image_measures import ALL, BOUNDARY, VARIANTS, ImageMeasures
from maskformer_model.categories import CategoryTable
from maskformer_model.config import SEMANTIC
from maskformer_model.config.scores import SCORES_OF_TASK
from maskformer_model.metrics.panoptic_quality import SIZES, quality_per_class

THINGS, STUFF = "things", "stuff"
# Scores of all classes together, without those of class groups, which are `pq_<group>`.
HEADLINE = (
    *("pq", "sq", "rq", "pq_things", "sq_things", "rq_things", "pq_stuff", "sq_stuff", "rq_stuff"),
    *("boundary_pq", *(f"pq_{size}" for size in SIZES)),
    *SCORES_OF_TASK[SEMANTIC],
)
# The report's names of the scores in its list, in order.
SCORE_TITLES = {
    "pq_small": "PQ of small segments (below 32 × 32 px)",
    "pq_medium": "PQ of medium segments (below 96 × 96 px)",
    "pq_large": "PQ of large segments",
    "boundary_pq": "Boundary PQ",
    "mean_iou": "Mean IoU of pixels",
    "frequency_weighted_iou": "IoU of pixels, weighted by frequency",
    "pixel_accuracy": "Pixel accuracy",
    "ap": "AP of things (IoU 0.50 to 0.95)",
    "ap50": "AP at IoU 0.50",
    "ap75": "AP at IoU 0.75",
    "ap_small": "AP of small things",
    "ap_medium": "AP of medium things",
    "ap_large": "AP of large things",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountLayout:
    """The layout of an image's counts in a vector, and the class groups.

    Attributes:
        categories: The classes.
        groups: The class names of each group, by the group's name.

    Raises:
        ValueError: if a group is empty, names an unknown class, or has the name of another score.
    """

    categories: CategoryTable
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for group, names in self.groups.items():
            unknown = sorted(set(names) - set(self.categories.names))
            if unknown or not names:
                raise ValueError(
                    f"Class group {group!r} must name classes of the data set. Received: {unknown or 'none'}"
                )
            if f"pq_{group}" in HEADLINE:
                raise ValueError(f"A class group must not have the name of another score. Received: {group!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns the numbers of variants, of classes, and of counts (IoU sum, TP, FP, FN)."""
        return len(VARIANTS), self.categories.num_classes, 4

    @property
    def size(self) -> int:
        """Returns the number of counts per image: PQ's, then right, true and predicted pixels of each class.

        Behind the classes is the background of exhaustive annotations.
        """
        return int(np.prod(self.shape)) + 3 * (self.categories.num_classes + 1)

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the scores that `scores` computes for all classes together."""
        return (*HEADLINE, *(f"pq_{group}" for group in self.groups))

    def vector(self, measures: ImageMeasures) -> np.ndarray:
        """Returns the counts of one image, `[size]` float64."""
        panoptic = np.zeros(self.shape)
        for variant, rows in measures.panoptic.items():
            for class_index, counts in rows:
                panoptic[VARIANTS.index(variant), class_index] += counts
        pixels = np.zeros((3, self.categories.num_classes + 1))
        for true, predicted, count in measures.pixels:
            pixels[0, true] += count if true == predicted else 0
            pixels[1, true] += count
            pixels[2, predicted] += count
        return np.concatenate([panoptic.ravel(), pixels.ravel()])

    def scores(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Computes named scores of summed counts.

        Args:
            sums: `[..., size]`.

        Returns:
            The scores by name, `[...]` float64 in 0..1, NaN if no class occurs; `pq_per_class` is `[..., classes]`, NaN
            for a class that does not occur.
        """
        panoptic, pixels = np.split(sums, [int(np.prod(self.shape))], axis=-1)
        panoptic = panoptic.reshape(*sums.shape[:-1], *self.shape)
        quality = quality_per_class(*np.moveaxis(panoptic, -1, 0))
        of_variant = {name: index for index, name in enumerate(VARIANTS)}
        isthing = self.categories.isthing
        result = {}
        for suffix, chosen in (("", np.ones_like(isthing)), ("_things", isthing), ("_stuff", ~isthing)):
            seen = quality.seen[..., of_variant[ALL], :] & chosen
            for name, values in (("pq", quality.pq), ("sq", quality.sq), ("rq", quality.rq)):
                result[name + suffix] = _mean_of_chosen(values[..., of_variant[ALL], :], seen)
        for variant in (BOUNDARY, *SIZES):
            name = "boundary_pq" if variant == BOUNDARY else f"pq_{variant}"
            result[name] = _mean_of_chosen(
                quality.pq[..., of_variant[variant], :], quality.seen[..., of_variant[variant], :]
            )
        result |= _semantic(pixels.reshape(*sums.shape[:-1], 3, -1))
        pq, seen = quality.pq[..., of_variant[ALL], :], quality.seen[..., of_variant[ALL], :]
        for group, names in self.groups.items():
            result[f"pq_{group}"] = _mean_of_chosen(pq, seen & np.isin(self.categories.names, list(names)))
        result["pq_per_class"] = np.where(seen, pq, np.nan)
        return result


def _semantic(pixels: np.ndarray) -> dict[str, np.ndarray]:
    all_right, all_true, predicted = np.moveaxis(pixels, -2, 0)
    # Background is the last: what is predicted there is wrong, and it is no class of its own.
    right, true, predicted = all_right[..., :-1], all_true[..., :-1], predicted[..., :-1]
    union = true + predicted - right
    iou = np.divide(right, union, out=np.zeros_like(right), where=union > 0)
    total = true.sum(axis=-1)
    return {
        "mean_iou": _mean_of_chosen(iou, union > 0),
        "frequency_weighted_iou": _share((iou * true).sum(axis=-1), total),
        "pixel_accuracy": _share(all_right.sum(axis=-1), all_true.sum(axis=-1)),
    }


def _mean_of_chosen(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return _share(np.where(chosen, values, 0.0).sum(axis=-1), chosen.sum(axis=-1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
