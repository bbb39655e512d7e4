"""Turns a model's training history into small line charts, as the points of an inline SVG.

There is one chart per quantity, because losses differ by magnitudes; a validation value shares the chart of its
quantity. The copies that deep supervision makes of each loss (`loss_ce_0`, ...) are left out. The template draws them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from maskformer_model.config.scores import is_score

WIDTH, HEIGHT = 320, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 24
_MAX_POINTS = 240
_NOT_CURVES = {"step", "epoch", "seconds"}
_SUPERVISION_COPY = re.compile(r"_\d+$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        name: The name of the quantity.
        points: The `x,y` pairs of an SVG polyline.
        first: The first value.
        last: The last value.
        is_validation: Whether it is a quantity of the validation data.
    """

    name: str
    points: str
    first: float
    last: float
    is_validation: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis: its place in the SVG and its text."""

    position: float
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """One quantity over the steps of training.

    Attributes:
        title: The name of the quantity.
        lines: The training line, the validation line, or both.
        x_ticks: The marks of the step axis.
        y_ticks: The marks of the value axis.
    """

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def plot_area(self) -> tuple[int, int, int, int]:
        """Returns left, top, right and bottom edge of the area between the axes."""
        return _LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM

    @property
    def words(self) -> str:
        """Returns a description of the chart for screen readers."""
        return "; ".join(f"{line.name} from {line.first:.3g} to {line.last:.3g}" for line in self.lines)


def training_charts(history: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Returns the charts of a training history.

    Args:
        history: The rows, with `step` and any quantities by name; values that are not finite numbers are left out.

    Returns:
        The total loss, then its parts, then other quantities, each by name; a quantity needs two values.
    """
    names = {name for row in history for name in row if name not in _NOT_CURVES and not _SUPERVISION_COPY.search(name)}
    titles = sorted(
        {name.removeprefix("val_") for name in names}, key=lambda name: (name != "loss", "loss" not in name, name)
    )
    charts = [_chart(title, history) for title in titles]
    return [chart for chart in charts if chart is not None]


def _chart(title: str, history: Sequence[Mapping[str, float]]) -> Chart | None:
    series = {}
    for name in (title, f"val_{title}"):
        values = [(float(row["step"]), row[name]) for row in history if "step" in row and _is_finite(row.get(name))]
        if len(values) > 1:
            series[name] = thin_out(values, _MAX_POINTS)
    if not series:
        return None
    steps = [step for values in series.values() for step, _ in values]
    numbers = [number for values in series.values() for _, number in values]
    low, high = min(numbers), max(numbers)
    if low == high:  # Puts a flat line in the middle.
        low, high = low - abs(low or 1) / 2, high + abs(high or 1) / 2
    x_marks = round_marks(min(steps), max(steps), 4)
    y_marks = round_marks(low, high, 3)
    x_range = min(steps), max(steps)
    y_range = min(y_marks[0], low), max(y_marks[-1], high)
    return Chart(
        title=title,
        lines=tuple(_line(name, values, x_range, y_range) for name, values in series.items()),
        x_ticks=tuple(Tick(position=_x(mark, x_range), text=_mark_text(mark)) for mark in x_marks
                      if x_range[0] <= mark <= x_range[1]),
        y_ticks=tuple(Tick(position=_y(mark, y_range), text=_mark_text(mark)) for mark in y_marks),
    )  # fmt: skip


def _line(name: str, values: list[tuple[float, float]], x_range, y_range) -> Line:
    return Line(
        name=name,
        points=" ".join(f"{_x(step, x_range):.1f},{_y(number, y_range):.1f}" for step, number in values),
        first=values[0][1],
        last=values[-1][1],
        is_validation=name.startswith("val_") or is_score(name),
    )


def _x(step: float, x_range: tuple[float, float]) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (step - x_range[0]) / ((x_range[1] - x_range[0]) or 1)


def _y(number: float, y_range: tuple[float, float]) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (number - y_range[0]) / ((y_range[1] - y_range[0]) or 1)


def thin_out(values: Sequence[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """Returns at most `limit` points: means over equal stretches, with the first and the last point unchanged."""
    if len(values) <= limit:
        return list(values)
    inner = values[1:-1]
    edges = [round(index * len(inner) / (limit - 2)) for index in range(limit - 1)]
    means = []
    for start, stop in zip(edges, edges[1:], strict=False):
        stretch = inner[start:stop]
        means.append(tuple(sum(column) / len(stretch) for column in zip(*stretch, strict=True)))
    return [values[0], *means, values[-1]]


def round_marks(low: float, high: float, count: int) -> list[float]:
    """Returns about `count` round numbers that cover `low` to `high`: 1, 2 or 5 times a power of ten, and multiples."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    size = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / count * 0.999)
    return [index * size for index in range(math.floor(low / size), math.ceil(high / size) + 1)]


def _mark_text(mark: float) -> str:
    if mark and abs(mark) < 0.001:
        return f"{mark:.0e}".replace("e-0", "e-")
    return f"{mark / 1000:g}k" if abs(mark) >= 1000 else f"{mark:.4g}"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
