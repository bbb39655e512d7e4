"""Tests of `pipeline.retrain`: its command line, its lock, its signals."""

import signal
import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from pipeline import retrain
from pipeline.retrain import AlreadyRunningError, RunProcess, only_instance, parse_args, run_passes
from pipeline.retraining.loop import RootBusyError

HEAVY = ("tensorflow", "tfx", "numpy", "apscheduler")


def test_help_is_answered_before_anything_heavy_is_imported(project_dir):
    script = project_dir / "pipeline" / "retrain.py"
    probe = (
        "import runpy, sys\n"
        f"sys.argv = ['retrain.py', '--help']; sys.path[0] = {str(script.parent)!r}\n"
        "try:\n"
        f"    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        f"    print('status', end.code, [n for n in {HEAVY!r} if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 []"
    assert "--dry-run" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--history_share", "1"], "`--history_share` must be 0 or more and below 1"),
        (["--attempts", "0"], "`--attempts` must be positive"),
        (["--every", "soon"], "`--every` must be like"),
        (["--cron", "soon"], "`--cron` must be five fields"),
        (["--pattern", "spans"], "A span pattern must have"),
        (["--backfill", "new"], "Spans must be named like 3,7-9"),
        (["--webhook", "no-such-file"], "No such file"),
        (["--warm_share", "0"], "`--warm_share` must be positive"),
        (["--", "--experiment", "nothing"], "Unknown experiment 'nothing'"),
        (["--fixed_eval", "nothing"], "/nothing: manifest.json is not there yet. Write it: python -m components"),
        (["--fixed_eval", "ram://bucket/fixed"], "a folder with a manifest. ram://bucket/fixed: manifest.json is not"),
        ([], "The folder of the spans must exist"),
    ],
)
def test_a_wrong_value_is_answered_in_one_line_with_status_2(tmp_path, capsys, flags, words):
    status = retrain.main(["--spans", str(tmp_path / "spans"), "--root", str(tmp_path / "root"), "--dry-run", *flags])
    error = capsys.readouterr().err
    assert (status, len(error.splitlines())) == (2, 1)
    assert words in error
    assert not (tmp_path / "root").exists()


def test_flags_after_two_dashes_go_to_the_runs():
    args = parse_args(["--spans", "s", "--attempts", "5", "--", "--pq_floor", "0.3"])
    assert (args.attempts, args.run_args) == (5, ["--pq_floor", "0.3"])


def test_of_two_instances_at_once_the_second_is_refused(tmp_path, capsys):
    (tmp_path / "spans").mkdir()
    with only_instance(str(tmp_path / "root")):
        assert retrain.main(["--spans", str(tmp_path / "spans"), "--root", str(tmp_path / "root")]) == 3
        assert "Another instance, or a run that it started, is using" in capsys.readouterr().err
    with only_instance(str(tmp_path / "root")):
        pass


SLEEP = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


def test_a_run_whose_loop_was_killed_keeps_the_next_instance_out_until_it_ends(tmp_path):
    with only_instance(str(tmp_path)) as lock:
        run = subprocess.Popen(SLEEP, pass_fds=(lock,), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # The loop is gone; what it had begun is not.
    with pytest.raises(AlreadyRunningError), only_instance(str(tmp_path)):
        pass
    run.communicate()
    with only_instance(str(tmp_path)):
        pass


def test_a_run_s_exit_status_and_death_are_seen(tmp_path):
    with only_instance(str(tmp_path)) as lock:
        program = [sys.executable, "-c", "import os, sys; os.kill(os.getpid(), int(sys.argv[1])) or sys.exit(7)"]
        run = RunProcess(lock, threading.Event(), program)
        assert (run(["0"]), run(["9"])) == (7, -9)


def test_a_loop_that_is_asked_to_stop_asks_its_run_and_begins_no_other(tmp_path):
    stop = threading.Event()
    with only_instance(str(tmp_path)) as lock:
        run = RunProcess(lock, stop, [sys.executable, "-c", "import time; time.sleep(600)"])
        threading.Timer(0.5, run.stop).start()
        assert run([]) == -signal.SIGTERM
        assert run([]) == 143
    assert stop.is_set()


class Passes:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.backfills = []
        self.reported = []

    def run_pass(self, backfill):
        self.backfills.append(backfill)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def report_failed_pass(self, error):
        self.reported.append(error)


def test_the_loop_goes_on_after_a_pass_that_found_the_root_in_use():
    passes = Passes(RootBusyError("in use."), False, True)
    assert run_passes(passes, iter([None] * 3), threading.Event(), [4]) == 0
    assert passes.backfills == [[4], (), ()]


STORAGE_FAULTS = [OSError(28, "No space left on device"), tf.errors.UnavailableError(None, None, "gs:// is away")]


def test_the_loop_goes_on_after_a_pass_that_found_its_storage_away():
    passes = Passes(True, *STORAGE_FAULTS, True)
    assert run_passes(passes, iter([None] * 4), threading.Event(), ()) == 0
    assert passes.reported == STORAGE_FAULTS
    assert run_passes(Passes(True, STORAGE_FAULTS[0]), iter([None] * 2), threading.Event(), ()) == 1


@pytest.mark.parametrize("fault", STORAGE_FAULTS)
def test_a_first_pass_without_its_storage_ends_the_loop(fault):
    with pytest.raises(type(fault)):
        run_passes(Passes(fault, True), iter([None] * 2), threading.Event(), ())


@pytest.mark.parametrize(("outcome", "status"), [(True, 0), (False, 1), (RootBusyError("in use."), 3)])
def test_the_last_pass_gives_the_exit_status(outcome, status):
    assert run_passes(Passes(outcome), iter([None]), threading.Event(), ()) == status
