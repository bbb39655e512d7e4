"""The gate: whether a model may be pushed, with every reason as data and in words.

Two rules decide: PQ reaches an absolute floor, and PQ is not below the last blessed model's on the same images by more
than an allowed drop. Where there is nothing to compare with (first model, other classes, the same model again) the
outcome says so and the floor alone decides. Where PQ comes from is left to the metric step.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any


class Outcome(enum.Enum):
    """What the model was compared with, and how that went."""

    FIRST_MODEL = "first_model"
    SAME_MODEL = "same_model"
    OTHER_CATEGORIES = "other_categories"
    NOT_BELOW_BASELINE = "not_below_baseline"
    BELOW_BASELINE = "below_baseline"
    NO_IMAGES = "no_images"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The gate's thresholds.

    Attributes:
        pq_floor: smallest PQ that passes, 0..1; 0 lets every model pass.
        allowed_drop: how far PQ may be below the last blessed model's, 0..1.

    Raises:
        ValueError: if a threshold is outside 0..1.
    """

    pq_floor: float = 0.0
    allowed_drop: float = 0.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"`{name}` must be in 0..1. Received: {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
    """One rule and what it found.

    Attributes:
        rule: `evaluated`, `pq_floor` or `allowed_drop`.
        passed: True, False, or None where the rule does not apply.
        words: the finding as a sentence.
        value: the number that was judged, where there is one.
        bound: the smallest value that would have passed, where there is one.
    """

    rule: str
    passed: bool | None
    words: str
    value: float | None = None
    bound: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The gate's decision.

    Attributes:
        blessed: True if no rule failed.
        outcome: what the model was compared with.
        reasons: every rule, also those that passed.
    """

    blessed: bool
    outcome: Outcome
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """The verdict as a json object; a number that json cannot hold becomes null."""
        reasons = [dataclasses.asdict(reason) for reason in self.reasons]
        for reason in reasons:
            reason["value"] = reason["value"] if _is_number(reason["value"]) else None
        return {"blessed": self.blessed, "outcome": self.outcome.value, "reasons": reasons}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoBaseline:
    """Why there is nothing to compare with.

    Attributes:
        outcome: `FIRST_MODEL`, `SAME_MODEL` or `OTHER_CATEGORIES`.
        detail: more about it, as a clause.
    """

    outcome: Outcome
    detail: str = ""


def judge(pq: float, num_images: int, baseline: float | NoBaseline, config: GateConfig) -> Verdict:
    """Applies the rules.

    Args:
        pq: the candidate's PQ over all classes, 0..1. NaN never passes.
        num_images: number of images it was computed from; without any the model is never blessed.
        baseline: PQ of the model that was blessed last on the same images, or why there is none.
        config: the thresholds.
    """
    if num_images == 0:
        words = "The evaluated split has no images, so nothing is known about this model."
        return Verdict(
            blessed=False, outcome=Outcome.NO_IMAGES, reasons=(Reason(rule="evaluated", passed=False, words=words),)
        )
    if isinstance(baseline, NoBaseline):
        outcome, comparison = baseline.outcome, _explain_absence(baseline)
    else:
        comparison = _check_drop(pq, baseline, config.allowed_drop)
        outcome = Outcome.NOT_BELOW_BASELINE if comparison.passed else Outcome.BELOW_BASELINE
    reasons = (_check_floor(pq, config.pq_floor), comparison)
    return Verdict(blessed=all(reason.passed is not False for reason in reasons), outcome=outcome, reasons=reasons)


def _check_floor(pq: float, floor: float) -> Reason:
    passed = pq >= floor
    if passed and floor == 0.0:
        words = f"The floor is 0, which any model reaches: passing it says nothing about this PQ of {pq:.4f}."
    elif passed:
        words = f"PQ {pq:.4f} reaches the floor of {floor:.4f}."
    else:
        words = f"PQ {pq:.4f} does not reach the floor of {floor:.4f}."
    return Reason(rule="pq_floor", passed=passed, words=words, value=pq, bound=floor)


def _explain_absence(baseline: NoBaseline) -> Reason:
    detail = f": {baseline.detail}" if baseline.detail else ""
    sentences = {
        Outcome.FIRST_MODEL: "No model was blessed before this one, so there is nothing to compare it with.",
        Outcome.SAME_MODEL: "This is the model that was blessed last, so there is no change to judge.",
        Outcome.OTHER_CATEGORIES: f"The model that was blessed last is not comparable, its classes differ{detail}.",
    }
    return Reason(rule="allowed_drop", passed=None, words=sentences[baseline.outcome])


def _check_drop(pq: float, baseline_pq: float, allowed_drop: float) -> Reason:
    bound = baseline_pq - allowed_drop
    passed = pq >= bound
    change = pq - baseline_pq
    moved = "no change" if change == 0 else f"{abs(change):.4f} {'more' if change > 0 else 'less'}"
    words = f"PQ {pq:.4f} against {baseline_pq:.4f} of the model that was blessed last, on the same images: {moved}"
    words += "." if passed and change >= 0 else f", where a drop of {allowed_drop:.4f} is allowed."
    return Reason(rule="allowed_drop", passed=passed, words=words, value=pq, bound=bound)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
