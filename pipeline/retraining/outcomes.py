"""Computes a span's next state from the result of its run, and the alert about it."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.retraining.span_states import FAILED, GIVEN_UP, PUSHED, REJECTED, SET_ASIDE, SpanState


def judged(state: SpanState, summary: dict[str, Any]) -> SpanState:
    """Returns the state after a run that finished: its model was pushed or rejected."""
    pushed = summary["pushed_model"]
    reason = "" if pushed else summary["cannot_serve_because"] or " ".join(summary["verdict"] or [])
    return dataclasses.replace(
        state,
        state=PUSHED if pushed else REJECTED,
        reason=reason,
        pq=summary["pq"],
        pushed_model=pushed,
        model_run=summary["model_run"],
    )


def not_finished(state: SpanState, status: int, summary: dict[str, Any] | None) -> SpanState:
    """Returns the state after a failed run: set aside if the data is at fault, otherwise to be tried again.

    Args:
        state: Before the run.
        status: The run's exit status; negative if a signal ended it.
        summary: The run's summary; None if it was interrupted.
    """
    failure = (summary or {}).get("failure")
    if failure is None:
        if status < 0:
            return failed(state, f"the run was interrupted (signal {-status})")
        return failed(state, f"the run ended without a summary (status {status}); what it printed says why")
    reason = f"{failure['component']}: {failure['reason']}"
    if summary and summary["data_at_fault"]:
        return dataclasses.replace(state, state=SET_ASIDE, reason=reason)
    return failed(state, reason)


def failed(state: SpanState, reason: str) -> SpanState:
    """Returns the state after one more failure that the data did not cause."""
    return dataclasses.replace(state, state=FAILED, reason=reason, attempts=state.attempts + 1)


def alert_of(state: SpanState) -> dict[str, Any]:
    """Returns the alert about a span."""
    events = {PUSHED: "pushed", REJECTED: "rejected", SET_ASIDE: "set aside", FAILED: "failed", GIVEN_UP: "given up"}
    quality = "" if state.pq is None else f" PQ {state.pq:.4f}."
    text = f"{state.span}: {events[state.state]}.{quality} {state.reason}".strip()
    return {
        "event": events[state.state],
        "text": text,
        "span": state.span,
        "pq": state.pq,
        "pushed_model": state.pushed_model,
    }
