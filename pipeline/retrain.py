"""Retrains when there is new data: `python pipeline/retrain.py --spans DIR [-- FLAGS]`, see `--help`.

By default it makes one pass, for use from cron or a systemd timer; with `--every` or `--cron` it keeps running. Flags
after `--` go to every `pipeline/run_local.py` that it starts. Exit status: 0 on success (also if there was nothing to
do, or the gate rejected the model), 1 if a span failed or was set aside, 2 if the command was wrong, 3 if another
instance or a run uses the root, 143 if it was asked to stop.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from maskformer_model.command_errors import run_command  # noqa: E402
from maskformer_model.command_parser import CommandParser  # noqa: E402
from pipeline.project_folder import default_root  # noqa: E402

EXIT_NOT_WELL, EXIT_BUSY, EXIT_STOPPED = 1, 3, 143
LOCK_FILE = "lock"


class AlreadyRunningError(RuntimeError):
    """Another instance uses the root."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="retrain.py",
        description="Looks for new spans. For each one it validates the data, then trains, judges and pushes a model.",
        epilog="Everything after -- goes to run_local.py, such as -- --experiment coco_small --pq_floor 0.3",
    )
    add = parser.add_argument
    add("--spans", metavar="DIR", required=True, help="folder of the spans, local or on an object store such as gs://")
    add("--pattern", metavar="P", default="span-{SPAN}", help="pattern of the spans' names (default: %(default)s)")
    add("--root", metavar="DIR", default=default_root(), help="the pipeline's folder (default: %(default)s)")
    add("--backfill", metavar="3,7-9", default="", help="run only these spans, even if they were run before")
    add("--dry-run", action="store_true", help="print what would happen and why, and do nothing")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--every", metavar="1h", help="a pass now and then at this interval, in s, m, h or d")
    when.add_argument(
        "--cron", metavar="EXPR", help="a pass at the times of this cron expression (five fields), in local time"
    )
    _add_training_flags(parser.add_argument_group("training"))
    add(
        "--attempts",
        type=int,
        default=3,
        metavar="N",
        help="give a span up after this many failed runs (default: %(default)s)",
    )
    add(
        "--webhook",
        metavar="URL|FILE",
        default="",
        help="where to report pushes, rejections and failures; FILE holds the URL",
    )
    add("--allow_http_webhook", action="store_true", help="also allow http:// to other machines")
    add("run_args", nargs="*", metavar="-- FLAGS", help="flags of run_local.py")
    return parser.parse_args(argv)


def _add_training_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    share_help = "share of the train photos that comes from earlier spans (default: %(default)s)"
    add("--history_share", type=float, default=0.5, metavar="S", help=share_help)
    add("--history_spans", type=int, default=0, metavar="N", help="take them from the last N spans; 0: from all")
    add("--cold", action="store_true", help="start every training from scratch, not from the model that serves")
    warm_help = "share of the experiment's steps for a training that starts from a model (default: a third)"
    add("--warm_share", type=float, default=1 / 3, metavar="S", help=warm_help)
    add("--warm_override", default="", metavar="K=V,...", help="settings of such a training; they override all others")
    add("--fixed_eval", default="", metavar="DIR", help="folder whose validation photos every model is also judged on")
    drop_help = "how far PQ on the %s photos may be below the last blessed model's, 0..1 (default: %%(default)s)"
    add("--fixed_drop", type=float, default=0.02, metavar="D", help=drop_help % "fixed")
    add("--new_drop", type=float, default=0.02, metavar="D", help=drop_help % "new")


@contextlib.contextmanager
def only_instance(root: str) -> Iterator[int]:
    """Locks the root's loop for this process and the runs that it starts; yields the lock's file descriptor.

    A run inherits the descriptor and so also holds the lock. If only the loop is killed, no other loop starts while
    that run continues.

    Raises:
        AlreadyRunningError: if another instance holds the lock.
    """
    folder = os.path.join(root, "retrain")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, LOCK_FILE), "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(f"Another instance, or a run that it started, is using {root}.") from error
        yield file.fileno()


class RunProcess:
    """A caller that runs `run_local.py`, one process after the other.

    Args:
        lock: The lock's file descriptor, which every process holds as long as it runs.
        stop: Set when the loop was asked to stop; the process is then asked to stop, too.
        program: The command to run.
    """

    def __init__(self, lock: int, stop: threading.Event, program: Sequence[str] = ()):
        self._lock = lock
        self._stop = stop
        self._program = list(program) or [sys.executable, str(PROJECT_DIR / "pipeline" / "run_local.py")]
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, flags: Sequence[str]) -> int:
        if self._stop.is_set():
            return EXIT_STOPPED
        self._process = subprocess.Popen([*self._program, *flags], pass_fds=(self._lock,), stdin=subprocess.DEVNULL)
        if self._stop.is_set():  # The loop was asked to stop in between.
            self._process.terminate()
        try:
            return self._process.wait()
        finally:
            self._process = None

    def stop(self, *_: Any) -> None:
        """Asks the process to end; training writes a checkpoint first."""
        self._stop.set()
        if self._process is not None:
            self._process.terminate()


