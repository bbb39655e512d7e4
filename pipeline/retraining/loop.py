"""The loop's one pass: look for new spans, decide, validate, mix, train, judge, push, note, tell.

Every run of the pipeline is a process of its own (`pipeline/run_local.py`), so whatever kills it costs only that run.
Before a span's first run its plan is written down (which weights it starts from, which spans are mixed in), and every
later run of it follows the same plan: so the cache answers for the steps that were done, and training goes on from its
own checkpoints. What was made is in ML Metadata and in the served folder; `span_states` notes what is owed.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from components.coco_example_gen.manifest import manifest_digest
from components.pushing import model_versions
from pipeline import lineage
from pipeline.local_run import runs_page
from pipeline.local_run.summary import SUMMARY_FILE
from pipeline.retraining import alerts, metadata_backup, mixed_data, warm_start
from pipeline.retraining.span_decisions import RUN, WAIT, Decision, decide
from pipeline.retraining.span_states import (
    ACCEPTED,
    FAILED,
    GIVEN_UP,
    PUSHED,
    REJECTED,
    RUNNING,
    SET_ASIDE,
    SpanState,
    SpanStates,
)
from pipeline.retraining.spans import DEFAULT_PATTERN, NotWholeError, Span, find_spans, stated_manifest
from pipeline.whole_files import write_durably

PASS_FILE = "last_pass.json"
LOG = logging.getLogger("retrain")  # Of its own: TFX and absl say hundreds of lines to the root logger.
_BUSY_STATUS = 2  # Of run_local where another run holds the root; wrong flags were refused before.


class RootBusyError(RuntimeError):
    """Somebody else uses the root or its metadata; the work is done at the next pass."""


class StoppedError(RuntimeError):
    """The loop was asked to stop while a run was going on; the next start goes on with it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """What the loop is told.

    Attributes:
        spans_dir: folder of the spans.
        root: of the pipeline.
        pattern: of the spans' names.
        run_args: further flags of run_local.
        history_share: of the photos that are learnt from, how many come from earlier spans, 0 or more and below 1.
        history_spans: from the last so many of them; 0: from all.
        warm: how a training differs that starts from the model that serves; None: every training starts anew.
        fixed_eval: folder whose validation photos are judged on in every run; empty: those of the first span.
        fixed_drop: how far PQ on the fixed photos may be below the last blessed model's, 0..1.
        new_drop: likewise on the new span's own.
        attempts: how many runs of one span may fail before it is given up.
        webhook: URL; empty: nobody is told.

    Raises:
        ValueError: if a value breaks its rule.
    """

    spans_dir: str
    root: str
    pattern: str = DEFAULT_PATTERN
    run_args: tuple[str, ...] = ()
    history_share: float = 0.5
    history_spans: int = 0
    warm: warm_start.WarmStart | None = warm_start.WarmStart()
    fixed_eval: str = ""
    fixed_drop: float = 0.02
    new_drop: float = 0.02
    attempts: int = 3
    webhook: str = ""

    def __post_init__(self):
        if not 0 <= self.history_share < 1:
            raise ValueError(f"`--history_share` must be 0 or more and below 1. Received: {self.history_share}")
        for name in ("fixed_drop", "new_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`--{name}` must be in 0..1. Received: {getattr(self, name)}")
        if self.attempts < 1 or self.history_spans < 0:
            raise ValueError(f"`--attempts` must be positive. Received: {self.attempts}, {self.history_spans}")


