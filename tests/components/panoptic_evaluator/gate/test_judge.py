"""The gate's cases, as docs/evaluation.md lists them: floor, change, significance, rules, nothing to compare with."""

from __future__ import annotations

import dataclasses
import json

import pytest

from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.judge import NoBaseline, Outcome, judge
from components.panoptic_evaluator.gate.rules import POINT, Rule
from components.panoptic_evaluator.scoring.analysis import Analysis, analyze
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.evaluation import Evaluation, evaluation_from_files
from components.panoptic_evaluator.scoring.headline import OF_TASK
from maskformer_model.config import INSTANCE, SEMANTIC
from tests.components.image_lines import CATEGORIES, image_line, sums_text

FIRST = NoBaseline(outcome=Outcome.FIRST_MODEL)
SKY, CAT, DOG = 0, 1, 2


def evaluation(found_per_image: list[int], num_cats: int = 4) -> Evaluation:
    """Images of `num_cats` cats each, of which so many are found exactly; odd images are jpeg, even ones png."""
    lines = [
        image_line(
            str(number),
            rows=[[CAT, float(found), found, 0, num_cats - found]],
            attributes={"image/format": "jpeg" if number % 2 else "png"},
            pixels=[(CAT, CAT, 6 * found), (CAT, SKY, 6 * (num_cats - found))],
        )
        for number, found in enumerate(found_per_image, start=1)
    ]
    found, total = sum(found_per_image), num_cats * len(found_per_image)
    return evaluation_from_files(CATEGORIES, sums_text([[CAT, float(found), found, 0, total - found]]), lines)


def analysis(candidate: list[int], baseline: list[int] | None = None, **options) -> Analysis:
    config = AnalysisConfig(num_resamples=200, slices=("image/format",), **options)
    return analyze(evaluation(candidate), evaluation(baseline) if baseline is not None else None, config)


# PQ of found cats of a total: found / (total + missed) * 2 with these counts, that is found / ((found + total) / 2).
HALF = [2] * 20  # 40 of 80: 40 / 60.
MORE = [3] * 20  # 60 of 80: 60 / 70.
MIXED = [1, 3] * 10  # 40 of 80 again, but other images.


def test_a_semantic_model_is_judged_by_its_mean_iou():
    verdict = judge(analysis(MORE, HALF), None, GateConfig(pq_floor=0.38), OF_TASK[SEMANTIC])
    # Three quarters of the cats' pixels are right, the others are called sky, which is nowhere: (0.75 + 0) / 2.
    assert [reason.words for reason in verdict.reasons] == [
        "mIoU 0.3750 does not reach the floor of 0.3800.",
        "mIoU 0.3750 against 0.2500 of the last blessed model, on the same images: 0.1250 more. With 95% "
        "confidence the change is at least +0.1250, where a drop of 0.0000 is allowed.",
    ]
    assert (verdict.blessed, verdict.outcome) == (False, Outcome.BETTER)


def test_a_score_that_was_not_found_passes_no_floor():
    no_instance = dataclasses.replace(OF_TASK[INSTANCE], metric="ap_of_nothing")
    assert not judge(analysis(HALF), FIRST, GateConfig(), no_instance).blessed


def test_a_first_model_at_the_floor_is_blessed():
    verdict = judge(analysis(HALF), FIRST, GateConfig(pq_floor=40 / 60))
    assert verdict.blessed
    assert verdict.outcome is Outcome.FIRST_MODEL
    assert [(reason.rule, reason.passed) for reason in verdict.reasons] == [("pq_floor", True), ("allowed_drop", None)]


def test_a_first_model_below_the_floor_is_not_blessed():
    verdict = judge(analysis(HALF), FIRST, GateConfig(pq_floor=0.7))
    assert not verdict.blessed
    assert "PQ 0.6667 does not reach the floor of 0.7000" in verdict.reasons[0].words


def test_a_floor_of_zero_passes_and_says_that_it_means_nothing():
    verdict = judge(analysis([0] * 20), FIRST, GateConfig())
    assert verdict.blessed
    assert "any model passes it" in verdict.reasons[0].words


