"""Conditions as TFX and the KFP SDK write them."""

from __future__ import annotations

import pytest

from pipeline.compiled.condition import UnsupportedConditionError, is_met

INPUTS = {
    "artifacts": {"blessing": {"artifacts": [{"uri": "gs://b/k", "metadata": {"blessed": 1.0}}]}},
    "parameter_values": {"mode": "fast && loose", "steps": 3.0},
}
BLESSED = "inputs.artifacts['blessing'].artifacts[0].metadata['blessed']"


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("", True),
        (f"({BLESSED} == 1.0)", True),
        (f"({BLESSED} < 1.0)", False),
        (f"!({BLESSED} == 1.0)", False),
        (f"({BLESSED} != 1.0)", False),
        (f"(!({BLESSED} < 1.0) && ({BLESSED} > 0.0))", True),
        (f"(({BLESSED} < 1.0) || (inputs.artifacts['blessing'].artifacts[0].uri == 'gs://b/k'))", True),
        ("inputs.parameter_values['mode'] == 'fast && loose'", True),
        ("int(inputs.parameter_values['steps']) >= 4", False),
        ("true && !false", True),
    ],
)
def test_a_condition_is_met_or_not(condition, met):
    assert is_met(condition, INPUTS) is met


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('true')",
        "inputs.artifacts['other'].artifacts[0].uri == 'x'",
        "inputs.parameter_values['steps']",
        "inputs.parameter_values['steps'] + 1 == 4",
        "(1 ==",
    ],
)
def test_another_condition_is_refused(condition):
    with pytest.raises(UnsupportedConditionError, match="condition"):
        is_met(condition, INPUTS)
