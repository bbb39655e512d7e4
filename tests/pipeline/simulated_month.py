"""A month in minutes: `python -m tests.pipeline.simulated_month [--short|--kills]`, a span a day through the loop.

Everything is real but the Trainer, whose models know a given share of the photos by heart (`prepared_trainer`), so that
a day's model is as good or as bad as the day asks for. After each day the states, the log, the page, the alerts and
what serves are held against what they must be; the first that is wrong ends the program with status 1. Runs are forked
from this process, which has imported TFX once; a killed run is a killed process all the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from components.pushing import model_versions
from pipeline import lineage, retrain, run_local
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.loop import Retraining, RootBusyError
from pipeline.retraining.span_states import FAILED, PUSHED, REJECTED, SET_ASIDE, SpanStates
from tests.pipeline import prepared_trainer, span_folders
from tests.pipeline.webhook import listening

NUM_TRAIN, NUM_VAL = 6, 8
COLUMNS = ("day", "what arrives", "the span", "serves", "runs", "s")
NOTHING = "nothing"
NODES = (
    *("CocoExampleGen", "SchemaGen", "latest_blessed_model", "StatisticsGen", "Transform", "DriftGate"),
    *("ExampleValidator", "AnomalyGate", "Trainer", "InfraValidator", "PanopticPredictor", "BaselinePredictor"),
    *("PanopticEvaluator", "Pusher"),
)


class ForkedRun:
    """Runs `run_local.main` in a forked process.

    Attributes:
        quality: The models' quality, a key of `prepared_trainer.KNOWN`.
        dies_at: node at whose beginning the process is killed, or "push": while the model is copied. Once.
        count: processes that were started.
    """

    def __init__(self):
        self.quality = prepared_trainer.FIRST
        self.dies_at = ""
        self.count = 0

    def __call__(self, flags: Sequence[str]) -> int:
        self.count += 1
        dies_at, self.dies_at = ("", self.dies_at) if "--validate_only" in flags else (self.dies_at, "")
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            settings = f"trainer.train_steps={self.quality},trainer.optimizer.drop_steps=[]"
            os._exit(self._run([*flags, "--params_override", settings], dies_at))
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def _run(self, flags: list[str], dies_at: str) -> int:
        from pipeline import maskformer_pipeline
        from pipeline.local_run import console

        # No terminal: what a run says is in its log and its summary.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        maskformer_pipeline.trainer_adapter = prepared_trainer
        if dies_at == "push":
            model_versions._flush_to_disk = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        begins = console.ConsoleProgress.node_begins

        def node_begins(progress, node_id, *rest):
            if node_id == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            begins(progress, node_id, *rest)

        console.ConsoleProgress.node_begins = node_begins
        return run_local.main(flags)


@dataclasses.dataclass(frozen=True)
class Day:
    """One day.

    Attributes:
        what: arrives, in words.
        arrive: makes it so; receives the month and the day's number.
        became: state of the day's span afterwards; "waits", or "nothing" where it is not run.
        alerts: events that the webhook hears of.
        pushes: whether another model serves afterwards.
        of: which day's span it is about: 0 today's, -1 yesterday's.
    """

    what: str
    arrive: Callable[[Month, int], None]
    became: str = NOTHING
    alerts: tuple[str, ...] = ()
    pushes: bool = False
    of: int = 0


class WrongDayError(AssertionError):
    """Something is not as it must be after a day."""


class Month:
    """The folder of spans, the loop and what is known of it."""

    def __init__(self, root: pathlib.Path, webhook: str, told: list[dict]):
        self.root, self.spans, self.told = root / "root", root / "spans", told
        self.spans.mkdir(parents=True, exist_ok=True)
        self.run = ForkedRun()
        self.backfill: list[int] = []
        run_args = ("--experiment", "generated_scenes", "--max_class_drift", "0.3")
        self.config = RetrainConfig(
            spans_dir=str(self.spans),
            root=str(self.root),
            run_args=run_args,
            webhook=webhook,
            history_spans=3,
            attempts=99,
        )
        self.states = SpanStates(str(self.root))
        retrain.log_to(str(self.root))

    def write_span(self, number: int, **options) -> pathlib.Path:
        """Draws a span of the month's size."""
        return span_folders.write_span(self.spans, number, num_train=NUM_TRAIN, num_val=NUM_VAL, **options)

    def live(self, number: int, day: Day) -> tuple:
        """One day: something arrives, the loop passes, everything is checked; returns a row of the table."""
        start_s, runs = time.monotonic(), self.run.count
        versions, log_bytes = self.versions, self.log.stat().st_size
        self.told.clear()
        day.arrive(self, number)
        try:
            Retraining(self.config, self.run).run_pass(self.backfill)
        except RootBusyError as error:
            print(f"  {error}")
        self.backfill = []
        with open(self.log, encoding="utf-8") as file:
            file.seek(log_bytes)
            lines = file.read()
        self._check(number, day, versions, lines)
        return number, day.what, day.became, self.versions[-1], self.run.count - runs, time.monotonic() - start_s

    def _check(self, number: int, day: Day, before: list[int], lines: str) -> None:
        name = f"span-{number + day.of}"
        found = {state.span: state.state for state in self.states.all()}
        page = (self.root / "index.html").read_text(encoding="utf-8")
        newest = self.versions[-1]
        facts = {
            "state": found.get(name, NOTHING) == (day.became if day.became != "waits" else NOTHING),
            "page shows the span": (f"<strong>{name}</strong>" in page) == (day.became != NOTHING),
            "page shows the state": day.became == NOTHING or f">{day.became}</span>" in page,
            "page shows what serves": f"{self.root}/serving/{newest}" in page,
            "log": day.became == NOTHING or name in lines,
            "alerts": tuple(alert["event"] for alert in self.told) == day.alerts,
            "serving pointer": (newest != (before or [None])[-1]) == day.pushes,
            "a whole model serves": (self.root / "serving" / str(newest) / "saved_model.pb").is_file(),
            "lineage": not day.pushes or lineage_is_known(self.root, newest, name),
        }
        if wrong := [fact for fact, holds in facts.items() if not holds]:
            raise WrongDayError(f"Day {number} ({day.what}): {wrong}. {found} {self.told} {lines}")

    @property
    def versions(self) -> list[int]:
        """That can serve, oldest first."""
        return model_versions.list_versions(self.root / "serving")

    @property
    def log(self) -> pathlib.Path:
        """Of the loop."""
        return self.root / "retrain" / "retrain.log"


