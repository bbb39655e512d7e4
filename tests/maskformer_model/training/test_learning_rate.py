"""Rates at hand-computed steps."""

import pytest

from maskformer_model.config import OptimizerConfig
from maskformer_model.training.learning_rate import TwoStageSchedule, WarmupSchedule, make_schedule


def rates(schedule, *steps):
    return [float(schedule(step)) for step in steps]


def test_steps_multiply_the_rate_from_their_step_on():
    schedule = WarmupSchedule(1.0, schedule="step", drop_steps=(10, 20), drop_factor=0.1)
    assert rates(schedule, 0, 9, 10, 19, 20, 1000) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_poly_falls_from_the_rate_to_zero():
    schedule = WarmupSchedule(2.0, schedule="poly", train_steps=100, power=0.9)
    assert rates(schedule, 0, 50, 100, 150) == pytest.approx([2, 2 * 0.5**0.9, 0, 0])


def test_the_warm_up_is_linear_from_its_factor_to_one():
    schedule = WarmupSchedule(1.0, warmup_steps=4, warmup_factor=0.2)
    assert rates(schedule, 0, 1, 2, 4, 5) == pytest.approx([0.2, 0.4, 0.6, 1, 1])


def test_a_schedule_comes_back_from_its_config():
    schedule = make_schedule(OptimizerConfig(drop_steps=(5,), warmup_steps=3, warmup_factor=0.5), train_steps=9)
    again = WarmupSchedule.from_config(schedule.get_config())
    assert rates(again, *range(9)) == rates(schedule, *range(9))


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        WarmupSchedule(1.0, schedule="cosine")


def test_the_backbone_waits_for_the_other_warm_up_and_each_rate_falls_from_the_end_of_its_own():
    schedule = TwoStageSchedule(1.0, train_steps=10, power=1.0, warmup_steps=2, backbone_warmup_steps=4)
    assert rates(schedule, 0, 1, 2, 6, 10, 12) == pytest.approx([0, 0.5, 1, 0.5, 0, 0])
    assert rates(schedule.backbone_rate, 0, 2, 3, 6, 8, 10) == pytest.approx([0, 0, 0.25, 1, 0.5, 0])


def test_two_stages_without_warm_ups_are_one_fall():
    config = OptimizerConfig(learning_rate=0.5, schedule="two_stage_poly", power=0.9)
    schedule = make_schedule(config, train_steps=4)
    again = TwoStageSchedule.from_config(schedule.get_config())
    expected = [0.5 * (left / 4) ** 0.9 for left in (4, 3, 2, 1, 0)]
    assert rates(again, *range(5)) == rates(again.backbone_rate, *range(5)) == pytest.approx(expected)