def test_a_better_model_is_blessed():
    verdict = judge(analysis(MORE, HALF), None, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (True, Outcome.BETTER)
    assert "With 95% confidence the change is at least +0.19" in verdict.reasons[1].words
    assert verdict.reasons[1].value == pytest.approx(60 / 70 - 40 / 60)


def test_a_worse_model_is_not_blessed_unless_so_large_a_drop_is_allowed():
    verdict = judge(analysis(HALF, MORE), None, GateConfig(allowed_drop=0.1))
    assert (verdict.blessed, verdict.outcome) == (False, Outcome.WORSE)
    assert judge(analysis(HALF, MORE), None, GateConfig(allowed_drop=0.2)).blessed


def test_a_model_that_is_not_significantly_different_is_blessed_only_within_the_allowed_drop():
    # The same PQ, from other images: the change is 0 and could be some hundredths either way.
    verdict = judge(analysis(MIXED, HALF), None, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (False, Outcome.NOT_DIFFERENT)
    assert "where only a drop" in verdict.reasons[1].words
    assert judge(analysis(MIXED, HALF), None, GateConfig(allowed_drop=0.15)).blessed
    assert judge(analysis(MIXED, HALF), None, GateConfig(significance=POINT)).blessed


def test_predictions_without_any_difference_are_blessed():
    verdict = judge(analysis(MIXED, MIXED), None, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (True, Outcome.NOT_DIFFERENT)
    assert "no change" in verdict.reasons[1].words


@pytest.mark.parametrize(
    ("found", "allowed_drop", "blessed"), [(41, 0.0, True), (40, 0.0, True), (39, 0.0, False), (39, 0.02, True)]
)
def test_by_its_value_alone_a_model_may_not_fall_further_than_the_allowed_drop(found, allowed_drop, blessed):
    candidate = [2] * 19 + [found - 38]
    config = GateConfig(allowed_drop=allowed_drop, significance=POINT)
    assert judge(analysis(candidate, HALF), None, config).blessed is blessed


def test_a_single_image_shows_nothing_with_confidence():
    verdict = judge(analysis([4], [1]), None, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (False, Outcome.NOT_DIFFERENT)
    assert "Too few images" in verdict.reasons[1].words
    assert judge(analysis([4], [1]), None, GateConfig(significance=POINT)).blessed


def test_a_better_model_below_the_floor_is_not_blessed_and_both_reasons_are_given():
    verdict = judge(analysis(MORE, HALF), None, GateConfig(pq_floor=0.9))
    assert not verdict.blessed
    assert [reason.passed for reason in verdict.reasons] == [False, True]


def test_the_last_blessed_model_itself_is_judged_by_floors_alone():
    same = NoBaseline(outcome=Outcome.SAME_MODEL)
    assert judge(analysis(HALF), same, GateConfig(pq_floor=0.6)).blessed
    assert not judge(analysis(HALF), same, GateConfig(pq_floor=0.7)).blessed


def test_a_baseline_with_other_classes_is_named_and_not_compared():
    other = NoBaseline(outcome=Outcome.OTHER_CATEGORIES, detail="class 3 is new")
    verdict = judge(analysis(HALF), other, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (True, Outcome.OTHER_CATEGORIES)
    assert "class 3 is new" in verdict.reasons[1].words


def test_without_images_nothing_is_blessed():
    verdict = judge(analysis([]), FIRST, GateConfig())
    assert (verdict.blessed, verdict.outcome) == (False, Outcome.NO_IMAGES)


def test_images_where_nothing_counts_have_no_pq_and_pass_nothing():
    verdict = judge(analyze(evaluation([0], num_cats=0), None, AnalysisConfig()), FIRST, GateConfig())
    assert not verdict.blessed
    document = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert [reason["value"] for reason in document["reasons"]] == [None, None]


@pytest.mark.parametrize(
    ("rule", "blessed"),
    [
        ("pq_things >= 0.66", True),
        ("pq_things >= 0.67", False),
        ("pq[class=cat] >= 0.66", True),
        ("pq[class=*] >= 0.67", False),
        ("pq[slice=format=png] >= 0.85", True),
        ("pq[slice=format=jpeg] >= 0.5", False),
        ("pq[slice=*] >= 0.4", True),
        ("pq[slice=*] >= baseline - 0.2", False),
        ("pq[slice=format=png] >= baseline - 0", True),
        ("pq[class=cat] >= baseline - 0.01", True),
        ("pq[class=cat] >= baseline - 0.01 surely", False),
        ("pq[class=cat] >= baseline - 0.3 surely", True),
        ("pq_pets >= 0.66", True),
        ("rq_things >= 0.65 surely", False),
    ],
)
def test_rules_about_scores_slices_classes_and_groups(rule, blessed):
    # jpeg images: 1 of 4 cats found (PQ 0.4); png: 3 of 4 (PQ 0.857); before: 2 of 4 (PQ 0.667) in all.
    scores = analysis(MIXED, HALF, class_groups={"pets": ["cat", "dog"]})
    verdict = judge(scores, None, GateConfig(allowed_drop=1.0, rules=(rule,)))
    assert verdict.blessed is blessed
    assert {reason.rule for reason in verdict.reasons} == {"pq_floor", "allowed_drop", rule}


def test_a_rule_for_every_slice_gives_a_reason_for_each():
    verdict = judge(analysis(MIXED), FIRST, GateConfig(rules=("pq[slice=*] >= 0.5",)))
    assert [(reason.passed, reason.words) for reason in verdict.reasons[2:]] == [
        (False, "PQ in format=jpeg is 0.4000, with a floor of 0.5000."),
        (True, "PQ in format=png is 0.8571, with a floor of 0.5000."),
    ]


def test_a_rule_about_a_change_does_not_apply_to_a_first_model():
    verdict = judge(analysis(HALF), FIRST, GateConfig(rules=("pq_things >= baseline - 0.1",)))
    assert verdict.blessed
    assert verdict.reasons[2].passed is None


@pytest.mark.parametrize("rule", ["pq_stuff >= 0", "pq[class=dog] >= 0", "pq[slice=format=gif] >= 0"])
def test_a_floor_for_what_was_not_seen_is_not_passed(rule):
    verdict = judge(analysis(HALF), FIRST, GateConfig(rules=(rule,)))
    assert not verdict.blessed
    assert "there is nothing to judge" in verdict.reasons[2].words


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("quality >= 0.5", "must name one of"),
        ("pq[class=horse] >= 0.5", "must name a class"),
        ("pq[slice=brightness=low] >= 0.5", r"a slice by one of \['format'\]"),
        ("ap50[slice=format=png] >= 0.5", "must name one of"),
    ],
)
def test_a_rule_about_what_there_is_not_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        judge(analysis(HALF), FIRST, GateConfig(rules=(rule,)))


@pytest.mark.parametrize(
    "text", ["pq > 0.5", "pq >= ", "pq >= 0.5 maybe", "pq[class=] >= 1", "pq >= 2", "sq[class=cat] >= 0"]
)
def test_a_rule_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="Received: "):
        Rule.parse(text)


def test_an_analysis_with_a_baseline_and_a_reason_for_none_contradict_each_other():
    with pytest.raises(ValueError, match="says why not"):
        judge(analysis(HALF, HALF), FIRST, GateConfig())