def lineage_is_known(root: pathlib.Path, version: int, span: str) -> bool:
    """Whether a version leads back to its data, code and score, also where the run that trained it was killed."""
    newest = lineage.trace(str(root), version)[0]
    known = all(newest[key] is not None for key in ("pq", "data", "data_fingerprint", "code", "source_sha256", "mix"))
    return known and newest["span"] == span


def new(month: Month, number: int) -> None:
    """A span of new scenes."""
    month.write_span(number)


def other_scenes(month: Month, number: int) -> None:
    """Scenes of another size."""
    month.write_span(number, size_px=72)


def unchanged(month: Month, number: int) -> None:
    """Yesterday's data once more."""
    span_folders.copy_span(month.spans, 1, number)


def nothing(month: Month, number: int) -> None:
    """A day without a span."""


def half_copied(month: Month, number: int) -> None:
    """A span whose copy has not come to its end."""
    month.write_span(number)
    sorted((month.spans / f"span-{number}" / "train2017").iterdir())[-1].rename(month.spans / "still-on-its-way")


def arrives_whole(month: Month, number: int) -> None:
    """The rest of yesterday's span."""
    photos = month.spans / f"span-{number - 1}" / "train2017"
    last = sorted(photos.iterdir())[-1]
    # Photos are numbered in tens.
    (month.spans / "still-on-its-way").rename(photos / f"{int(last.stem) + 10:012d}.jpg")


def other_classes(month: Month, number: int) -> None:
    """A span with a renamed class."""
    span_folders.change_annotations(month.write_span(number), span_folders.rename_a_class)


def broken(month: Month, number: int) -> None:
    """A span half of whose photos are damaged."""
    span_folders.damage_photos(month.write_span(number))


def drifted(month: Month, number: int) -> None:
    """A span whose balls, crates and rings are all tents."""
    span_folders.change_annotations(month.write_span(number), span_folders.drift)


def worse(month: Month, number: int) -> None:
    """New scenes, from which a worse model is learnt."""
    month.write_span(number)
    month.run.quality = prepared_trainer.WORSE


def better(month: Month, number: int) -> None:
    """New scenes, from which a better model is learnt."""
    month.write_span(number)
    month.run.quality = prepared_trainer.BETTER


def killed(at: str, quality: int = prepared_trainer.BETTER) -> Callable[[Month, int], None]:
    """New scenes, and kill -9 at a node; the loop itself dies, too, and starts again."""

    def arrive(month: Month, number: int) -> None:
        month.write_span(number)
        month.run.quality = quality
        go_on_and_die(month, at)

    return arrive


def go_on_and_die(month: Month, at: str) -> None:
    """A pass whose run is killed at a node."""
    month.run.dies_at = at
    before = month.versions
    Retraining(dataclasses.replace(month.config, webhook=""), month.run).run_pass()
    state = month.states.all()[-1]
    if month.versions != before or (state.state, state.reason) != (FAILED, "the run was interrupted (signal 9)"):
        raise WrongDayError(f"What serves must outlive a kill at {at}. Received: {state}, {month.versions}")


