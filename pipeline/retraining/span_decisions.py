"""Decides what to do about each span, and why. It only reads files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from components.coco_example_gen.data_manifest import manifest_digest
from pipeline.retraining.span_states import FAILED, FINAL, RUNNING, SpanState, SpanStates
from pipeline.retraining.spans import STORAGE_ERRORS, NotWholeError, Span, check_whole, stated_manifest

RUN, WAIT, NOTHING = "run", "wait", "nothing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision about one span.

    Attributes:
        span: The span.
        action: "run", "wait" (look again at the next pass) or "nothing".
        why: The reason in words.
        manifest: The entries of the span's manifest; empty if there is none.
        state: The state of this data after earlier passes.
        forced: Whether the user named the span.
    """

    span: Span
    action: str
    why: str
    manifest: dict[str, str] = dataclasses.field(default_factory=dict)
    state: SpanState | None = None
    forced: bool = False

    @property
    def digest(self) -> str:
        """Returns the manifest's digest."""
        return manifest_digest(self.manifest)


def decide(span: Span, states: SpanStates, *, forced: bool = False) -> Decision:
    """Decides about one span.

    Args:
        span: The span.
        states: The states of all spans.
        forced: Whether to run it even if its data is known, or older than the last trained span.
    """
    try:
        manifest = stated_manifest(span)
        state = states.find(manifest_digest(manifest))
        why_not = "" if forced else _why_nothing(span, state, states.all())
        if why_not:
            return Decision(span=span, action=NOTHING, why=why_not, manifest=manifest, state=state)
        check_whole(span, manifest)
    except NotWholeError as error:
        return Decision(span=span, action=WAIT, why=f"not whole: {error}", forced=forced)
    except STORAGE_ERRORS as error:
        return Decision(span=span, action=WAIT, why=f"cannot be read: {error}", forced=forced)
    return Decision(
        span=span, action=RUN, why=_why_run(state, forced), manifest=manifest, state=state, forced=forced
    )  # fmt: skip


def _why_nothing(span: Span, state: SpanState | None, states: Sequence[SpanState]) -> str:
    if state is not None and state.state in FINAL:
        reason = f": {state.reason}" if state.reason else ""
        if state.span != span.name:
            return f"has the same data as {state.span}, which was {state.state}"
        return f"known: {state.state}{reason}"
    newest = max((other.number for other in states if other.state in FINAL), default=-1)
    if state is None and span.number < newest:
        return f"came after a newer one; --backfill {span.number} reads it"
    return ""


def _why_run(state: SpanState | None, forced: bool) -> str:
    if state is not None and state.state == RUNNING:
        return "its run was interrupted and is continued"
    if state is not None and state.state == FAILED:
        return f"its run failed {state.attempts} times and is tried again"
    if forced:
        return "named by --backfill"
    return "new data"