class Retraining:
    """One pass after the other over the spans of one root.

    Args:
        config: what the loop is told.
        run: runs `run_local.py` with flags and returns its exit status.
        is_stopping: whether the loop was asked to end, so that a run that ended with it has not failed.
    """

    def __init__(
        self,
        config: RetrainConfig,
        run: Callable[[Sequence[str]], int],
        is_stopping: Callable[[], bool] = lambda: False,
    ):
        self._config = config
        self._run = run
        self._is_stopping = is_stopping
        self._states = SpanStates(config.root)
        self._folder = pathlib.Path(config.root, "retrain")
        self._waiting: dict[str, str] = {}

    def decisions(self, backfill: Sequence[int] = ()) -> list[Decision]:
        """What a pass would do now, without doing it.

        Raises:
            FileNotFoundError: if there is no folder of spans.
            ValueError: if `backfill` names a span that is not there.
        """
        return [decide(span, self._states, forced=bool(backfill)) for span in self._spans(backfill)]

    def explain(self, decision: Decision) -> str:
        """One line about a decision; for a run also what it would start from and learn from."""
        line = f"{decision.span.name}: {decision.action}: {decision.why}"
        if decision.action != RUN:
            return line
        plan = self._plan(decision)
        history = ", ".join(source.name for source in self._history(plan, decision)) or "no earlier span"
        start = f"from {plan['initial']}" if plan["initial"] else f"anew ({plan['why_cold']})"
        return f"{line}; trains {start}, on it and {self._config.history_share:.0%} from {history}"

    def run_pass(self, backfill: Sequence[int] = ()) -> bool:
        """Does what is to be done; returns whether no span failed or was set aside.

        Raises:
            FileNotFoundError: if there is no folder of spans.
            RootBusyError: if somebody else uses the root; what was begun is gone on with at the next pass.
            StoppedError: likewise, if the loop was asked to end.
            ValueError: if `backfill` names a span that is not there.
        """
        self._deliver_alerts()
        self._remove_finished_mixes()  # A loop that was killed has not.
        self._mend_metadata()
        all_well = True
        for span in self._spans(backfill):
            # One by one: what became of a span decides about the next one.
            decision = decide(span, self._states, forced=bool(backfill))
            LOG.info("%s: %s: %s", span.name, decision.action, decision.why)
            self._waiting.pop(span.name, None)
            if decision.action == WAIT:
                self._waiting[span.name] = decision.why
            if decision.action == RUN:
                try:
                    state = self._process(decision)
                except metadata_backup.MetadataLockedError as error:
                    raise RootBusyError(str(error)) from error
                LOG.info("%s: %s: %s", span.name, state.state, state.reason)
                all_well &= state.state in ACCEPTED
                if state.state == FAILED:
                    break  # The machine's fault, not the data's: later spans must not overtake it.
        self._note_pass()
        return all_well

    def _spans(self, backfill: Sequence[int]) -> list[Span]:
        spans = find_spans(self._config.spans_dir, self._config.pattern)
        by_number = {span.number: span for span in spans}
        if missing := sorted(set(backfill) - set(by_number)):
            raise ValueError(f"`--backfill` must name spans that are there: {sorted(by_number)}. Received: {missing}")
        return [by_number[number] for number in backfill] if backfill else spans

    def _mend_metadata(self) -> None:
        try:
            mended = metadata_backup.ensure_whole(self._metadata_path, os.path.join(self._config.root, "pipeline"))
        except metadata_backup.MetadataLockedError as error:
            raise RootBusyError(str(error)) from error
        if mended:
            LOG.error("%s", mended)
            self._tell({"event": "metadata restored", "text": mended})

    def _process(self, decision: Decision) -> SpanState:
        """Runs the pipeline on one span, and notes and tells what came of it."""
        span, earlier = decision.span, decision.state
        going_on = earlier is not None and earlier.state in (RUNNING, FAILED)
        state = SpanState(
            digest=decision.digest,
            span=span.name,
            number=span.number,
            path=span.path,
            state=RUNNING,
            attempts=earlier.attempts if earlier is not None and going_on else 0,
            plan=earlier.plan if earlier is not None and going_on else self._plan(decision),
        )
        self._states.write(state)
        self._note_pass()
        try:
            metadata_backup.back_up(self._metadata_path)
            state = self._validate_and_train(decision, state)
        except mixed_data.OtherDataError as error:
            state = dataclasses.replace(state, state=SET_ASIDE, reason=f"{error}.")
        except OSError as error:
            state = self._failed(state, str(error))
        return self._finish(state)

    def _finish(self, state: SpanState) -> SpanState:
        if state.state == FAILED and state.attempts >= self._config.attempts:
            state = dataclasses.replace(state, state=GIVEN_UP)
        if self._config.webhook:
            state = dataclasses.replace(state, alert=alert_of(state))
        metadata_backup.back_up(self._metadata_path)
        self._states.write(state)
        self._deliver_alerts()
        self._remove_finished_mixes()
        self._note_pass()
        return state

    def _validate_and_train(self, decision: Decision, state: SpanState) -> SpanState:
        span = decision.span
        source = mixed_data.Source(f"span-{span.number}", span.path, decision.manifest)
        if self._fixed_dir.exists():
            mixed_data.check_categories(span.path, str(self._fixed_dir))
        status, summary = self._run_pipeline(["--data", span.path, "--span", span.name, "--validate_only"])
        if status:
            return self._not_fit(state, status, summary)
        self._pin_fixed(source)
        history = self._history(state.plan, decision)
        counts = mixed_data.build_mix(
            self._mix_dir(state.digest),
            source,
            history,
            mixed_data.Source(mixed_data.FIXED, str(self._fixed_dir), _manifest_of(str(self._fixed_dir))),
            history_share=self._config.history_share,
        )
        LOG.info("%s: learns from %s, is judged on %s", span.name, counts["train"], counts["eval"])
        digests = {part.name: manifest_digest(part.manifest) for part in (*history, source)}
        state = dataclasses.replace(state, mix={**counts, "digests": digests})
        kind = warm_start.experiment_of(self._config.run_args).task.kind
        config, warm = self._config, self._config.warm or warm_start.WarmStart()
        status, summary = self._run_pipeline(
            [
                *("--data", self._mix_dir(state.digest), "--span", span.name),
                *warm_start.judging_flags(counts["eval"], config.fixed_drop, config.new_drop, kind),
                *warm_start.training_flags(config.run_args, state.plan["initial"], warm),
            ]
        )
        return self._not_fit(state, status, summary) if status else _judged(state, summary or {})

    def _run_pipeline(self, flags: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
        """Exit status and summary of one run; no summary where it was cut off."""
        root = self._config.root
        summary_path = pathlib.Path(root, SUMMARY_FILE)
        summary_path.unlink(missing_ok=True)  # So that what is there afterwards is this run's.
        # Flags of the user come after those that he may change, and before those that he may not.
        status = self._run(
            ["--step_attempts", "2", "--on_drift", "block", *self._config.run_args, *flags, "--root", root]
        )
        summary = json.loads(summary_path.read_text(encoding="utf-8")) if summary_path.exists() else None
        if status and self._is_stopping():
            raise StoppedError("Stopped on request; the next start goes on with the run.")
        if status == _BUSY_STATUS and summary is None:
            raise RootBusyError(f"Another run is using {root}.")
        return status, summary

    def _not_fit(self, state: SpanState, status: int, summary: dict[str, Any] | None) -> SpanState:
        failure = (summary or {}).get("failure")
        if failure is None:
            ended = f"signal {-status}" if status < 0 else f"status {status}"
            return self._failed(state, f"the run was cut off ({ended})")
        reason = f"{failure['component']}: {failure['reason']}"
        if summary and summary["data_at_fault"]:
            return dataclasses.replace(state, state=SET_ASIDE, reason=reason)
        return self._failed(state, reason)

    def _failed(self, state: SpanState, reason: str) -> SpanState:
        return dataclasses.replace(state, state=FAILED, reason=reason, attempts=state.attempts + 1)

    def _plan(self, decision: Decision) -> dict[str, Any]:
        """What holds for every run of a span, whatever happens in between."""
        if decision.state is not None and decision.state.state in (RUNNING, FAILED):
            return decision.state.plan
        initial = model_run_that_serves(self._config.root)
        experiment = warm_start.experiment_of(self._config.run_args)
        cold = "--cold" if self._config.warm is None else warm_start.why_cold(initial, experiment)
        known = [state.digest for state in self._states.all() if state.state in ACCEPTED]
        newest = known[-self._config.history_spans :] if self._config.history_spans else known
        return {
            "initial": "" if cold else initial,
            "why_cold": cold,
            "history": [digest for digest in newest if digest != decision.digest],
            "forced": decision.forced,
        }

    def _history(self, plan: dict[str, Any], decision: Decision) -> list[mixed_data.Source]:
        """The spans of a plan that are still there as they were."""
        sources = []
        for state in map(self._states.find, plan["history"]):
            if state is not None and state.digest != decision.digest:
                span = Span(name=state.span, path=state.path, number=state.number)
                try:
                    manifest = stated_manifest(span)
                except NotWholeError:
                    manifest = {}
                if manifest_digest(manifest) == state.digest:
                    sources.append(mixed_data.Source(f"span-{state.number}", state.path, manifest))
                else:
                    LOG.warning("%s is gone or has changed; it is not mixed in.", state.span)
        return sources

    def _pin_fixed(self, source: mixed_data.Source) -> None:
        if self._fixed_dir.exists():
            return
        if self._config.fixed_eval:
            path = self._config.fixed_eval
            source = mixed_data.Source(mixed_data.FIXED, path, _manifest_of(path))
        mixed_data.pin_eval_photos(str(self._fixed_dir), source)

    @property
    def _metadata_path(self) -> str:
        return os.path.join(self._config.root, "metadata.sqlite")

    @property
    def _fixed_dir(self) -> pathlib.Path:
        return self._folder / "fixed"

    def _mix_dir(self, digest: str) -> str:
        return str(self._folder / "data" / digest[:16])

    def _remove_finished_mixes(self) -> None:
        """Mixes are kept for runs that are gone on with."""
        unfinished = {self._mix_dir(state.digest) for state in self._states.all() if state.state in (RUNNING, FAILED)}
        for path in (self._folder / "data").glob("*"):
            if str(path) not in unfinished:
                shutil.rmtree(path, ignore_errors=True)

    def _note_pass(self) -> None:
        """Writes what is known of every span beside the states, and the page of runs anew."""
        document = {
            "spans": [
                {"span": state.span, "state": state.state, "reason": state.reason, "pq": state.pq}
                for state in self._states.all()
            ]
            + [{"span": name, "state": "waits", "reason": why, "pq": None} for name, why in self._waiting.items()]
        }
        write_durably(self._folder / PASS_FILE, json.dumps(document, indent=1) + "\n")
        runs_page.write_index(self._config.root, os.path.join(self._config.root, "serving"))

    def _deliver_alerts(self) -> None:
        """Delivers what is owed; what nobody takes is tried again at the next pass."""
        for state in self._states.all():
            if state.alert is not None and self._tell(state.alert):
                self._states.write(dataclasses.replace(state, alert=None))

    def _tell(self, alert: dict[str, Any]) -> bool:
        if not self._config.webhook:
            return False
        try:
            alerts.post(self._config.webhook, alert)
        except alerts.AlertError as error:
            LOG.error("%s It is tried again at the next pass.", error)
            return False
        return True


def alert_of(state: SpanState) -> dict[str, Any]:
    """What the webhook is told about a span."""
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


def model_run_that_serves(root: str) -> str | None:
    """The folder that the training of the serving model left; None where nothing serves, or ML Metadata lost it."""
    versions = model_versions.list_versions(os.path.join(root, "serving"))
    if not versions:
        return None
    try:
        return lineage.trace(root, versions[-1])[0]["model_run"]
    except lineage.UnknownVersionError:
        return None


def _judged(state: SpanState, summary: dict[str, Any]) -> SpanState:
    """What a run that went through says about its span."""
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


def _manifest_of(path: str) -> dict[str, str]:
    return stated_manifest(Span(name=path, path=path, number=0))
