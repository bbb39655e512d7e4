"""Kills the loop at every step: `python -m tests.pipeline.killed_loop`, kill -9 before each change that it makes.

A pass over a new span writes, renames, links and removes files and calls the webhook; each of these is a step. The pass
runs in a process of its own that is killed before its first step, another before its second, and so on until one comes
to its end. After each kill the loop starts again, and what it leaves is held against what an undisturbed pass leaves.
The pipeline itself is stood in for: what a kill does to a run of it is shown by `simulated_month`.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence

from components.pushing import model_versions
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.loop import Retraining
from pipeline.retraining.span_states import SpanStates
from tests.pipeline import span_folders
from tests.pipeline.webhook import listening

# Python tells an audit hook of them before they happen.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class StepCounter:
    """Counts the steps of this process and kills it before one of them.

    Args:
        folder: what is changed below it counts.
        dies_at: number of the step, from 1; 0: none.
    """

    def __init__(self, folder: pathlib.Path, dies_at: int):
        self._folder = str(folder)
        self._dies_at = dies_at
        self._count = 0
        self.is_counting = True

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.is_counting and self._is_step(event, arguments):
            self._count += 1
            if self._count == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_step(self, event: str, arguments: tuple) -> bool:
        if event == "urllib.Request":
            return True
        if event != "open" and event not in _CHANGES:
            return False
        if event == "open" and not (arguments[2] or 0) & _WRITING_FLAGS:
            return False
        return isinstance(arguments[0], str | bytes) and os.fsdecode(arguments[0]).startswith(self._folder)


class PushedOnce:
    """In place of `run_local.py`: pushes a model for each span; asked again, it says what it did, as the cache does."""

    def __init__(self, root: pathlib.Path, counter: StepCounter):
        self._root = root
        self._counter = counter

    def __call__(self, flags: Sequence[str]) -> int:
        self._counter.is_counting = False  # Another process, in truth.
        pushed = None
        if "--validate_only" not in flags:
            version = self._root / "serving" / flags[flags.index("--span") + 1].removeprefix("span-")
            version.mkdir(parents=True, exist_ok=True)
            (version / "saved_model.pb").write_text("graph")
            pushed = str(version)
        summary = {
            "failure": None,
            "data_at_fault": False,
            "pushed_model": pushed,
            "cannot_serve_because": None,
            "verdict": [],
            "pq": 0.5,
            "model_run": "/weights",
        }
        (self._root / "summary.json").write_text(json.dumps(summary))
        self._counter.is_counting = True
        return 0


def run_pass(folder: pathlib.Path, webhook: str, dies_at: int = 0) -> int:
    """One pass in a process of its own; returns how that ended: 0, or minus the signal."""
    process = os.fork()
    if process == 0:
        counter = StepCounter(folder / "root", dies_at)
        retraining = new_retraining(folder, webhook, counter)
        sys.addaudithook(counter)
        os._exit(0 if retraining.run_pass() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def new_retraining(folder: pathlib.Path, webhook: str, counter: StepCounter) -> Retraining:
    """The loop over a folder's spans."""
    config = RetrainConfig(
        spans_dir=str(folder / "spans"),
        root=str(folder / "root"),
        run_args=("--experiment", "generated_scenes"),
        webhook=webhook,
    )
    return Retraining(config, PushedOnce(folder / "root", counter))


