"""Makes the plan of a span: which weights its training starts from and which earlier spans are mixed in.

The plan is written before the span's first run, and every later run follows it. This module only reads.
"""

from __future__ import annotations

import logging
from typing import Any

from components.coco_example_gen.data_manifest import manifest_digest
from pipeline import lineage
from pipeline.retraining import warm_start
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.mixed_data import Source
from pipeline.retraining.span_decisions import Decision
from pipeline.retraining.span_states import ACCEPTED, FAILED, RUNNING, SpanStates
from pipeline.retraining.spans import NotWholeError, Span, stated_manifest

LOG = logging.getLogger("retrain")


def plan_of(decision: Decision, config: RetrainConfig, states: SpanStates) -> dict[str, Any]:
    """Returns the plan of a span's first run, or makes one."""
    if decision.state is not None and decision.state.state in (RUNNING, FAILED):
        return decision.state.plan
    initial = lineage.model_run_that_serves(config.root)
    experiment = warm_start.experiment_of(config.run_args)
    cold = "--cold" if config.warm is None else warm_start.why_cold(initial, experiment)
    # Of several versions of a span the newest counts: it replaces what the others say of the same photos.
    accepted = {state.number: state.digest for state in states.all() if state.state in ACCEPTED}
    known = [digest for number, digest in accepted.items() if number != decision.span.number]
    newest = known[-config.history_spans :] if config.history_spans else known
    return {
        "initial": "" if cold else initial,
        "why_cold": cold,
        "history": newest,
        "forced": decision.forced,
    }


def history_of(plan: dict[str, Any], decision: Decision, states: SpanStates) -> list[Source]:
    """Returns the earlier spans of a plan that are still there unchanged."""
    sources = []
    for state in map(states.find, plan["history"]):
        if state is None or state.digest == decision.digest:
            continue
        try:
            manifest = stated_manifest(Span(name=state.span, path=state.path, number=state.number))
        except NotWholeError:
            manifest = {}
        if manifest_digest(manifest) == state.digest:
            sources.append(Source(f"span-{state.number}", state.path, manifest))
        else:
            LOG.warning("%s is missing or has changed; it is not mixed in.", state.span)
    return sources


def explain(decision: Decision, config: RetrainConfig, states: SpanStates) -> str:
    """Returns a clause about what a run would start from and train on."""
    plan = plan_of(decision, config, states)
    history = ", ".join(source.name for source in history_of(plan, decision, states)) or "no earlier span"
    start = f"from {plan['initial']}" if plan["initial"] else f"from scratch ({plan['why_cold']})"
    return f"trains {start}, on it and {config.history_share:.0%} from {history}"
