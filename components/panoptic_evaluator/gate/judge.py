"""Judges whether a model may be pushed, with every reason as data and in words.

Two rules always apply. The headline score (PQ, or mIoU or AP for other tasks) must reach an absolute floor. And it must
not be below the last blessed model's on the same images by more than an allowed drop, with confidence or by its value.
The user's rules are added (`rules`). If there is nothing to compare with (first model, other classes, the same model
again), the outcome says so and only floors decide. An unknown score does not pass. `analysis` computes the scores.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterator
from typing import Any

from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.rules import EVERY, NOT_WORSE, Rule
from components.panoptic_evaluator.scoring.analysis import ALL_IMAGES, Analysis, Slice
from components.panoptic_evaluator.scoring.bootstrap import Interval
from components.panoptic_evaluator.scoring.headline import OF_TASK, Headline
from maskformer_model.config import PANOPTIC
from maskformer_model.metrics.average_precision import NAMES as AP_NAMES


class Outcome(enum.Enum):
    """The result of the comparison with the last blessed model."""

    FIRST_MODEL = "first_model"
    SAME_MODEL = "same_model"
    OTHER_CATEGORIES = "other_categories"
    BETTER = "better"
    NOT_DIFFERENT = "not_different"
    WORSE = "worse"
    NO_IMAGES = "no_images"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reason:
    """The result of one rule.

    Attributes:
        rule: `evaluated`, `pq_floor`, `allowed_drop`, or the text of a rule of the user.
        passed: True, False, or None if the rule does not apply.
        words: The result as a sentence.
        value: The number that was judged, if there is one.
        bound: The smallest value that would have passed, if there is one.
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
        outcome: The result of the comparison.
        reasons: Every rule's result, also if it passed.
    """

    blessed: bool
    outcome: Outcome
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as a json object; a number that json cannot hold becomes null."""
        reasons = [dataclasses.asdict(reason) for reason in self.reasons]
        for reason in reasons:
            reason["value"] = reason["value"] if _is_number(reason["value"]) else None
        return {"blessed": self.blessed, "outcome": self.outcome.value, "reasons": reasons}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoBaseline:
    """The reason why there is nothing to compare with.

    Attributes:
        outcome: `FIRST_MODEL`, `SAME_MODEL` or `OTHER_CATEGORIES`.
        detail: More about the reason, as a clause.
    """

    outcome: Outcome
    detail: str = ""


def judge(
    analysis: Analysis, no_baseline: NoBaseline | None, config: GateConfig, headline: Headline = OF_TASK[PANOPTIC]
) -> Verdict:
    """Applies the rules and returns the verdict.

    Args:
        analysis: The candidate's scores and, if it was compared, their changes.
        no_baseline: Why it was not compared; None if it was.
        config: The thresholds.
        headline: The score that floor and drop apply to.

    Raises:
        ValueError: if a rule names an unknown score, class or group, or the analysis was not compared but should be.
    """
    if analysis.compared != (no_baseline is None):
        raise ValueError(f"Either the analysis has a baseline or `no_baseline` says why not. Received: {no_baseline}")
    rules = [Rule.parse(text) for text in config.rules]
    for rule in rules:
        _check_names(rule, analysis)
    if analysis.all_images.num_images == 0:
        words = "The evaluated split has no images, so the model cannot be judged."
        return Verdict(
            blessed=False, outcome=Outcome.NO_IMAGES, reasons=(Reason(rule="evaluated", passed=False, words=words),)
        )
    scores, changes = analysis.all_images.result.scores, analysis.all_images.result.changes
    score = scores.get(headline.metric, Interval(value=math.nan))
    reasons = [_check_floor(headline.label, score.value, config.pq_floor)]
    if no_baseline is not None:
        outcome = no_baseline.outcome
        reasons.append(_explain_absence(no_baseline))
    else:
        change = changes.get(headline.metric, Interval(value=math.nan))
        outcome = _outcome(change)
        reasons.append(_check_drop(headline.label, score, change, config, analysis.confidence))
    for rule in rules:
        reasons.extend(_apply(rule, analysis, no_baseline))
    blessed = all(reason.passed is not False for reason in reasons)
    return Verdict(blessed=blessed, outcome=outcome, reasons=tuple(reasons))


def _outcome(change: Interval) -> Outcome:
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return Outcome.NOT_DIFFERENT
    return Outcome.BETTER if change.low > 0 else Outcome.WORSE


def _check_floor(label: str, score: float, floor: float) -> Reason:
    passed = score >= floor
    if passed and floor == 0.0:
        words = f"The floor is 0, so any model passes it; this model's {label} is {score:.4f}."
    elif passed:
        words = f"{label} {score:.4f} reaches the floor of {floor:.4f}."
    else:
        words = f"{label} {score:.4f} does not reach the floor of {floor:.4f}."
    return Reason(rule="pq_floor", passed=passed, words=words, value=score, bound=floor)


def _explain_absence(baseline: NoBaseline) -> Reason:
    detail = f": {baseline.detail}" if baseline.detail else ""
    sentences = {
        Outcome.FIRST_MODEL: "No model was blessed before this one, so there is nothing to compare it with.",
        Outcome.SAME_MODEL: "This is the last blessed model, so there is no change to judge.",
        Outcome.OTHER_CATEGORIES: f"The last blessed model cannot be compared{detail or ': its classes differ'}.",
    }
    return Reason(rule="allowed_drop", passed=None, words=sentences[baseline.outcome])


