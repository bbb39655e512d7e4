"""A chart of a score over steps or milliseconds, as an SVG: both axes begin at 0 and have round marks."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from components.panoptic_evaluator.report.training_curves import round_marks

COLORS = ("#0b66c3", "#c2410c", "#15803d", "#7e22ce", "#404040", "#b45309", "#0e7490")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 320, 52, 30, 44
LETTER_PX = 7  # What a letter is at most wide, on average.


class Chart:
    """Axes, and what is drawn between them.

    Args:
        xs: All values of the horizontal axis, at least one positive.
        ys: All values of the vertical axis.
        x_label: The name of the horizontal axis.
        y_label: The name of the vertical axis.
        margin_px: What stays free on the right, for words.
    """

    def __init__(self, xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str, *, margin_px: int):
        self.right_px, self._floor_px = WIDTH - margin_px, HEIGHT - BOTTOM
        self._parts: list[str] = []
        x_marks, y_marks = round_marks(0.0, max(xs), 5), round_marks(0.0, max(ys), 5)
        self._last_x, self._last_y = x_marks[-1], y_marks[-1] or 1.0
        for mark in y_marks:
            _, y = self.place(0, mark)
            self._parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{self.right_px}" y2="{y:.1f}" stroke="#d4d4d4"/>')
            self.write(LEFT - 6, y + 4, f"{mark:.3g}", anchor="end")
        for mark in x_marks:
            self.write(self.place(mark, 0)[0], self._floor_px + 16, f"{mark:g}", anchor="middle")
        self.write((LEFT + self.right_px) / 2, HEIGHT - 8, x_label, anchor="middle")
        self.write(LEFT, TOP - 14, y_label, anchor="middle")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Returns where a point lies, in px from the left and from the top."""
        height_px = (self._floor_px - TOP) * y / self._last_y
        return LEFT + (self.right_px - LEFT) * x / self._last_x, self._floor_px - height_px

    def write(self, x_px: float, y_px: float, words: str, *, anchor: str = "start", color: str = "black") -> None:
        """Writes words at a place in px."""
        place = f'x="{x_px:.1f}" y="{y_px:.1f}" text-anchor="{anchor}" fill="{color}"'
        self._parts.append(f"<text {place}>{escape(words)}</text>")

    def dot(self, x_px: float, y_px: float, color: str) -> None:
        """Draws a dot at a place in px."""
        self._parts.append(f'<circle cx="{x_px:.1f}" cy="{y_px:.1f}" r="3" fill="{color}"/>')

    def line(self, points: Sequence[tuple[float, float]], color: str) -> list[tuple[float, float]]:
        """Draws points, given by their values, and a line through them; returns their places in px."""
        places = [self.place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for x, y in places:
            self.dot(x, y, color)
        return places

    def svg(self) -> str:
        """Returns the chart as the text of a file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(self._parts)}</svg>\n'
        )
