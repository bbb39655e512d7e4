"""Puts real runs of `run_local.py` through faults: `python -m tests.faults --root DIR [FAULT ...]`.

The root gets a run, and then each fault in turn; after each of them a run must succeed again. Prints a line per fault
and ends with 1 if one did not hold. Full disks are mounted (tmpfs), which needs root; elsewhere they are left out, and
that is said. Takes about half an hour on two quiet cores.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from pipeline.local_run.root_lock import EXIT_ROOT_IN_USE

PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
TINY_MODEL = (
    "task.model.num_queries=8,task.model.num_decoder_layers=1,task.model.which_pixel_decoder=fpn,"
    "task.model.hidden_dim=32,task.model.pixel_decoder_dim=32,task.model.mask_dim=32,"
    "task.train_data.global_batch_size=4,trainer.steps_per_loop=1,trainer.optimizer.drop_steps=[]"
)
NUM_KILLS = 10


class NotHeldError(Exception):
    """What a fault led to is not what it must lead to."""


class Root:
    """A root and the runs in it.

    Args:
        path: Its folder.
        seed: Decides at which moments runs are killed.
    """

    def __init__(self, path: pathlib.Path, seed: int):
        self.path = path
        self.random = random.Random(seed)
        self._steps = 1

    def trains_again(self) -> None:
        """Makes the next runs train, and all behind it."""
        self._steps += 1

    def start(self) -> subprocess.Popen[str]:
        """Starts a run in a process group of its own."""
        flags = ["--root", str(self.path), "--generated_train_images", "12", "--generated_eval_images", "3"]
        overrides = f"{TINY_MODEL},trainer.train_steps={self._steps}"
        return subprocess.Popen(
            [sys.executable, "pipeline/run_local.py", *flags, "--params_override", overrides],
            cwd=PROJECT_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def must_fail(self, *words: str) -> str:
        """Runs and requires a failure in one sentence with these words; returns it."""
        process = self.start()
        output, errors = process.communicate()
        lines = [line for line in (output + errors).splitlines() if line.startswith(("FAILED", "run_local.py:"))]
        sentence = lines[-1] if lines else ""
        if process.returncode == 0 or "Traceback" in output + errors or not all(word in sentence for word in words):
            raise NotHeldError(f"status {process.returncode}, {words} wanted in: {(output + errors)[-600:]}")
        return sentence

    def must_succeed(self) -> None:
        """Runs and requires a success and a served model that is whole."""
        process = self.start()
        output, errors = process.communicate()
        if process.returncode:
            raise NotHeldError(f"status {process.returncode}: {(output + errors)[-600:]}")
        summary = json.loads((self.path / "summary.json").read_text("utf-8"))
        served = sorted(path for path in (self.path / "serving").iterdir() if path.name.isdigit())
        if summary["state"] != "succeeded" or not served or not (served[-1] / "saved_model.pb").is_file():
            raise NotHeldError(f"{summary['state']}, serving {served}")


def kills(root: Root) -> str:
    """Kills the run with -9 at ten random moments; the eleventh run must succeed."""
    root.trains_again()
    started = time.monotonic()
    root.must_succeed()
    whole_s = time.monotonic() - started
    reached: collections.Counter[str] = collections.Counter()
    while reached.total() < NUM_KILLS:
        root.trains_again()  # A run that finds its results in the cache ends before it can be killed.
        process = root.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(root.random.uniform(1, whole_s))
        is_killed = process.poll() is None
        if is_killed:
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if is_killed:
            nodes = [line for line in output.splitlines() if line.startswith("[")]
            reached[f"after {nodes[-1].partition(']')[2].split()[0]}" if nodes else "before the first node"] += 1
    root.must_succeed()
    return f"killed {dict(reached)}; the run after them succeeded"


def two_at_once(root: Root) -> str:
    """Starts two runs together: one runs, the other says that the root is in use."""
    root.trains_again()
    processes = [root.start(), root.start()]
    answers = [process.communicate() for process in processes]
    statuses = sorted(process.returncode for process in processes)
    refusal = next((errors for _, errors in answers if "Another run is using" in errors), "")
    if statuses != [0, EXIT_ROOT_IN_USE] or not refusal:
        raise NotHeldError(f"statuses {statuses}: {answers[0][1][-300:]} | {answers[1][1][-300:]}")
    return refusal.strip()


def metadata_cut(root: Root) -> str:
    """Cuts the database in half; the run says so and changes nothing."""
    with _changed(root.path / "metadata.sqlite") as path:
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
        sentence = root.must_fail("metadata.sqlite", "damaged")
    root.must_succeed()
    return sentence


def metadata_locked(root: Root) -> str:
    """Locks the database in another process for as long as the run lasts."""
    connection = sqlite3.connect(root.path / "metadata.sqlite", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        sentence = root.must_fail("metadata.sqlite", "locked")
    finally:
        connection.rollback()
        connection.close()
    root.must_succeed()
    return sentence


def metadata_of_another_version(root: Root) -> str:
    """Says that the database is of a later version of ML Metadata."""
    with _changed(root.path / "metadata.sqlite") as path:
        connection = sqlite3.connect(path)
        connection.execute("UPDATE MLMDEnv SET schema_version = 99")
        connection.commit()
        connection.close()
        sentence = root.must_fail("metadata.sqlite", "version 99")
    root.must_succeed()
    return sentence


def full_disk_in(folder: str) -> Callable[[Root], str]:
    """Returns the fault of a disk that is full below a folder of the root."""

    def fault(root: Root) -> str:
        root.trains_again()
        place = root.path / folder
        aside = place.with_name(f"{place.name}.aside")
        place.rename(aside)
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=True)
        try:
            sentence = root.must_fail("No space left", str(root.path))
        finally:
            subprocess.run(["umount", place], check=True)
            place.rmdir()
            aside.rename(place)
        root.must_succeed()
        return sentence

    return fault


def moved_root(root: Root) -> str:
    """Moves the root to another name, runs there, and moves it back."""
    moved = Root(root.path.with_name(f"{root.path.name} (moved) {1} é"), 0)
    root.path.rename(moved.path)
    try:
        moved.must_succeed()
        summary = json.loads((moved.path / "summary.json").read_text("utf-8"))
    finally:
        moved.path.rename(root.path)
    root.must_succeed()
    ran = [name for name, node in summary["components"].items() if node["state"] == "ran"]
    return (
        f"succeeded there and back; ran there: {', '.join(ran)}; compared with the earlier model: {summary['outcome']}"
    )


@contextlib.contextmanager
def _changed(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Puts the file back afterwards."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copyfile(path, copy)
    try:
        yield path
    finally:
        os.replace(copy, path)


FAULTS: dict[str, Callable[[Root], str]] = {
    "two_at_once": two_at_once,
    "metadata_cut": metadata_cut,
    "metadata_locked": metadata_locked,
    "metadata_of_another_version": metadata_of_another_version,
    "full_disk_in_trainer": full_disk_in("pipeline/Trainer"),
    "full_disk_in_evaluator": full_disk_in("pipeline/PanopticEvaluator"),
    "full_disk_in_pusher": full_disk_in("serving"),
    "moved_root": moved_root,
    "kills": kills,
}


def main() -> int:
    """Runs the faults; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--root", required=True, type=pathlib.Path, help="an empty folder, or one of an earlier call")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills (default: %(default)s)")
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS], help=f"of {', '.join(FAULTS)} (default: all)")
    args = parser.parse_args()
    root, held = Root(args.root.resolve(), args.seed), True
    try:
        root.must_succeed()
    except NotHeldError as error:
        print(f"first run: NOT HELD. {error}")
        return 1
    for name in args.faults or FAULTS:
        if name.startswith("full_disk") and os.geteuid():
            print(f"{name}: left out, mounting needs root", flush=True)
            continue
        try:
            print(f"{name}: held. {FAULTS[name](root)}", flush=True)
        except NotHeldError as error:
            held = False
            print(f"{name}: NOT HELD. {error}", flush=True)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
