"""Writes `<root>/index.html`: every run of a root, its PQ over time, and which one serves now.

Each run's summary is a line of `<root>/runs.jsonl`. The page is made from these lines and written again after every
run. If `pipeline/retrain.py` runs in the root, the page also lists every span and its state. It links to reports by
relative paths, so a root can be moved or served as it is.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from components.html_pages import templates_of
from components.pushing import model_versions
from maskformer_model.coco_schema import is_number
from pipeline.local_run.json_lines import append_json_line, read_json_lines
from pipeline.whole_files import write_durably

INDEX_FILE = "index.html"
RUNS_FILE = "runs.jsonl"
_TEMPLATE = "index.html.j2"
SPANS_FILE = os.path.join("retrain", "last_pass.json")  # Below the root; `retraining.loop` writes it.
_KEPT = (
    *("run_id", "started", "seconds", "state", "failure", "experiment", "data", "data_fingerprint", "code"),
    *("span", "validates_only", "images", "pq", "pq_interval", "pq_change", "blessed", "outcome", "verdict"),
    *("pushed_model", "pushed_now", "report", "model_run"),
)
WIDTH, HEIGHT = 640, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 22
_INSET = 16  # The distance from the grid's ends to the first and last run, so that no point lies on a label.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A run in the chart.

    Attributes:
        x: The horizontal place in the SVG.
        y: The vertical place of its PQ.
        low: The vertical place of the interval's lower end; `y` if there is no interval.
        high: The vertical place of the interval's upper end.
        label: The run and its PQ in words.
        serves: Whether this run's model serves now.
        number: The number of the run, from 1.
    """

    x: float
    y: float
    low: float
    high: float
    label: str
    serves: bool
    number: int


def record_run(root: str, serving_dir: str, summary: Mapping[str, Any]) -> str:
    """Adds a run and writes the page again.

    Args:
        root: The folder of the runs.
        serving_dir: The folder of pushed models.
        summary: The summary of the run.

    Returns:
        The page's path.
    """
    append_json_line(os.path.join(root, RUNS_FILE), {key: summary.get(key) for key in _KEPT})
    return write_index(root, serving_dir)


def write_index(root: str, serving_dir: str) -> str:
    """Writes `<root>/index.html` from `<root>/runs.jsonl`, whole or not at all, and returns its path."""
    path = os.path.join(root, INDEX_FILE)
    write_durably(path, render_index(root, serving_dir))
    return path


def render_index(root: str, serving_dir: str) -> str:
    """Returns the page as HTML."""
    spans = _spans(pathlib.Path(root, SPANS_FILE))
    versions = model_versions.list_versions(serving_dir)
    serving = model_versions.version_dir(serving_dir, versions[-1]) if versions else None
    entries = read_json_lines(os.path.join(root, RUNS_FILE))
    # Lines of earlier versions lack newer fields.
    runs = [_row(number, dict.fromkeys(_KEPT) | run, root, serving) for number, run in enumerate(entries, start=1)]
    environment = templates_of(__file__)
    newest_that_serves = next((run for run in reversed(runs) if run["serves"]), None)
    return environment.get_template(_TEMPLATE).render(
        runs=runs[::-1],
        spans=spans[::-1],
        serving=newest_that_serves,
        serving_path=serving,
        points=chart_points(runs),
        size=(WIDTH, HEIGHT),
        area=(_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM),
    )


def chart_points(runs: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Returns the points of the runs with a PQ, in order; the chart's height is PQ from 0 to 1."""
    known = [run for run in runs if run["pq"] is not None]
    step = (WIDTH - _LEFT - _RIGHT - 2 * _INSET) / max(1, len(known) - 1)

    def y(pq: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * pq

    points = []
    for place, run in enumerate(known):
        low, high = run["pq_interval"] or (run["pq"], run["pq"])
        points.append(
            Point(
                x=_LEFT + _INSET + place * step,
                y=y(run["pq"]),
                low=y(low),
                high=y(high),
                label=f"Run {run['number']}: PQ {run['pq']:.3f}",
                serves=run["serves"],
                number=run["number"],
            )
        )
    return points


def _row(number: int, run: dict[str, Any], root: str, serving: str | None) -> dict[str, Any]:
    report = run["report"]
    if not report or not os.path.exists(report):
        run["report"] = None
    else:
        run["report"] = pathlib.Path(os.path.relpath(report, root)).as_posix()
    pushed = run["pushed_model"]
    serves = bool(serving and pushed and os.path.exists(pushed) and os.path.samefile(serving, pushed))
    return run | {"number": number, "serves": serves}


def _spans(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the spans that the last pass of the loop wrote; empty, with a warning, if the file is damaged."""
    if not path.exists():
        return []
    try:
        spans = list(json.loads(path.read_text(encoding="utf-8"))["spans"])
        if not all(map(_is_span, spans)):
            raise ValueError("a span lacks a field")
    except (ValueError, KeyError, TypeError, RecursionError):
        logging.warning("%s is damaged; the page shows no spans until the next pass writes it again.", path)
        return []
    return spans


def _is_span(entry: Any) -> bool:
    """Returns whether an entry can be shown."""
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), str) for key in ("span", "state", "reason")
    ):
        return False
    return "pq" in entry and (entry["pq"] is None or is_number(entry["pq"]))