def killed_everywhere(month: Month, number: int) -> None:
    """New scenes, and kill -9 at the beginning of every node, run after run, and in the middle of the push."""
    better(month, number)
    for node in (*NODES, "push"):
        go_on_and_die(month, node)


def metadata_cut_short(month: Month, number: int) -> None:
    """ML Metadata's file loses its second half."""
    path = month.root / "metadata.sqlite"
    os.truncate(path, path.stat().st_size // 2)
    month.write_span(number)


def two_at_once(month: Month, number: int) -> None:
    """A second scheduler is started beside the first."""
    with retrain.only_instance(str(month.root)):
        status = retrain.main(["--spans", str(month.spans), "--root", str(month.root)])
    if status != retrain.EXIT_BUSY:
        raise WrongDayError(f"The second scheduler must be refused. Received: {status}")


SHORT = [
    Day("kill -9 while pushing", killed("push", prepared_trainer.FIRST), PUSHED, ("pushed",), True),
    Day("unchanged", unchanged),
    Day("half-copied", half_copied, "waits"),
    Day("other classes", other_classes, SET_ASIDE, ("set aside",)),
    Day("broken photos", broken, SET_ASIDE, ("set aside",)),
    Day("drifted", drifted, SET_ASIDE, ("set aside",)),
    Day("a worse model, kill -9", killed("PanopticEvaluator", prepared_trainer.WORSE), REJECTED, ("rejected",)),
    Day("two schedulers at once", two_at_once),
]
KILLS = [
    Day("new scenes", new, PUSHED, ("pushed",), True),
    Day("kill -9 at every step", killed_everywhere, PUSHED, ("pushed",), True),
]
LONG = [
    Day("new scenes", new, PUSHED, ("pushed",), True),
    Day("unchanged", unchanged),
    Day("half-copied", half_copied, "waits"),
    Day("whole, a day later", arrives_whole, PUSHED, ("pushed",), True, of=-1),
    Day("other classes", other_classes, SET_ASIDE, ("set aside",)),
    Day("nothing", nothing),
    Day("broken photos", broken, SET_ASIDE, ("set aside",)),
    Day("drifted", drifted, SET_ASIDE, ("set aside",)),
    Day("unchanged", unchanged),
    Day("a worse model", worse, REJECTED, ("rejected",)),
    Day("nothing", nothing),
    Day("a better model", better, PUSHED, ("pushed",), True),
    Day("two schedulers at once", two_at_once),
    Day("kill -9 at every step", killed_everywhere, PUSHED, ("pushed",), True),
    Day("unchanged", unchanged),
    Day("scenes of another size", other_scenes, PUSHED, ("pushed",), True),
    *[Day("nothing", nothing), Day("unchanged", unchanged)] * 2,
    Day("ML Metadata cut short", metadata_cut_short, PUSHED, ("metadata restored", "pushed"), True),
    Day("other classes", other_classes, SET_ASIDE, ("set aside",)),
    Day("half-copied", half_copied, "waits"),
    Day("nothing", nothing),
    Day("unchanged", unchanged),
    Day("nothing", nothing),
    Day("kill -9 while pushing", killed("push"), PUSHED, ("pushed",), True),
    Day("unchanged", unchanged),
    Day("other classes", other_classes, SET_ASIDE, ("set aside",)),
    Day("nothing", nothing),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = argparse.ArgumentParser(prog="simulated_month", description=__doc__.split("\n")[0])
    parser.add_argument("--short", dest="days", action="store_const", const=SHORT, help="the kinds of day that CI runs")
    parser.add_argument("--kills", dest="days", action="store_const", const=KILLS, help="kill -9 at every node alone")
    parser.add_argument("--root", help="default: a temporary folder")
    args = parser.parse_args(argv)
    from pipeline import maskformer_pipeline  # noqa: F401  (once, for all forked runs)
    from pipeline.local_run import stepwise_runner  # noqa: F401  (once, for all forked runs)

    with tempfile.TemporaryDirectory() as temporary, listening() as (webhook, told):
        month = Month(pathlib.Path(args.root or temporary), webhook, told)
        print(
            "| day | what arrives | the span | serves | runs | s |\n| --- | --- | --- | --- | --- | --- |", flush=True
        )
        for number, day in enumerate(args.days or LONG, start=1):
            try:
                row = month.live(number, day)
            except WrongDayError as error:
                print(f"WRONG: {error}", file=sys.stderr)
                return 1
            print("| {} | {} | {} | {} | {} | {:.0f} |".format(*row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
