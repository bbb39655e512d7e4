"""Makes the rows of the report's tables, with labels for the reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.panoptic_evaluator.gate.judge import Reason
from components.panoptic_evaluator.report.gallery import css_color
from components.panoptic_evaluator.scoring.analysis import Analysis
from components.panoptic_evaluator.scoring.bootstrap import Interval
from components.panoptic_evaluator.scoring.evaluation import Evaluation
from components.panoptic_evaluator.scoring.metrics_file import per_class_rows
from components.panoptic_evaluator.scoring.scores import SCORE_TITLES
from maskformer_model.metrics.panoptic_quality import PanopticQuality

MAX_CONFUSIONS = 25
MAX_REASONS = 4
_STATISTICS = {
    "num_segments": "Segments per image",
    "num_things": "Things per image",
    "num_crowds": "Crowd regions per image",
    "void_fraction": "Share of void",
    "crowd_fraction": "Share of crowds",
    "thing_fraction": "Share of things",
    "aspect_ratio": "Width / height",
    "brightness": "Brightness (0 to 1)",
}


def split_reasons(reasons: Sequence[Reason]) -> tuple[list[Reason], list[Reason]]:
    """Returns the reasons to show at once (failed ones, then the first ones) and those to fold: there may be many.

    A single rule can give one reason per class.
    """
    failed = [reason for reason in reasons if reason.passed is False]
    others = [reason for reason in reasons if reason.passed is not False]
    # Folding a single line would save no space.
    count = MAX_REASONS if len(others) > MAX_REASONS + 1 else len(others)
    return failed + others[:count], others[count:]


def quality_rows(analysis: Analysis, quality: PanopticQuality) -> list[dict[str, Any]]:
    """Returns PQ with interval and change, SQ and RQ of all classes, things and stuff; None if no class occurs."""
    result = analysis.all_images.result
    rows = []
    for label, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        scores = {name: result.scores.get(name + suffix) for name in ("pq", "sq", "rq")}
        rows.append(
            {
                "label": label,
                "num_classes": getattr(quality, label.lower()).num_classes,
                "pq": scores["pq"],
                "sq": scores["sq"].value if scores["sq"] else None,
                "rq": scores["rq"].value if scores["rq"] else None,
                "change": result.changes.get("pq" + suffix),
            }
        )
    return rows


def score_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """Returns the other known scores of all images, each with interval and change."""
    result = analysis.all_images.result
    labels = {f"pq_{group}": f"PQ of {group} ({len(names)} classes)" for group, names in analysis.layout.groups.items()}
    return [
        {"label": label, "score": result.scores[name], "change": result.changes.get(name)}
        for name, label in (SCORE_TITLES | labels).items()
        if name in result.scores
    ]


def slice_rows(analysis: Analysis) -> list[dict[str, Any]]:
    """Returns a row per slice: its number of images, PQ, change, and PQ of things and stuff."""
    rows = []
    for part in analysis.slices[1:]:
        scores = {name: part.result.scores.get(name) for name in ("pq", "pq_things", "pq_stuff", "mean_iou")}
        rows.append(
            {"name": part.name, "num_images": part.num_images, "change": part.result.changes.get("pq")} | scores
        )
    return rows


def class_rows(candidate: Evaluation, analysis: Analysis) -> list[dict[str, Any]]:
    """Returns a row per class that occurs: things before stuff, each best first."""
    result = analysis.all_images.result
    rows = []
    for row in per_class_rows(candidate):
        interval = result.per_class[row["class_index"]]
        if interval is None:
            continue
        row["interval"] = interval
        row["change"] = _value(result.per_class_changes[row["class_index"]])
        row["color"] = css_color(candidate.categories, row["class_index"])
        rows.append(row)
    return sorted(rows, key=lambda row: (not row["isthing"], -row["pq"], row["name"]))


def confusion_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns the most frequent confusions between two classes."""
    categories = evaluation.categories
    of_true: dict[int, int] = {}
    for (true, _), count in evaluation.segment_confusion.items():
        of_true[true] = of_true.get(true, 0) + count
    mistakes = [
        (count, true, predicted)
        for (true, predicted), count in evaluation.segment_confusion.items()
        if true != predicted and true >= 0 and predicted >= 0
    ]
    return [
        {
            "true": categories.names[true],
            "true_color": css_color(categories, true),
            "predicted": categories.names[predicted],
            "predicted_color": css_color(categories, predicted),
            "count": count,
            "share": count / of_true[true],
        }
        for count, true, predicted in sorted(mistakes, key=lambda row: (-row[0], row[1:]))[:MAX_CONFUSIONS]
    ]


def data_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Returns facts about the evaluated images, as label and value."""
    images = evaluation.images
    facts = [("Images", f"{len(images):,}")]
    if not images:
        return facts
    isthing = evaluation.categories.isthing
    true = evaluation.counts.true_positives + evaluation.counts.false_negatives
    facts.append(("True segments", f"{true[isthing].sum():,} things and {true[~isthing].sum():,} stuff"))
    num_crowds = sum(int(image.statistics.get("num_crowds", 0)) for image in images)
    facts.append(("Crowd regions, not counted", f"{num_crowds:,}"))
    pixels = sum(image.height_px * image.width_px for image in images)
    void = sum(image.statistics.get("void_fraction", 0.0) * image.height_px * image.width_px for image in images)
    facts.append(("Void, not counted", f"{100 * void / pixels:.1f} % of all pixels"))
    sizes = sorted((image.height_px * image.width_px, f"{image.width_px} × {image.height_px}") for image in images)
    same = sizes[0] == sizes[-1]
    facts.append(("Photo size", f"{sizes[0][1]} px" if same else f"{sizes[0][1]} to {sizes[-1][1]} px"))
    return facts


def statistics_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns smallest, median, mean and largest value of each statistic that every image has."""
    rows = []
    for name, label in _STATISTICS.items():
        values = [image.statistics[name] for image in evaluation.images if name in image.statistics]
        if values and len(values) == len(evaluation.images):
            numbers = np.array(values, np.float64)
            summary = (numbers.min(), np.median(numbers), numbers.mean(), numbers.max())
            rows.append({"label": label, "values": [f"{number:.3g}" for number in summary]})
    return rows


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value