def warm_up() -> None:
    """Imports what a pass imports and compiles its page once, in place of in every forked process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        empty_root(folder)
        if not new_retraining(folder, "", StepCounter(folder / "root", dies_at=0)).run_pass():
            raise AssertionError("A pass must succeed.")


def what_is_left(folder: pathlib.Path) -> dict:
    """The facts that a kill must not change; paths are relative."""
    root = folder / "root"
    states = SpanStates(str(root)).all()
    page = (root / "index.html").read_text(encoding="utf-8")
    return {
        "states": {state.span: (state.state, state.attempts, state.pq, state.alert) for state in states},
        "plans": [json.dumps(state.plan).replace(str(folder), "") for state in states],
        "mixes": [state.mix for state in states],
        "serving": model_versions.list_versions(root / "serving"),
        "mixes on the disk": sorted(path.name for path in (root / "retrain" / "data").iterdir()),
        "fixed photos": sorted(path.name for path in (root / "retrain" / "fixed").rglob("*.jpg")),
        "ML Metadata and its copy": sorted(path.name for path in root.glob("metadata.sqlite*")),
        "page": [f"<strong>{state.span}</strong>" in page for state in states],
    }


def kill_at_every_step(begin: Callable[[pathlib.Path], None], webhook: str, told: list[dict]) -> int:
    """Returns how many steps there were.

    Args:
        begin: makes the folder before the pass.
        webhook: its address.
        told: what it was told; is emptied.

    Raises:
        AssertionError: if something is other than after an undisturbed pass.
    """
    with tempfile.TemporaryDirectory() as temporary:
        base, undisturbed = pathlib.Path(temporary, "base"), pathlib.Path(temporary, "undisturbed")
        begin(base)
        shutil.copytree(base, undisturbed, symlinks=True)
        move_states(undisturbed, base)
        if run_pass(undisturbed, webhook):
            raise AssertionError("The undisturbed pass must succeed.")
        expected, before = what_is_left(undisturbed), model_versions.list_versions(base / "root" / "serving")
        step = 0
        while True:
            step += 1
            folder = pathlib.Path(temporary, f"step-{step}")
            shutil.copytree(base, folder, symlinks=True)
            move_states(folder, base)
            told.clear()
            ended = run_pass(folder, webhook, dies_at=step)
            if ended == 0:
                return step - 1
            serving = model_versions.list_versions(folder / "root" / "serving")
            if ended != -signal.SIGKILL or serving[: len(before)] != before:
                raise AssertionError(f"Step {step}: ended with {ended}, serves {serving}, before {before}.")
            if run_pass(folder, webhook):
                raise AssertionError(f"Step {step}: the start after the kill did not end well.")
            found = what_is_left(folder)
            wrong = {name: (found[name], value) for name, value in expected.items() if found[name] != value}
            # Killed between the answer of the webhook and its note, the loop tells it once more.
            events = {(alert["event"], alert["span"]) for alert in told}
            if wrong or events != {("pushed", name) for name in list(expected["states"])[-1:]}:
                raise AssertionError(f"Step {step}: {wrong} {told}")
            shutil.rmtree(folder)


def move_states(folder: pathlib.Path, origin: pathlib.Path) -> None:
    """A copy's states and served paths name the copy."""
    for path in (folder / "root" / "retrain" / "spans").glob("*.json"):
        path.write_text(path.read_text().replace(f'"{origin}/', f'"{folder}/'))


def empty_root(folder: pathlib.Path) -> None:
    """The first span of all, and nothing that serves."""
    (folder / "spans").mkdir(parents=True)
    (folder / "root").mkdir()
    span_folders.write_span(folder / "spans", 1, num_train=2, num_val=1)


def second_span(folder: pathlib.Path) -> None:
    """A span is known and its model serves; another has arrived."""
    empty_root(folder)
    if run_pass(folder, ""):
        raise AssertionError("The first pass must succeed.")
    create_metadata(folder / "root" / "metadata.sqlite")
    span_folders.write_span(folder / "spans", 2, num_train=2, num_val=1)


def create_metadata(path: pathlib.Path) -> None:
    """An empty ML Metadata, by a process of its own."""
    process = os.fork()
    if process == 0:
        from tfx.orchestration import metadata

        with metadata.Metadata(metadata.sqlite_metadata_connection_config(str(path))) as store:
            store.store.get_artifact_types()
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise AssertionError("ML Metadata could not be made.")


def main() -> int:
    """Runs the program and returns its exit status."""
    warm_up()
    with listening() as (webhook, told):
        for begin in (empty_root, second_span):
            steps = kill_at_every_step(begin, webhook, told)
            print(f"{begin.__name__}: killed before each of {steps} steps; nothing was lost.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
