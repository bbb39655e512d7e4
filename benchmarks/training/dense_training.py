"""A training step with many targets beside one with few, and point losses beside exact ones, by size of the crops."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import dense_step
from benchmarks.contestants.turns import Contestant, in_turns
from benchmarks.row import Row, main

TURNS = 5
FEW, MANY = "exact-12-256", "exact-150-256"
EDGES_PX = (256, 320, 384, 512)  # Points are fewer than pixels, but each costs more: they pay in large crops.
MOST_FOR_MANY = 1.5
STEP = "training step, EfficientNet-Lite0, 150 queries"


def measure() -> Iterator[Row]:
    """Processor time and peak memory of processes in turns: framework, weights and optimizer included."""
    few, many = _in_turns(FEW, MANY)
    what = "exact losses, 150 targets, 256x256, batch 4"
    bar = f"at most {MOST_FOR_MANY} of the time with 12"
    yield _row(what, "s", _least(many), _least(few), "12 targets", bar, MOST_FOR_MANY)
    bar = f"at most {MOST_FOR_MANY} of the memory with 12"
    yield _row(what, "GiB", many.peak_gib, few.peak_gib, "12 targets", bar, MOST_FOR_MANY)
    for edge_px in EDGES_PX:
        exact, points = _in_turns(f"exact-150-{edge_px}", f"points-150-{edge_px}")
        what = f"3,000 points, 150 targets, {edge_px}x{edge_px}"
        bar = "no more than exact losses"
        yield _row(what, "s", _least(points), _least(exact), "exact losses", bar, 1.0)
        yield _row(what, "GiB", points.peak_gib, exact.peak_gib, "exact losses", bar, 1.0)


def _in_turns(*tasks: str) -> list[Contestant]:
    return in_turns([(dense_step, task) for task in tasks], TURNS)


def _least(step: Contestant) -> float:
    return min(step.processor_seconds)


def _row(what: str, unit: str, ours: float, other: float, other_name: str, bar: str, most: float) -> Row:
    return Row(
        name=f"{STEP}, {what}",
        ours=ours,
        unit=unit,
        peer=other,
        peer_name=other_name,
        bar=bar,
        passed=ours <= most * other,
        remark=f"least of {TURNS} turns, two threads; processor time" if unit == "s" else "of the whole process",
    )


if __name__ == "__main__":
    main(measure)
