"""The gate's cases: floor, drop, first model, same model, other classes, nothing evaluated."""

from __future__ import annotations

import json

import pytest

from components.panoptic_evaluator.gate import GateConfig, NoBaseline, Outcome, judge

FIRST = NoBaseline(outcome=Outcome.FIRST_MODEL)


def test_a_first_model_at_the_floor_is_blessed():
    verdict = judge(0.25, 10, FIRST, GateConfig(pq_floor=0.25))
    assert verdict.blessed
    assert verdict.outcome is Outcome.FIRST_MODEL
    assert [(reason.rule, reason.passed) for reason in verdict.reasons] == [("pq_floor", True), ("allowed_drop", None)]


def test_a_first_model_below_the_floor_is_not_blessed():
    verdict = judge(0.2499, 10, FIRST, GateConfig(pq_floor=0.25))
    assert not verdict.blessed
    assert "does not reach the floor of 0.2500" in verdict.reasons[0].words


def test_a_floor_of_zero_passes_and_says_that_it_means_nothing():
    verdict = judge(0.0, 10, FIRST, GateConfig())
    assert verdict.blessed
    assert "says nothing" in verdict.reasons[0].words


@pytest.mark.parametrize(
    ("pq", "allowed_drop", "blessed"),
    [(0.6, 0.0, True), (0.5, 0.0, True), (0.4999, 0.0, False), (0.4999, 0.01, True), (0.48, 0.01, False)],
)
def test_a_model_may_not_fall_further_than_the_allowed_drop(pq, allowed_drop, blessed):
    verdict = judge(pq, 10, 0.5, GateConfig(allowed_drop=allowed_drop))
    assert verdict.blessed is blessed
    assert verdict.outcome is (Outcome.NOT_BELOW_BASELINE if blessed else Outcome.BELOW_BASELINE)
    assert verdict.reasons[1].value == pq
    assert verdict.reasons[1].bound == 0.5 - allowed_drop


def test_a_better_model_below_the_floor_is_not_blessed_and_both_reasons_are_given():
    verdict = judge(0.3, 10, 0.2, GateConfig(pq_floor=0.5))
    assert not verdict.blessed
    assert [reason.passed for reason in verdict.reasons] == [False, True]


def test_the_last_blessed_model_itself_is_judged_by_the_floor_alone():
    same = NoBaseline(outcome=Outcome.SAME_MODEL)
    assert judge(0.5, 10, same, GateConfig(pq_floor=0.4)).blessed
    assert not judge(0.5, 10, same, GateConfig(pq_floor=0.6)).blessed


def test_a_baseline_with_other_classes_is_named_and_not_compared():
    verdict = judge(0.1, 10, NoBaseline(outcome=Outcome.OTHER_CATEGORIES, detail="class 3 is new"), GateConfig())
    assert verdict.blessed
    assert verdict.outcome is Outcome.OTHER_CATEGORIES
    assert "class 3 is new" in verdict.reasons[1].words


def test_without_images_nothing_is_blessed():
    verdict = judge(0.0, 0, FIRST, GateConfig())
    assert not verdict.blessed
    assert verdict.outcome is Outcome.NO_IMAGES


def test_nan_never_passes_and_is_null_in_json():
    verdict = judge(float("nan"), 10, 0.0, GateConfig())
    assert not verdict.blessed
    document = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert [reason["value"] for reason in document["reasons"]] == [None, None]


@pytest.mark.parametrize("thresholds", [{"pq_floor": 1.5}, {"pq_floor": float("nan")}, {"allowed_drop": -0.1}])
def test_thresholds_outside_zero_to_one_are_refused(thresholds):
    with pytest.raises(ValueError, match=f"`{next(iter(thresholds))}` must be in 0..1"):
        GateConfig(**thresholds)
