"""The report a person reads: one HTML file with its pictures and style inside, made from what was already computed.

The page is `report.html.j2`; this module gives it words and rows. Nothing is fetched when the page is opened, and the
same input gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import jinja2

from components.panoptic_evaluator.gallery import GalleryImage, css_color
from components.panoptic_evaluator.gate import Verdict
from components.panoptic_evaluator.metrics import Evaluation, per_class_rows
from components.panoptic_evaluator.training_curves import Chart

_TEMPLATE = "report.html.j2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All a report shows.

    Attributes:
        candidate: the evaluated model's numbers.
        baseline: the numbers of the model that was blessed last, if the two were compared.
        verdict: the gate's decision.
        best: images with the highest PQ.
        worst: images with the lowest PQ.
        charts: training curves; empty if the model brought no history.
        kept_aside: number of records that the ingestion kept aside, by reason.
        about: further facts as label and value.
    """

    candidate: Evaluation
    baseline: Evaluation | None
    verdict: Verdict
    best: Sequence[GalleryImage]
    worst: Sequence[GalleryImage]
    charts: Sequence[Chart]
    kept_aside: Mapping[str, int]
    about: Sequence[tuple[str, str]]


def render_report(report: Report) -> str:
    """The report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = format_score
    environment.filters["change"] = format_change
    return environment.get_template(_TEMPLATE).render(
        report=report,
        headline=headline_rows(report.candidate, report.baseline),
        found=found_sentence(report.candidate),
        classes=class_rows(report.candidate, report.baseline),
        num_unseen=int((~report.candidate.quality.per_class.seen).sum()),
        facts=data_facts(report.candidate),
    )


def format_score(score: float | None) -> str:
    """A fraction with three digits; a dash where there is none."""
    return "–" if score is None else f"{score:.3f}"


def format_change(change: float | None) -> str:
    """A change of a fraction with its sign; a dash where there is none."""
    if change is None:
        return "–"
    return "±0.000" if abs(change) < 0.0005 else f"{change:+.3f}".replace("-", "−")


def headline_rows(candidate: Evaluation, baseline: Evaluation | None) -> list[dict[str, object]]:
    """PQ, SQ and RQ over all classes, things and stuff, with the change of PQ against the baseline.

    A group without a class that was seen has None for every score.
    """
    rows = []
    for label, name in (("All", "all"), ("Things", "things"), ("Stuff", "stuff")):
        mean = getattr(candidate.quality, name)
        before = getattr(baseline.quality, name) if baseline is not None else None
        row: dict[str, object] = {"label": label, "num_classes": mean.num_classes}
        row |= {key: getattr(mean, key) if mean.num_classes else None for key in ("pq", "sq", "rq")}
        row["change"] = mean.pq - before.pq if before is not None and mean.num_classes else None
        rows.append(row)
    return rows


def class_rows(candidate: Evaluation, baseline: Evaluation | None) -> list[dict[str, object]]:
    """The classes that were seen: things before stuff, each best first."""
    rows = []
    for row in per_class_rows(candidate):
        if row["pq"] is None:
            continue
        index = row["class_index"]
        before = baseline.quality.per_class if baseline is not None else None
        row["change"] = None
        if before is not None and before.seen[index]:
            row["change"] = row["pq"] - float(before.pq[index])
        row["color"] = css_color(candidate.categories, index)
        rows.append(row)
    return sorted(rows, key=lambda row: (not row["isthing"], -row["pq"], row["name"]))


def found_sentence(evaluation: Evaluation) -> str:
    """What the counts behind PQ say, in words."""
    counts = evaluation.counts
    found, missed = int(counts.true_positives.sum()), int(counts.false_negatives.sum())
    false = int(counts.false_positives.sum())
    if not found + missed:
        return f"The truth has no segment to find; {false:,} predicted segments match nothing."
    share = f"{100 * found / (found + missed):.0f} %"
    return (
        f"Of {found + missed:,} true segments {found:,} were found ({share}), {missed:,} were missed, and {false:,} "
        "predicted segments match nothing. A segment counts as found when it overlaps a predicted one of its class by "
        "more than half of their union."
    )


def data_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Facts about the evaluated images, as label and value."""
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
