"""Assembles the evaluation of one set of predictions from the files of `metric_step`.

Scores are fractions everywhere. The gate and the report read their numbers from here.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from components.panoptic_evaluator.scoring.scores import CountLayout
from components.panoptic_predictor import counts as counts_lib
from components.panoptic_predictor.image_measures import ALL, ImageMeasures
from maskformer_model.categories import CategoryTable
from maskformer_model.metrics.average_precision import average_precision
from maskformer_model.metrics.panoptic_quality import PanopticCounts, PanopticQuality, panoptic_quality

if TYPE_CHECKING:
    from components.panoptic_predictor.prediction_files import Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageScore:
    """An image of the split with its counts.

    Attributes:
        source_id: The image's id.
        filename: The photo's file name.
        height_px: The photo's height.
        width_px: The photo's width.
        statistics: The scalars of the image's Example, by name.
        pq: PQ of this image alone, in 0..1; None if nothing counts.
        true_positives: The number of matched segments of all classes.
        false_positives: The number of predicted segments without a match.
        false_negatives: The number of true segments without a match.
        attributes: The attributes to slice by, by the name of the Example's feature.
    """

    source_id: str
    filename: str
    height_px: int
    width_px: int
    statistics: dict[str, float]
    pq: float | None
    true_positives: int
    false_positives: int
    false_negatives: int
    attributes: dict[str, str | int | float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """An evaluated set of predictions.

    Attributes:
        categories: The classes.
        counts: PQ's counts, summed over all images.
        quality: PQ, SQ and RQ of these sums.
        images: One score per image, ordered by id.
        measures: The counts of every image, in the same order.
        pixel_confusion: `[classes + 1, classes + 1]` int64, summed over all images; see `semantic_quality`.
        segment_confusion: The segments by (true class, predicted class), -1 for nothing; see `segment_confusion`.
    """

    categories: CategoryTable
    counts: PanopticCounts
    quality: PanopticQuality
    images: tuple[ImageScore, ...]
    measures: tuple[ImageMeasures, ...]
    pixel_confusion: np.ndarray
    segment_confusion: dict[tuple[int, int], int]

    def vectors(self, layout: CountLayout) -> scipy.sparse.csr_array:
        """Returns the `[images, size]` counts of every image, in the order of `images`.

        Sparse, because an image has a few of the classes: 100,000 images of 133 classes would take 2.4 GB.
        """
        rows = [scipy.sparse.csr_array(layout.vector(measures)[np.newaxis]) for measures in self.measures]
        return scipy.sparse.vstack(rows, format="csr") if rows else scipy.sparse.csr_array((0, layout.size))

    def average_precision(self) -> dict[str, Any]:
        """Returns AP of all images; see `average_precision.average_precision`."""
        return average_precision(
            [measures.instances for measures in self.measures], np.flatnonzero(self.categories.isthing).tolist()
        )


def evaluation_from_files(categories: CategoryTable, counts_json: str, image_lines: Iterable[str]) -> Evaluation:
    """Assembles an evaluation from the files of `metric_step.EvaluatePredictions`.

    Args:
        categories: The classes.
        counts_json: The content of `counts.json`.
        image_lines: The lines of `images.jsonl`, in any order.

    Raises:
        ValueError: if an image was counted twice.
    """
    sums: dict[str, dict[tuple[Any, Any], list[float]]] = {"panoptic": {}, "pixels": {}, "confusion": {}}
    for (kind, first, second), numbers in json.loads(counts_json):
        sums[kind][first, second] = numbers
    rows = [[class_index, *numbers] for (variant, class_index), numbers in sums["panoptic"].items() if variant == ALL]
    counts = counts_lib.to_panoptic_counts(counts_lib.from_json_rows(rows), categories.num_classes)
    pixels = np.zeros((categories.num_classes + 1, categories.num_classes + 1), np.int64)
    for (true, predicted), [count] in sums["pixels"].items():
        pixels[true, predicted] = count
    images = sorted(map(_image, image_lines), key=lambda image: (len(image[0].source_id), image[0].source_id))
    repeated = [name for name, times in Counter(image.source_id for image, _ in images).items() if times > 1]
    if repeated:
        raise ValueError(f"Every image must be counted once. Received more than once, ids: {repeated[:10]}")
    return Evaluation(
        categories=categories,
        counts=counts,
        quality=panoptic_quality(counts, categories.isthing),
        images=tuple(image for image, _ in images),
        measures=tuple(measures for _, measures in images),
        pixel_confusion=pixels,
        segment_confusion={key: int(count) for key, [count] in sums["confusion"].items()},
    )


def require_same_images(candidate: Evaluation, baseline: Evaluation) -> None:
    """Raises an error if two evaluations have different images.

    Raises:
        ValueError: if an image is only in one of the two.
    """
    ids = [{image.source_id for image in evaluation.images} for evaluation in (candidate, baseline)]
    if ids[0] != ids[1]:
        raise ValueError(
            "Candidate and baseline must be evaluated on the same images. Received in one of them only, ids: "
            f"{sorted(ids[0] ^ ids[1])[:10]}"
        )


def image_score(prediction: Prediction, categories: CategoryTable) -> ImageScore:
    """Returns the score of a single image that is in no evaluation."""
    counts = counts_lib.to_panoptic_counts(prediction.counts, categories.num_classes)
    quality = panoptic_quality(counts, categories.isthing).all
    total = counts_lib.sum_counts(counts for _, counts in prediction.counts)
    return ImageScore(
        source_id=prediction.source_id,
        filename=prediction.filename,
        height_px=prediction.height_px,
        width_px=prediction.width_px,
        statistics=prediction.statistics,
        pq=quality.pq if quality.num_classes else None,
        true_positives=total.true_positives,
        false_positives=total.false_positives,
        false_negatives=total.false_negatives,
        attributes=prediction.attributes,
    )


def _image(line: str) -> tuple[ImageScore, ImageMeasures]:
    row = json.loads(line)
    measures = ImageMeasures.from_json(row.pop("measures"))
    total = counts_lib.sum_counts(counts for _, counts in measures.panoptic[ALL])
    score = ImageScore(
        **row,
        true_positives=total.true_positives,
        false_positives=total.false_positives,
        false_negatives=total.false_negatives,
    )
    return score, measures
