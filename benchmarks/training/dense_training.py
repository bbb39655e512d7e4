"""A training step with many targets beside one with few, and point losses beside exact ones; 256x256, batch 4."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.contestants import dense_step
from benchmarks.contestants.turns import Contestant
from benchmarks.row import Row, main

TURNS = 5
FEW, MANY, POINTS = "exact-12", "exact-150", "points-150"
MOST_FOR_MANY = 1.5
STEP = "training step, EfficientNet-Lite0, 150 queries, 256x256, batch 4"


def measure() -> Iterator[Row]:
    """Processor time and peak memory of three processes in turns: framework, weights and optimizer included."""
    steps = {task: Contestant(dense_step, task) for task in (FEW, MANY, POINTS)}
    for _ in range(TURNS):
        for step in steps.values():
            step.run()
    for step in steps.values():
        step.close()
    few, many, points = steps.values()
    remark = f"least of {TURNS} turns, two threads; processor time"
    bar = f"at most {MOST_FOR_MANY} of the time with 12"
    yield _row("exact losses, 150 targets", "s", _least(many), _least(few), "12 targets", bar, MOST_FOR_MANY, remark)
    bar = f"at most {MOST_FOR_MANY} of the memory with 12"
    yield _row("exact losses, 150 targets", "GiB", many.peak_gib, few.peak_gib, "12 targets", bar, MOST_FOR_MANY)
    bar = "no more than exact losses"
    yield _row("3,000 points, 150 targets", "s", _least(points), _least(many), "exact losses", bar, 1.0, remark)
    yield _row("3,000 points, 150 targets", "GiB", points.peak_gib, many.peak_gib, "exact losses", bar, 1.0)


def _least(step: Contestant) -> float:
    return min(step.processor_seconds)


def _row(
    what: str, unit: str, ours: float, other: float, other_name: str, bar: str, most: float, remark: str = ""
) -> Row:
    name = f"{STEP}, {what}"
    passed = ours <= most * other
    return Row(name=name, ours=ours, unit=unit, peer=other, peer_name=other_name, bar=bar, passed=passed, remark=remark)


if __name__ == "__main__":
    main(measure)
