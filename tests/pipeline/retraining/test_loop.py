"""Tests of the decisions of `pipeline.retraining.loop`; the process that runs the pipeline is replaced.

Only that process is replaced: spans, states, mixes, alerts and the page are real. The real pipeline is in
`test_simulated_month`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from pipeline.local_run.root_lock import EXIT_ROOT_IN_USE
from pipeline.retraining import metadata_backup, mix, mixed_data
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.loop import Retraining, RootBusyError, StoppedError
from pipeline.retraining.span_states import FAILED, GIVEN_UP, PUSHED, REJECTED, RUNNING, SET_ASIDE, SpanStates
from tests.pipeline.span_folders import change_annotations, copy_span, rename_a_class
from tests.pipeline.webhook import listening

GOOD, WORSE, BAD_DATA, CRASH, KILLED, BUSY = "good", "worse", "bad data", "crash", "killed", "busy"
REFUSED = "refused"  # A wrong setting, say: without a summary.


class Killed(BaseException):
    """The loop itself is killed here."""


class Runs:
    """In place of `run_local.py`: keeps the flags it is given and leaves what the outcome calls for."""

    def __init__(self, root):
        self.root = root
        self.outcomes = {}
        self.calls = []

    def __call__(self, flags):
        flags = list(flags)
        span, validates = flags[flags.index("--span") + 1], "--validate_only" in flags
        self.calls.append((span, "validate" if validates else "train", flags))
        outcome = self.outcomes.get(span, GOOD)
        if isinstance(outcome, list):
            outcome = outcome.pop(0)
        if outcome == KILLED:
            return -9
        if outcome in (BUSY, REFUSED):
            return EXIT_ROOT_IN_USE if outcome == BUSY else 2
        if isinstance(outcome, BaseException):
            raise outcome
        fails = outcome in (BAD_DATA, CRASH)
        component = {BAD_DATA: "AnomalyGate", CRASH: "Trainer"}.get(outcome)
        pushed = None
        if not validates and outcome == GOOD:
            pushed = self.root / "serving" / str(1 + len(list((self.root / "serving").glob("*"))))
            pushed.mkdir(parents=True)
            (pushed / "saved_model.pb").write_text("graph")
        summary = {
            "failure": {"component": component, "reason": "No."} if fails else None,
            "data_at_fault": outcome == BAD_DATA,
            "pushed_model": pushed and str(pushed),
            "cannot_serve_because": None,
            "verdict": ["PQ is worse."],
            "pq": 0.5,
            "model_run": "/weights",
        }
        (self.root / "summary.json").write_text(json.dumps(summary))
        return 1 if fails else 0

    @property
    def steps(self):
        return [(span, step) for span, step, _ in self.calls]


@pytest.fixture
def loop(drawn_spans, tmp_path):
    """The folder of spans, the runs, a `Retraining` and its states."""

    class Loop:
        spans = tmp_path / "spans"
        root = tmp_path / "root"

        def __init__(self):
            self.spans.mkdir()
            self.root.mkdir()
            self.runs = Runs(self.root)
            self.config = RetrainConfig(
                spans_dir=str(self.spans), root=str(self.root), run_args=("--experiment", "generated_scenes")
            )
            self.states = SpanStates(str(self.root))

        def arrive(self, *numbers):
            for number in numbers:
                shutil.copytree(drawn_spans / f"span-{number}", self.spans / f"span-{number}")

        def run_pass(self, backfill=(), **changes):
            self.runs.calls.clear()
            return self.make(**changes).run_pass(backfill)

        def make(self, is_stopping=lambda: False, **changes):
            return Retraining(dataclasses.replace(self.config, **changes), self.runs, is_stopping)

        @property
        def found(self):
            return {state.span: state.state for state in self.states.all()}

        @property
        def serves(self):
            return sorted(path.name for path in (self.root / "serving").glob("*"))

    return Loop()


def test_a_new_span_is_validated_alone_and_then_trained_on_with_history(loop):
    loop.arrive(1, 2)
    assert loop.run_pass()
    assert loop.runs.steps == [(f"span-{n}", step) for n in (1, 2) for step in ("validate", "train")]
    assert loop.found == {"span-1": PUSHED, "span-2": PUSHED}
    _, _, flags = loop.runs.calls[2]
    assert flags[flags.index("--data") + 1] == str(loop.spans / "span-2")
    assert flags[-2:] == ["--root", str(loop.root)]
    rules = [flags[k + 1] for flags in [loop.runs.calls[3][2]] for k, word in enumerate(flags) if word == "--gate_rule"]
    assert rules == ["pq[slice=folder=fixed] >= baseline - 0.02", "pq[slice=folder=new] >= baseline - 0.02"]


def test_nothing_is_done_where_nothing_is_new(loop):
    loop.arrive(1)
    loop.run_pass()
    assert loop.run_pass()
    assert loop.runs.calls == []


def test_a_span_that_holds_what_another_held_is_not_run(loop):
    loop.arrive(1)
    loop.run_pass()
    copy_span(loop.spans, 1, 4)
    loop.run_pass()
    assert loop.runs.calls == []
    [_, decision] = loop.make().decisions()
    assert decision.why == "has the same data as span-1, which was pushed"


def test_a_half_copied_span_waits_until_it_is_whole_and_the_next_one_goes_on(loop):
    loop.arrive(1, 2)
    photo = next((loop.spans / "span-1" / "train2017").iterdir())
    content = photo.read_bytes()
    photo.unlink()
    assert loop.run_pass()
    assert {span for span, _ in loop.runs.steps} == {"span-2"}
    assert "waits" in (loop.root / "index.html").read_text()
    photo.write_bytes(content)
    # It is older than what was learnt last, so a person has to name it.
    loop.run_pass()
    assert loop.runs.calls == []
    assert "--backfill 1 reads it" in loop.make().decisions()[0].why
    loop.run_pass([1])
    assert loop.found == {"span-1": PUSHED, "span-2": PUSHED}


def test_a_span_whose_manifest_cannot_be_read_waits_and_the_next_one_goes_on(loop):
    loop.arrive(1, 2)
    manifest = loop.spans / "span-1" / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    manifest.mkdir()  # As good as a file on a broken disk.
    assert loop.run_pass()
    assert loop.found == {"span-2": PUSHED}
    [first, _] = loop.make().decisions()
    assert first.action == "wait" and "cannot be read" in first.why
    manifest.rmdir()
    manifest.write_bytes(content)
    loop.run_pass([1])
    assert loop.found == {"span-1": PUSHED, "span-2": PUSHED}


def test_a_pass_that_ended_early_is_told_of(loop):
    with listening() as (url, received):
        loop.make(webhook=url).report_failed_pass(OSError("The disk is away."))
    assert [(alert["event"], "The disk is away." in alert["text"]) for alert in received] == [("pass failed", True)]


def test_a_span_that_fails_validation_is_set_aside_told_of_and_the_next_one_goes_on(loop):
    loop.arrive(1, 2)
    loop.runs.outcomes = {"span-1": BAD_DATA}
    with listening() as (url, told):
        assert not loop.run_pass(webhook=url)
    assert loop.found == {"span-1": SET_ASIDE, "span-2": PUSHED}
    assert [alert["event"] for alert in told] == ["set aside", "pushed"]
    assert told[0]["text"] == "span-1: set aside. AnomalyGate: No."
    assert (loop.spans / "span-1").exists()
    assert loop.run_pass()  # Known now: it is not run again.
    assert loop.runs.calls == []


def test_a_span_with_other_classes_is_set_aside_without_a_run(loop):
    loop.arrive(1)
    loop.run_pass()
    loop.arrive(2)
    change_annotations(loop.spans / "span-2", rename_a_class)
    assert not loop.run_pass()
    assert loop.runs.calls == []
    [_, state] = loop.states.all()
    assert state.state == SET_ASIDE
    assert "only before: ball (id 1, thing); only now: globe (id 1, thing)" in state.reason


def test_a_rejected_model_is_told_of_and_its_data_is_history_all_the_same(loop):
    loop.arrive(1, 2, 3)
    loop.runs.outcomes = {"span-2": WORSE}
    with listening() as (url, told):
        assert loop.run_pass(webhook=url)
    assert loop.found == {"span-1": PUSHED, "span-2": REJECTED, "span-3": PUSHED}
    assert [alert["event"] for alert in told] == ["pushed", "rejected", "pushed"]
    assert told[1]["text"] == "span-2: rejected. PQ 0.5000. PQ is worse."
    assert loop.serves == ["1", "2"]
    assert len(loop.states.all()[2].plan["history"]) == 2


def test_a_run_that_fails_holds_the_next_span_back_until_it_is_given_up(loop):
    loop.arrive(1, 2)
    loop.runs.outcomes = {"span-1": CRASH}
    events = []
    for state in (FAILED, FAILED, GIVEN_UP):
        with listening() as (url, told):
            assert not loop.run_pass(webhook=url)
        events += [alert["event"] for alert in told]
        assert loop.found["span-1"] == state
    assert events == ["failed", "failed", "given up", "pushed"]
    assert loop.found["span-2"] == PUSHED
    loop.runs.outcomes = {}
    loop.run_pass([1])
    assert loop.found["span-1"] == PUSHED


def test_a_run_that_is_killed_is_a_failure_and_is_gone_on_with_by_the_same_plan(loop):
    loop.arrive(1, 2)
    loop.runs.outcomes = {"span-2": [GOOD, KILLED, GOOD, GOOD]}
    loop.run_pass()
    [_, state] = loop.states.all()
    assert (state.state, state.reason) == (FAILED, "the run was interrupted (signal 9)")
    plan = state.plan
    loop.run_pass()
    [_, state] = loop.states.all()
    assert (state.state, state.plan) == (PUSHED, plan)


@pytest.mark.parametrize(
    ("owner", "place"),
    [(Retraining, "_note_pass"), (mix, "pin_fixed"), (Retraining, "_finish"), (Retraining, "_deliver_alerts")],
)
def test_a_loop_that_is_killed_goes_on_where_it_was(loop, monkeypatch, owner, place):
    loop.arrive(1)

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, place, die)
        loop.run_pass()
    before = [state.plan for state in loop.states.all()]
    with listening() as (url, told):
        assert loop.run_pass(webhook=url)
    assert loop.found == {"span-1": PUSHED}
    assert [state.plan for state in loop.states.all()] == before or not before
    assert [alert["event"] for alert in told] == ["pushed"]
    assert [state.attempts for state in loop.states.all()] == [0]


def test_an_alert_that_nobody_took_is_delivered_by_the_next_pass(loop):
    loop.arrive(1)
    with listening(status=503) as (url, _):
        assert loop.run_pass(webhook=url)
    assert loop.states.all()[0].alert is not None
    with listening() as (url, told):
        loop.run_pass(webhook=url)
        loop.run_pass(webhook=url)
    assert [alert["event"] for alert in told] == ["pushed"]


def test_a_run_that_is_refused_is_counted_and_given_up_and_not_taken_for_a_busy_root(loop):
    loop.arrive(1)
    loop.runs.outcomes = {"span-1": REFUSED}
    for attempt in (1, 2, 3):
        assert not loop.run_pass(attempts=3)
        [state] = loop.states.all()
        assert state.attempts == attempt and "without a summary (status 2)" in state.reason
    assert state.state == GIVEN_UP


def test_a_root_in_use_and_a_locked_database_wait_for_the_next_pass(loop, monkeypatch):
    import sqlite3

    loop.arrive(1)
    loop.runs.outcomes = {"span-1": [BUSY, GOOD, GOOD]}
    with pytest.raises(RootBusyError, match="Another run is using"):
        loop.run_pass()
    assert loop.found == {"span-1": RUNNING}
    monkeypatch.setattr(metadata_backup, "_BUSY_TIMEOUT_S", 0.0)
    database = sqlite3.connect(loop.root / "metadata.sqlite", isolation_level=None)
    database.execute("CREATE TABLE Execution (id INTEGER)")
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RootBusyError, match="locked"):
        loop.run_pass()
    database.rollback()
    database.close()
    (loop.root / "metadata.sqlite").unlink()
    assert loop.run_pass()
    assert (loop.found, loop.states.all()[0].attempts) == ({"span-1": PUSHED}, 0)


def test_a_run_that_ended_because_the_loop_was_stopped_has_not_failed(loop):
    loop.arrive(1)
    loop.runs.outcomes = {"span-1": CRASH}
    with pytest.raises(StoppedError):
        loop.make(is_stopping=lambda: True).run_pass()
    assert loop.found == {"span-1": RUNNING}


def test_a_disk_that_is_full_while_the_mix_is_made_is_the_machine_s_fault(loop, monkeypatch):
    loop.arrive(1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mixed_data, "build_mix", full)
        assert not loop.run_pass()
    [state] = loop.states.all()
    assert (state.state, state.reason) == (FAILED, "[Errno 28] No space left on device")
    assert loop.run_pass()


def test_of_a_span_s_versions_the_newest_is_history_and_none_of_its_own(loop, drawn_spans):
    pattern = "span-{SPAN}/v{VERSION}"

    def arrive(number, version, drawn):
        shutil.copytree(drawn_spans / f"span-{drawn}", loop.spans / f"span-{number}" / f"v{version}")
        assert loop.run_pass(pattern=pattern)
        return [state for state in loop.states.all() if (state.number, state.version) == (number, version)][0]

    # Digests are in no order; so each of two may come first.
    first, second = arrive(1, 1, 1), arrive(1, 2, 2)
    assert second.plan["history"] == []
    third = arrive(2, 10, 3)
    assert third.plan["history"] == [second.digest] and first.digest != second.digest


def test_history_that_is_gone_is_left_out(loop):
    loop.arrive(1, 2)
    loop.run_pass()
    shutil.rmtree(loop.spans / "span-1")
    loop.arrive(3)
    assert loop.run_pass()
    assert loop.found["span-3"] == PUSHED


def test_dry_run_says_what_would_happen_and_why_and_changes_nothing(loop):
    loop.arrive(1)
    loop.run_pass()
    loop.arrive(2, 3)
    (loop.spans / "span-3" / "manifest.json").unlink()
    before = sorted(path for path in loop.root.rglob("*"))
    retrain = loop.make()
    assert [retrain.explain(decision) for decision in retrain.decisions()] == [
        "span-1: nothing: known: pushed",
        "span-2: run: new data; trains from scratch (no model serves), on it and 50% from span-1",
        "span-3: wait: not whole: manifest.json is not there yet",
    ]
    assert sorted(path for path in loop.root.rglob("*")) == before


def test_a_span_that_is_not_there_cannot_be_named(loop):
    loop.arrive(1)
    with pytest.raises(ValueError, match="`--backfill` must name spans that are there: \\[1\\]. Received: \\[7\\]"):
        loop.run_pass([7])
    assert loop.found == {}
