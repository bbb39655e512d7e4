"""Tests of the gate's thresholds."""

import pytest

from components.panoptic_evaluator.gate.config import GateConfig


@pytest.mark.parametrize(
    "thresholds",
    [
        {"pq_floor": -0.1},
        {"pq_floor": 1.5},
        {"pq_floor": float("nan")},
        {"allowed_drop": -0.1},
        {"significance": "perhaps"},
    ],
)
def test_thresholds_that_break_a_rule_are_refused_by_name(thresholds):
    with pytest.raises(ValueError, match=f"`{next(iter(thresholds))}` must be.* Received: "):
        GateConfig(**thresholds)


def test_the_thresholds_include_0_and_1_and_a_rule_is_read_at_once():
    assert GateConfig(pq_floor=1, allowed_drop=0).rules == ()
    with pytest.raises(ValueError, match="Received: 'pq > 0.5'"):
        GateConfig(rules=("pq > 0.5",))
