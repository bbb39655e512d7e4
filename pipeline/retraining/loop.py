"""Makes one pass of the loop: finds new spans, decides, validates, mixes, trains, judges, pushes and reports.

`plan` says what a span's training starts from and which data it uses, `mix` puts that data together, and `outcomes`
says how the run ended. These modules keep no state.

Every run of the pipeline is a separate process (`pipeline/run_local.py`), so a killed process costs only that run.
A span's plan (which weights it starts from, which spans are mixed in) is written before its first run, and every later
run follows the same plan. So finished steps come from the cache, and training continues from its own checkpoints. ML
Metadata and the served folder hold what was made; `span_states` holds what is still to be done.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from components.coco_example_gen.data_manifest import manifest_digest
from pipeline.local_run import runs_page
from pipeline.local_run.root_lock import EXIT_ROOT_IN_USE
from pipeline.local_run.summary import SUMMARY_FILE
from pipeline.retraining import alerts, metadata_backup, mix, outcomes, plan
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.mixed_data import OtherDataError, Source
from pipeline.retraining.span_decisions import RUN, WAIT, Decision, decide
from pipeline.retraining.span_states import (
    ACCEPTED,
    FAILED,
    GIVEN_UP,
    RUNNING,
    SET_ASIDE,
    SpanState,
    SpanStates,
)
from pipeline.retraining.spans import STORAGE_ERRORS, Span, find_spans
from pipeline.whole_files import write_durably

LOG = logging.getLogger("retrain")  # Not the root logger: TFX and absl write hundreds of lines to it.


class RootBusyError(RuntimeError):
    """Another process uses the root or its metadata; the work is done at the next pass."""


class StoppedError(RuntimeError):
    """The loop was asked to stop during a run; the next start continues it."""


class Retraining:
    """A loop that makes passes over the spans of one root.

    Args:
        config: The loop's settings.
        run: Runs `run_local.py` with flags and returns its exit status.
        is_stopping: Returns whether the loop was asked to stop; a run that stopped with it has not failed.
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
        self._waiting: dict[str, str] = {}

    def decisions(self, backfill: Sequence[int] = ()) -> list[Decision]:
        """Returns what a pass would do now, without doing it.

        Raises:
            FileNotFoundError: if there is no folder of spans.
            ValueError: if `backfill` names a span that is not there.
        """
        return [decide(span, self._states, forced=bool(backfill)) for span in self._spans(backfill)]

    def explain(self, decision: Decision) -> str:
        """Returns one line about a decision; for a run also the weights and the data of its training."""
        line = f"{decision.span.name}: {decision.action}: {decision.why}"
        if decision.action != RUN:
            return line
        return f"{line}; {plan.explain(decision, self._config, self._states)}"

    def run_pass(self, backfill: Sequence[int] = ()) -> bool:
        """Makes one pass; returns True if no span failed or was set aside.

        Raises:
            FileNotFoundError: if there is no folder of spans.
            RootBusyError: if another process uses the root; the next pass continues the work.
            StoppedError: if the loop was asked to stop; the next pass continues the work.
            ValueError: if `backfill` names a span that is not there.
        """
        self._deliver_alerts()
        self._remove_finished_mixes()  # A killed loop has not removed them.
        self._mend_metadata()
        all_well = True
        for span in self._spans(backfill):
            # One by one, because the outcome of a span decides about the next one.
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
                    break  # The machine is at fault, not the data: later spans must not overtake this one.
        self._note_pass()
        return all_well

    def report_failed_pass(self, error: BaseException) -> None:
        """Says that a pass ended early and that the next one repeats what it left, in the log and to the webhook."""
        text = f"The pass ended early, and the next one continues its work: {error}"
        LOG.error("%s", text)
        self._tell({"event": "pass failed", "text": text})

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
        """Runs the pipeline on one span, notes the outcome and sends it to the webhook."""
        span, earlier = decision.span, decision.state
        state = SpanState(
            digest=decision.digest,
            span=span.name,
            number=span.number,
            version=span.version,
            path=span.path,
            state=RUNNING,
            attempts=earlier.attempts if earlier is not None and earlier.state in (RUNNING, FAILED) else 0,
            plan=plan.plan_of(decision, self._config, self._states),
        )
        self._states.write(state)
        self._note_pass()
        try:
            metadata_backup.back_up(self._metadata_path)
            state = self._validate_and_train(decision, state)
        except OtherDataError as error:
            state = dataclasses.replace(state, state=SET_ASIDE, reason=f"{error}.")
        except STORAGE_ERRORS as error:
            state = outcomes.failed(state, str(error))
        return self._finish(state)

    def _finish(self, state: SpanState) -> SpanState:
        if state.state == FAILED and state.attempts >= self._config.attempts:
            state = dataclasses.replace(state, state=GIVEN_UP)
        if self._config.webhook:
            state = dataclasses.replace(state, alert=outcomes.alert_of(state))
        metadata_backup.back_up(self._metadata_path)
        self._states.write(state)
        self._deliver_alerts()
        self._remove_finished_mixes()
        self._note_pass()
        return state

    def _validate_and_train(self, decision: Decision, state: SpanState) -> SpanState:
        config, span = self._config, decision.span
        source = Source(f"span-{span.number}", span.path, decision.manifest)
        with mix.unmoved([source]):
            mix.check_fits(config, source)
            status, summary = self._run_pipeline(["--data", span.path, "--span", span.name, "--validate_only"])
        if status:
            return outcomes.not_finished(state, status, summary)
        history = plan.history_of(state.plan, decision, self._states)
        with mix.unmoved([*history, source]):
            counts = mix.build(config, state.digest, source, history)
        LOG.info("%s: trains on %s, is judged on %s", span.name, counts["train"], counts["eval"])
        digests = {part.name: manifest_digest(part.manifest) for part in (*history, source)}
        state = dataclasses.replace(state, mix={**counts, "digests": digests})
        flags = mix.training_flags(config, state.digest, state.plan["initial"], counts["eval"])
        status, summary = self._run_pipeline([*flags, "--span", span.name])
        return outcomes.not_finished(state, status, summary) if status else outcomes.judged(state, summary or {})

    def _run_pipeline(self, flags: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
        """Returns exit status and summary of one run; no summary if it was interrupted."""
        root = self._config.root
        summary_path = pathlib.Path(root, SUMMARY_FILE)
        summary_path.unlink(missing_ok=True)  # So that a summary that exists afterwards is this run's.
        # The user's flags come after those that users may change, and before those that they may not.
        status = self._run(
            ["--step_attempts", "2", "--on_drift", "block", *self._config.run_args, *flags, "--root", root]
        )
        summary = json.loads(summary_path.read_text(encoding="utf-8")) if summary_path.exists() else None
        if status and self._is_stopping():
            raise StoppedError("Stopped on request; the next start continues the run.")
        if status == EXIT_ROOT_IN_USE:
            raise RootBusyError(f"Another run is using {root}.")
        return status, summary

    @property
    def _metadata_path(self) -> str:
        return os.path.join(self._config.root, "metadata.sqlite")

    def _remove_finished_mixes(self) -> None:
        unfinished = [state.digest for state in self._states.all() if state.state in (RUNNING, FAILED)]
        mix.remove_others(self._config.root, unfinished)

    def _note_pass(self) -> None:
        """Writes the state of every span to a file, and the page of runs."""
        document = {
            "spans": [
                {"span": state.span, "state": state.state, "reason": state.reason, "pq": state.pq}
                for state in self._states.all()
            ]
            + [{"span": name, "state": "waits", "reason": why, "pq": None} for name, why in self._waiting.items()]
        }
        write_durably(pathlib.Path(self._config.root, runs_page.SPANS_FILE), json.dumps(document, indent=1) + "\n")
        runs_page.write_index(self._config.root, os.path.join(self._config.root, "serving"))

    def _deliver_alerts(self) -> None:
        """Sends the alerts that are due. If an alert cannot be delivered, it is sent again at the next pass."""
        for state in self._states.all():
            if state.alert is not None and self._tell(state.alert):
                self._states.write(dataclasses.replace(state, alert=None))

    def _tell(self, alert: dict[str, Any]) -> bool:
        if not self._config.webhook:
            return False
        try:
            alerts.post(self._config.webhook, alert)
        except alerts.AlertError as error:
            LOG.error("%s The alert is sent again at the next pass.", error)
            return False
        return True
