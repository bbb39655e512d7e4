"""Renders the report: one HTML file with its pictures, style and script inside.

The page's template is `report.html.j2`; this module and `tables` make its texts and rows. The opened page fetches
nothing, and the same input gives the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

from components.html_pages import templates_of
from components.panoptic_evaluator.gate.judge import Verdict
from components.panoptic_evaluator.report import tables
from components.panoptic_evaluator.report.gallery import GalleryImage
from components.panoptic_evaluator.report.training_curves import Chart
from components.panoptic_evaluator.scoring.analysis import Analysis
from components.panoptic_evaluator.scoring.evaluation import Evaluation
from components.panoptic_evaluator.scoring.evaluation_warnings import evaluation_warnings
from components.panoptic_evaluator.scoring.headline import OF_TASK, Headline
from maskformer_model.config import PANOPTIC

_FOLDER = pathlib.Path(__file__).parent
_TEMPLATE, _SCRIPT = "report.html.j2", "report.js"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """Images under one heading.

    Attributes:
        key: The address within the page.
        title: The heading.
        lead: What the images are, as a sentence.
        images: The images; may be empty.
        empty: The text to show if there are none.
    """

    key: str
    title: str
    lead: str
    images: Sequence[GalleryImage]
    empty: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The content of a report.

    Attributes:
        candidate: The evaluated model's numbers.
        baseline: The last blessed model's numbers, if the two were compared.
        analysis: Every score with interval and change.
        verdict: The gate's decision.
        galleries: The galleries, in order.
        charts: The training curves; empty if the model has no history.
        kept_aside: The number of skipped records, by reason.
        noticed: The number of findings that cost no record, by reason.
        card: Facts about the model, as label and value.
        settings: The experiment as json text; empty if the model has none.
        headline: The score that the model is judged by.
        data_notes: Notes on how to read the scores, as label and value.
    """

    candidate: Evaluation
    baseline: Evaluation | None
    analysis: Analysis
    verdict: Verdict
    galleries: Sequence[Gallery]
    charts: Sequence[Chart]
    kept_aside: Mapping[str, int]
    card: Sequence[tuple[str, str]]
    settings: str = ""
    headline: Headline = OF_TASK[PANOPTIC]
    data_notes: Sequence[tuple[str, str]] = ()
    noticed: Mapping[str, int] = dataclasses.field(default_factory=dict)


def render_report(report: Report) -> str:
    """Returns the report as HTML."""
    environment = templates_of(__file__)
    environment.filters["score"] = format_score
    environment.filters["change"] = format_change
    shown, folded = tables.split_reasons(report.verdict.reasons)
    script = (_FOLDER / _SCRIPT).read_text(encoding="utf-8")
    return environment.get_template(_TEMPLATE).render(
        report=report,
        reasons=shown,
        more_reasons=folded,
        warnings=evaluation_warnings(report.candidate),
        score=report.analysis.all_images.result.scores.get(report.headline.metric),
        score_change=report.analysis.all_images.result.changes.get(report.headline.metric),
        quality=tables.quality_rows(report.analysis, report.candidate.quality),
        more_scores=tables.score_rows(report.analysis),
        slices=tables.slice_rows(report.analysis),
        found=found_sentence(report.candidate),
        classes=tables.class_rows(report.candidate, report.analysis),
        confusions=tables.confusion_rows(report.candidate),
        num_unseen=int((~report.candidate.quality.per_class.seen).sum()),
        facts=[*tables.data_facts(report.candidate), *report.data_notes],
        statistics=tables.statistics_rows(report.candidate),
        script=script,
        # The page allows only this script.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def format_score(score: float | None) -> str:
    """Returns a fraction with three digits, or a dash if there is none."""
    return "–" if score is None else f"{score:.3f}"


def format_change(change: float | None) -> str:
    """Returns a fraction's change with its sign, or a dash if there is none."""
    if change is None:
        return "–"
    return "±0.000" if abs(change) < 0.0005 else f"{change:+.3f}".replace("-", "−")


def found_sentence(evaluation: Evaluation) -> str:
    """Returns the counts behind PQ as a sentence."""
    counts = evaluation.counts
    found, missed = int(counts.true_positives.sum()), int(counts.false_negatives.sum())
    false = int(counts.false_positives.sum())
    if not found + missed:
        return f"The truth has no segment; {false:,} predicted segments match nothing."
    share = f"{100 * found / (found + missed):.0f} %"
    return (
        f"Of {found + missed:,} true segments {found:,} were found ({share}), {missed:,} were missed, and {false:,} "
        "predicted segments match nothing. A segment counts as found when it overlaps a predicted one of its class by "
        "more than half of their union."
    )
