"""Makes the content of `metrics.json`: every score of one evaluation as plain values.

Scores are fractions. `scores` and `headline` define them, and `analysis` computes their intervals.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from components.panoptic_evaluator.scoring.analysis import Analysis
from components.panoptic_evaluator.scoring.evaluation import Evaluation
from components.panoptic_evaluator.scoring.evaluation_warnings import evaluation_warnings
from components.panoptic_evaluator.scoring.headline import OF_TASK, Headline
from maskformer_model.config import PANOPTIC
from maskformer_model.metrics import semantic_quality
from maskformer_model.metrics.panoptic_quality import PanopticQuality, QualityMean


def metrics_document(
    candidate: Evaluation, baseline: Evaluation | None, analysis: Analysis, headline: Headline = OF_TASK[PANOPTIC]
) -> dict[str, Any]:
    """Returns the content of `metrics.json`.

    Returns:
        `task` of the model and `headline`, the name of the score it is judged by; `num_images`; `summary` with `all`,
        `things` and `stuff` (`pq`, `sq`, `rq`, `num_classes`); `per_class`, every class in order, with `pq`, `sq` and
        `rq` null if the class does not occur; `analysis`: every score of all images and of each slice with its
        interval and change; `warnings`, sentences about what the scores do not tell; `confusion`: segments by true and
        predicted class name; `images`; and `baseline` with the summary of the last blessed model, or null.
    """
    return {
        "task": headline.task,
        "headline": headline.metric,
        "num_images": len(candidate.images),
        "summary": _summary(candidate.quality),
        "per_class": per_class_rows(candidate),
        "analysis": analysis.to_json(),
        "warnings": evaluation_warnings(candidate),
        "confusion": confusion_rows(candidate),
        "baseline": None if baseline is None else {"summary": _summary(baseline.quality)},
        "images": [dataclasses.asdict(image) for image in candidate.images],
    }


def confusion_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns segments by their class (`true`) and their predicted class (`predicted`), most first; null is nothing."""
    names = dict(enumerate(evaluation.categories.names))
    return [
        {"true": names.get(true), "predicted": names.get(predicted), "segments": count}
        for (true, predicted), count in sorted(
            evaluation.segment_confusion.items(), key=lambda item: (-item[1], item[0])
        )
    ]


def per_class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns a row per class, in class order: id, name, kind, PQ, SQ, RQ, their counts, and semantic IoU."""
    counts, quality = evaluation.counts, evaluation.quality.per_class
    semantic = semantic_quality.semantic_quality(evaluation.pixel_confusion)
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
                "semantic_iou": float(semantic.iou[index]) if semantic.seen[index] else None,
            }
        )
    return rows


def _summary(quality: PanopticQuality) -> dict[str, dict[str, float]]:
    means: dict[str, QualityMean] = {"all": quality.all, "things": quality.things, "stuff": quality.stuff}
    return {name: dataclasses.asdict(mean) for name, mean in means.items()}
