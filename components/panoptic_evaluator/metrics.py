"""What the evaluator knows about one set of predictions, and the `metrics.json` made of it.

PQ, SQ and RQ are fractions everywhere. The numbers come from the files that `metric_step` wrote; the gate and the
report read them from here.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from components.panoptic_evaluator import counts as counts_lib
from maskformer_model.categories import CategoryTable
from maskformer_model.panoptic_quality import PanopticCounts, PanopticQuality, QualityMean, panoptic_quality


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image of the split.

    Attributes:
        source_id: the image's id.
        filename: the photo's file name.
        height_px: height of the photo.
        width_px: width of the photo.
        statistics: scalars of the image's Example, by name.
        pq: PQ of this image alone, in 0..1; None where nothing counts.
        true_positives: matched segments of all classes.
        false_positives: predicted segments without a match.
        false_negatives: true segments without a match.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One set of predictions, evaluated.

    Attributes:
        categories: the classes.
        counts: sums over all images.
        quality: PQ, SQ and RQ of these sums.
        images: one score per image, ordered by id.
    """

    categories: CategoryTable
    counts: PanopticCounts
    quality: PanopticQuality
    images: tuple[ImageScore, ...]


def evaluation_from_files(categories: CategoryTable, counts_json: str, image_lines: Iterable[str]) -> Evaluation:
    """Assembles what `metric_step.EvaluatePredictions` wrote.

    Args:
        categories: the classes.
        counts_json: content of `counts.json`.
        image_lines: lines of `images.jsonl`, in any order.

    Raises:
        ValueError: if an image was counted twice.
    """
    counts = counts_lib.to_panoptic_counts(counts_lib.from_json_rows(json.loads(counts_json)), categories.num_classes)
    images = sorted(
        (_image_score(json.loads(line)) for line in image_lines),
        key=lambda image: (len(image.source_id), image.source_id),
    )
    repeated = [name for name, times in Counter(image.source_id for image in images).items() if times > 1]
    if repeated:
        raise ValueError(f"Every image must be counted once. Received more than once, ids: {repeated[:10]}")
    return Evaluation(
        categories=categories,
        counts=counts,
        quality=panoptic_quality(counts, categories.isthing),
        images=tuple(images),
    )


def require_same_images(candidate: Evaluation, baseline: Evaluation) -> None:
    """Refuses to compare evaluations of different images.

    Raises:
        ValueError: if an image is in one of the two only.
    """
    ids = [{image.source_id for image in evaluation.images} for evaluation in (candidate, baseline)]
    if ids[0] != ids[1]:
        raise ValueError(
            "Candidate and baseline must be evaluated on the same images. Received in one of them only, ids: "
            f"{sorted(ids[0] ^ ids[1])[:10]}"
        )


def metrics_document(candidate: Evaluation, baseline: Evaluation | None) -> dict[str, Any]:
    """The content of `metrics.json`.

    Returns:
        `num_images`; `summary` with `all`, `things` and `stuff` (`pq`, `sq`, `rq`, `num_classes`); `per_class`, every
        class in order, with `pq`, `sq` and `rq` null where the class was not seen; `images`; and `baseline` with the
        summary of the model that was blessed last, or null.
    """
    return {
        "num_images": len(candidate.images),
        "summary": _summary(candidate.quality),
        "per_class": per_class_rows(candidate),
        "baseline": None if baseline is None else {"summary": _summary(baseline.quality)},
        "images": [dataclasses.asdict(image) for image in candidate.images],
    }


def per_class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per class, in class order: id, name, kind, PQ, SQ, RQ and the counts they come from."""
    counts, quality = evaluation.counts, evaluation.quality.per_class
    rows = []
    for index, category in enumerate(evaluation.categories.categories):
        seen = bool(quality.seen[index])
        rows.append(
            {
                "class_index": index,
                "category_id": int(category.id),
                "name": category.name,
                "isthing": category.isthing,
                "pq": float(quality.pq[index]) if seen else None,
                "sq": float(quality.sq[index]) if seen else None,
                "rq": float(quality.rq[index]) if seen else None,
                "true_positives": int(counts.true_positives[index]),
                "false_positives": int(counts.false_positives[index]),
                "false_negatives": int(counts.false_negatives[index]),
                "iou_sum": float(counts.iou_sum[index]),
            }
        )
    return rows


def _summary(quality: PanopticQuality) -> dict[str, dict[str, float]]:
    means: dict[str, QualityMean] = {"all": quality.all, "things": quality.things, "stuff": quality.stuff}
    return {name: dataclasses.asdict(mean) for name, mean in means.items()}


def _image_score(row: dict[str, Any]) -> ImageScore:
    counts = [counts for _, counts in counts_lib.from_json_rows(row.pop("counts"))]
    total = counts_lib.sum_counts(counts)
    return ImageScore(
        **row,
        true_positives=total.true_positives,
        false_positives=total.false_positives,
        false_negatives=total.false_negatives,
    )