def _check_drop(label: str, score: Interval, change: Interval, config: GateConfig, confidence: float) -> Reason:
    bound, sure = -config.allowed_drop, config.significance == NOT_WORSE
    judged = change.lower_bound if sure else change.value
    passed = judged is not None and judged >= bound
    moved = "no change" if change.value == 0 else f"{abs(change.value):.4f} {'more' if change.value > 0 else 'less'}"
    words = (
        f"{label} {score.value:.4f} against {score.value - change.value:.4f} of the last blessed model, "
        f"on the same images: {moved}"
    )
    allowed = f"a drop of {config.allowed_drop:.4f} is allowed"
    if not sure:
        words += "." if passed and change.value >= 0 else f", where {allowed}."
    elif judged is None:
        words += f". Too few images to say with {confidence:.0%} confidence that it is not worse."
    else:
        surely = f"With {confidence:.0%} confidence the change is at least {_signed(judged)}"
        words += f". {surely}, where {allowed}." if passed else f". {surely}, where only {allowed}."
    return Reason(rule="allowed_drop", passed=passed, words=words, value=judged, bound=bound)


def _check_names(rule: Rule, analysis: Analysis) -> None:
    layout = analysis.layout
    known = (*layout.names, *(AP_NAMES if not rule.slice_name else ()))
    if rule.metric not in known:
        raise ValueError(f"A gate rule must name one of {list(known)}. Received: {rule.text!r}")
    if rule.class_name and rule.class_name != EVERY and rule.class_name not in layout.categories.names:
        raise ValueError(f"A gate rule must name a class of the data set. Received: {rule.text!r}")
    attributes = sorted({part.name.partition("=")[0] for part in analysis.slices[1:]})
    attribute = rule.slice_name.partition("=")[0]
    if rule.slice_name and analysis.all_images.num_images and not attributes:
        raise ValueError(f"A gate rule about slices needs an attribute to slice by. Received: {rule.text!r}")
    if rule.slice_name not in ("", EVERY) and attributes and attribute not in attributes:
        raise ValueError(f"A gate rule must name a slice by one of {attributes}. Received: {rule.text!r}")


def _apply(rule: Rule, analysis: Analysis, no_baseline: NoBaseline | None) -> Iterator[Reason]:
    """Yields a rule's results: one reason, or one per slice or class that it names."""
    if rule.allowed_loss is not None and no_baseline is not None:
        words = f"`{rule.text}` does not apply, because there is no comparable model."
        yield Reason(rule=rule.text, passed=None, words=words)
        return
    found = False
    for part in analysis.slices if rule.slice_name else analysis.slices[:1]:
        if rule.slice_name and rule.slice_name != part.name and not (rule.slice_name == EVERY and part.name):
            continue
        for where, interval in _judged_intervals(rule, part, analysis):
            found = True
            yield _judge_interval(rule, f"{_in_words(rule.metric)}{where}", interval, analysis.confidence)
    if not found and EVERY not in (rule.class_name, rule.slice_name):
        yield Reason(
            rule=rule.text, passed=False, words=f"`{rule.text}`: there is nothing to judge, so the rule fails."
        )


def _judged_intervals(rule: Rule, part: Slice, analysis: Analysis) -> Iterator[tuple[str, Interval]]:
    result = part.result
    where = f" in {part.name}" if part.name != ALL_IMAGES else ""
    if not rule.class_name:
        chosen = (result.scores if rule.floor is not None else result.changes).get(rule.metric)
        if chosen is not None:
            yield where, chosen
        return
    per_class = result.per_class if rule.floor is not None else result.per_class_changes
    for name, interval in zip(analysis.layout.categories.names, per_class, strict=True):
        if interval is not None and rule.class_name in (EVERY, name):
            yield f" of {name}{where}", interval


def _judge_interval(rule: Rule, what: str, interval: Interval, confidence: float) -> Reason:
    judged = interval.lower_bound if rule.surely else interval.value
    bound = rule.floor if rule.floor is not None else -(rule.allowed_loss or 0.0)
    passed = judged is not None and judged >= bound
    if judged is None:
        words = f"{what}: too few images to decide with {confidence:.0%} confidence."
    else:
        sure = f"is with {confidence:.0%} confidence at least" if rule.surely else "is"
        number = f"{judged:.4f}" if rule.floor is not None else _signed(judged)
        subject = what if rule.floor is not None else f"The change of {what}"
        limit = f"a floor of {bound:.4f}" if rule.floor is not None else f"an allowed loss of {-bound:.4f}"
        words = f"{subject} {sure} {number}, with {limit}."
    return Reason(rule=rule.text, passed=passed, words=words, value=judged, bound=bound)


def _in_words(metric: str) -> str:
    """Returns a score's name in a sentence: `pq_things` is "PQ things"."""
    first, *rest = metric.split("_")
    return " ".join([first.upper() if first in ("pq", "sq", "rq") or first.startswith("ap") else first, *rest])


def _signed(change: float) -> str:
    return f"{change:+.4f}".replace("-", "−")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