def config_from_args(args: argparse.Namespace) -> Any:
    """Turns flags into a `RetrainConfig`.

    Raises:
        KeyError: if a setting of the runs is unknown.
        FileNotFoundError: if the webhook's file does not exist.
        ValueError: if a value breaks its rule.
    """
    from pipeline.retraining import warm_start
    from pipeline.retraining.alerts import read_webhook
    from pipeline.retraining.config import RetrainConfig
    from pipeline.retraining.spans import span_regex

    span_regex(args.pattern)
    warm_start.experiment_of(args.run_args)  # Refuses unknown flags and settings before any work.
    return RetrainConfig(
        spans_dir=_place(args.spans),
        root=os.path.abspath(args.root),
        pattern=args.pattern,
        run_args=tuple(args.run_args),
        history_share=args.history_share,
        history_spans=args.history_spans,
        warm=None if args.cold else warm_start.WarmStart(share=args.warm_share, params_override=args.warm_override),
        fixed_eval=_fixed_eval(args),
        fixed_drop=args.fixed_drop,
        new_drop=args.new_drop,
        attempts=args.attempts,
        webhook=read_webhook(args.webhook, allow_http=args.allow_http_webhook),
    )


def _place(path: str) -> str:
    """Returns an address such as `gs://` as it is, and any other path from the root on."""
    return path if "://" in path else os.path.abspath(path)


def _fixed_eval(args: argparse.Namespace) -> str:
    """Returns the folder of the fixed photos, which must be readable until they are copied.

    Raises:
        ValueError: if it has no whole manifest.
    """
    from pipeline.retraining import mix
    from pipeline.retraining.spans import NotWholeError

    path = args.fixed_eval and _place(args.fixed_eval)
    if path and not mix.fixed_dir(args.root).exists():
        try:
            mix.fixed_source(path)
        except NotWholeError as error:
            raise ValueError(
                f"`--fixed_eval` must be a folder with a manifest. {path}: {error}. "
                f"Write it: python -m components.coco_example_gen.manifest write {path}"
            ) from error
    return path


def passes(args: argparse.Namespace, stop: threading.Event) -> Iterator[None]:
    """Yields once per pass that is due.

    Raises:
        ValueError: if the timetable is not valid.
    """
    from pipeline.retraining import timetable

    if args.every:
        return timetable.every(timetable.parse_every(args.every), stop)
    if args.cron:
        timetable.cron_trigger(args.cron)
        return timetable.by_cron(args.cron, stop)
    return iter([None])


def run_passes(retraining: Any, due: Iterator[None], stop: threading.Event, backfill: Sequence[int]) -> int:
    """Makes passes until none is due or the loop is asked to stop; returns the last pass's exit status.

    Raises:
        OSError, tensorflow.errors.OpError: if the storage fails in the first pass, where a path is more likely wrong
            than a disk. A later pass that fails so is reported, and the next one continues its work.
    """
    from pipeline.retraining.loop import LOG, RootBusyError, StoppedError
    from pipeline.retraining.spans import STORAGE_ERRORS

    status, has_passed = 0, False
    for _ in due:
        try:
            status = 0 if retraining.run_pass(backfill) else EXIT_NOT_WELL
            has_passed = True
        except RootBusyError as error:
            LOG.warning("%s The work is done at the next pass.", error)
            status = EXIT_BUSY
        except StoppedError as error:
            LOG.info("%s", error)
        except STORAGE_ERRORS as error:
            if not has_passed:
                raise
            retraining.report_failed_pass(error)
            status = EXIT_NOT_WELL
        backfill = ()  # Only the first pass; later passes look at all spans.
    return EXIT_STOPPED if stop.is_set() else status


def log_to(root: str) -> None:
    """Sends the loop's own lines to the terminal and to `<root>/retrain/retrain.log`."""
    from pipeline.retraining.loop import LOG

    os.makedirs(os.path.join(root, "retrain"), exist_ok=True)
    file = logging.FileHandler(os.path.join(root, "retrain", "retrain.log"), encoding="utf-8")
    for handler in (logging.StreamHandler(sys.stdout), file):
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    stop = threading.Event()
    from pipeline.local_run import console

    console.quiet_environment()
    return run_command("retrain.py", lambda: _retrain(args, stop))


def _retrain(args: argparse.Namespace, stop: threading.Event) -> int:
    from pipeline.retraining.spans import parse_names

    try:
        config, due = config_from_args(args), passes(args, stop)
        backfill = parse_names(args.backfill) if args.backfill else []
        from pipeline.retraining.loop import Retraining

        if args.dry_run:
            idle = Retraining(config, lambda flags: EXIT_STOPPED)
            print("\n".join(map(idle.explain, idle.decisions(backfill))) or f"{config.spans_dir} has no span.")
            return 0
        with only_instance(config.root) as lock:
            log_to(config.root)
            run = RunProcess(lock, stop)
            signal.signal(signal.SIGTERM, run.stop)
            signal.signal(signal.SIGINT, run.stop)
            return run_passes(Retraining(config, run, stop.is_set), due, stop, backfill)
    except AlreadyRunningError as error:
        print(f"retrain.py: {error}", file=sys.stderr)
        return EXIT_BUSY


if __name__ == "__main__":
    sys.exit(main())
