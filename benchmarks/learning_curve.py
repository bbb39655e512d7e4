"""A score over the steps of one or more trainings: `python -m benchmarks.learning_curve NAME=FOLDER ... --figure FILE`.

Not among the measurements of `python -m benchmarks`: it reads what trainings left (`training_history.json` of a
`--model_dir`, or of a pushed model's `assets.extra`), prints a row per evaluation and draws all trainings in one chart.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence

from benchmarks.learning.chart import COLORS, LETTER_PX, Chart
from maskformer_model.config.files import EXTRA_ASSETS_FOLDER, HISTORY_FILE

HISTORY = (HISTORY_FILE, f"{EXTRA_ASSETS_FOLDER}/{HISTORY_FILE}")

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
    """Returns one chart of all curves as an SVG, from step and score 0 on, each with its last value."""
    names = {name: f"{name} {curve[-1][1]:.3f}" for name, curve in curves.items()}
    steps, values = zip(*(point for curve in curves.values() for point in curve), strict=True)
    margin_px = LETTER_PX * max(map(len, names.values())) + 16
    chart = Chart(steps, values, "step", score.upper(), margin_px=margin_px)
    for (name, curve), color in zip(curves.items(), itertools.cycle(COLORS), strict=False):
        *_, (x, y) = chart.line(curve, color)
        chart.write(x + 8, y + 4, names[name], color=color)
    return chart.svg()


if __name__ == "__main__":
    sys.exit(main())
