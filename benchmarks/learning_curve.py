"""A score over the steps of one or more trainings: `python -m benchmarks.learning_curve NAME=FOLDER ... --figure FILE`.

Not among the measurements of `python -m benchmarks`: it reads what trainings left (`training_history.json` of a
`--model_dir`, or of a pushed model's `assets.extra`), prints a row per evaluation and draws all trainings in one chart.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from components.panoptic_evaluator.report.training_curves import round_marks
from maskformer_model.config.files import EXTRA_ASSETS_FOLDER, HISTORY_FILE

HISTORY = (HISTORY_FILE, f"{EXTRA_ASSETS_FOLDER}/{HISTORY_FILE}")
COLORS = ("#0b66c3", "#c2410c", "#15803d", "#7e22ce")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 312, 48, 42, 26

Curve = Sequence[tuple[float, float]]


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trainings", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--score", default="pq", help="a name in the histories (default: pq)")
    parser.add_argument("--figure", type=pathlib.Path, help="an SVG file to write")
    options = parser.parse_args(arguments)
    curves: dict[str, Curve] = {}
    for training in options.trainings:
        name, separator, folder = training.partition("=")
        if not separator:
            parser.error(f"A training must be given as NAME=FOLDER. Received: {training}")
        rows = [row for row in read_history(pathlib.Path(folder)) if options.score in row]
        if not rows:
            parser.error(f"{folder} has no `{options.score}`: train with `trainer.validation_interval` above 0")
        curves[name] = [(row["step"], row[options.score]) for row in rows]
        for row in rows:
            print(f"{name:24s} step {int(row['step']):6d}  {row['seconds']:8.0f} s  {row[options.score]:.4f}")
    if options.figure:
        options.figure.write_text(draw(curves, options.score), encoding="utf-8")
    return 0


def read_history(folder: pathlib.Path) -> list[dict[str, float]]:
    """Returns the rows of a training's history.

    Raises:
        FileNotFoundError: if the folder has none.
    """
    for name in HISTORY:
        if (folder / name).exists():
            return json.loads((folder / name).read_text("utf-8"))
    raise FileNotFoundError(f"A training's folder must hold one of {HISTORY}. Received: {folder}")


def draw(curves: Mapping[str, Curve], score: str) -> str:
    """One chart of all curves as an SVG, from step and score 0 on, each with its last value."""
    last_step = max(step for curve in curves.values() for step, _ in curve)
    marks = round_marks(0.0, max(value for curve in curves.values() for _, value in curve), 5)
    right, floor = WIDTH - 150, HEIGHT - BOTTOM

    def place(step: float, value: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * step / last_step, floor - (floor - TOP) * value / (marks[-1] or 1.0)

    parts = []
    for mark in marks:
        _, y = place(0, mark)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#d4d4d4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:.3g}</text>')
    for mark in (m for m in round_marks(0, last_step, 5) if m <= last_step):
        x, _ = place(mark, 0)
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{mark:g}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">step</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 14}" text-anchor="end">{escape(score.upper())}</text>')
    for (name, curve), color in zip(curves.items(), COLORS, strict=False):
        places = [place(*point) for point in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{color}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{color}">{escape(name)} {curve[-1][1]:.3f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    sys.exit(main())
