"""Tests of `pipeline.retraining.outcomes`."""

from pipeline.retraining import outcomes
from pipeline.retraining.span_states import FAILED, PUSHED, REJECTED, RUNNING, SET_ASIDE, SpanState

STATE = SpanState(digest="d", span="span-1", number=1, path="/spans/span-1", state=RUNNING, attempts=1, plan={})


def test_a_signal_is_the_machine_s_fault_and_counts_as_an_attempt():
    state = outcomes.not_finished(STATE, -9, None)
    assert (state.state, state.reason, state.attempts) == (FAILED, "the run was interrupted (signal 9)", 2)


def test_a_run_that_says_why_it_failed_is_quoted_and_bad_data_is_not_tried_again():
    summary = {"failure": {"component": "AnomalyGate", "reason": "No."}, "data_at_fault": True}
    state = outcomes.not_finished(STATE, 1, summary)
    assert (state.state, state.reason, state.attempts) == (SET_ASIDE, "AnomalyGate: No.", 1)
    state = outcomes.not_finished(STATE, 1, summary | {"data_at_fault": False})
    assert (state.state, state.attempts) == (FAILED, 2)


def test_a_model_that_cannot_serve_is_rejected_for_that_and_not_for_the_verdict():
    summary = {"pushed_model": None, "cannot_serve_because": "It is slow.", "verdict": ["PQ 0.5 reaches the floor."]}
    state = outcomes.judged(STATE, summary | {"pq": 0.5, "model_run": "/run"})
    assert (state.state, state.reason, state.pq) == (REJECTED, "It is slow.", 0.5)
    assert outcomes.alert_of(state)["text"] == "span-1: rejected. PQ 0.5000. It is slow."


def test_a_pushed_model_needs_no_reason():
    summary = {"pushed_model": "/serving/2", "pq": None, "model_run": "/run"}
    state = outcomes.judged(STATE, summary)
    assert (state.state, state.reason, state.pushed_model) == (PUSHED, "", "/serving/2")
    assert outcomes.alert_of(state)["text"] == "span-1: pushed."
