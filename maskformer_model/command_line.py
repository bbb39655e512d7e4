"""The command `maskformer`: one entry to the programs of all three packages, see `maskformer --help`.

Each sub command is a module with a `main(argv)` of its own, which can also be started as `python -m MODULE`. Here are
only their names. A module is imported once its command is asked for, so this package needs none of those above it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from maskformer_model import extras
from maskformer_model.command_parser import COMPLETION_VARIABLE, CommandParser, complete, started_as

PROGRAM, DISTRIBUTION = "maskformer", "maskformer-tfx"
EXIT_USAGE = 2
_PACKAGES = ("components", "pipeline")
# Where a wheel keeps those two, whose names other distributions use too; see `setup.py`.
_WHEEL_FOLDER = "maskformer_tfx"


@dataclasses.dataclass(frozen=True)
class Command:
    """A sub command.

    Attributes:
        module: The module that does the work.
        summary: What it does, for the list of commands.
        extra: The extra that it needs; empty for none.
        function: The module's function that takes the arguments and returns the exit status.
    """

    module: str
    summary: str
    extra: str = ""
    function: str = "main"


COMMANDS = {
    "demo": Command("pipeline.run_local", "draws scenes, trains, judges and pushes a small model", "pipeline"),
    "inspect": Command("components.coco_example_gen.inspect", "shows what a data folder holds", "pipeline"),
    "manifest": Command("components.coco_example_gen.manifest", "hashes a data folder, or checks it", "pipeline"),
    "convert": Command("maskformer_model.convert_checkpoint", "converts a published checkpoint"),
    "train": Command("components.training.train_data_folder", "trains or fine-tunes a model"),
    "evaluate": Command("components.panoptic_evaluator.evaluate", "scores predictions or a model", "pipeline"),
    "predict": Command("maskformer_model.predict", "segments photos with an exported model", function="run"),
    "export": Command("maskformer_model.export_weights", "writes weights as a SavedModel that takes photos"),
    "serve": Command("maskformer_model.serve.__main__", "serves an exported model over HTTP", "serve"),
    "pipeline run": Command("pipeline.run_local", "runs the pipeline on a data folder, here", "pipeline"),
    "pipeline compile": Command("pipeline.compile_kubeflow", "compiles it for Vertex AI or Kubeflow", "pipeline"),
    "pipeline test": Command("pipeline.run_compiled", "tests a compiled pipeline on this machine", "pipeline"),
    "pipeline schedule": Command("pipeline.recurring_runs", "lets a platform repeat a compiled one", "pipeline"),
    "pipeline retrain": Command("pipeline.retrain", "runs the pipeline on each new span of data", "pipeline"),
    "pipeline rollback": Command("pipeline.rollback", "lets the model before serve again", "pipeline"),
    "pipeline lineage": Command("pipeline.lineage", "shows what a pushed model was made of", "pipeline"),
}
GROUPS = {"pipeline": "runs, compiles and repeats the pipeline"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sub command that the arguments name; returns its exit status."""
    completes = COMPLETION_VARIABLE in os.environ
    words = _words_before_cursor() if completes else list(sys.argv[1:] if argv is None else argv)
    name, rest = split_command(words)
    if name:
        return _run(name, rest, completes)
    group = words[0] if words and words[0] in GROUPS else ""
    parser = _parser(group)
    if completes:
        _shift_completion(1 if group else 0)
        complete(parser)
    arguments = words[1:] if group else words
    if not arguments:
        parser.print_help()
        return EXIT_USAGE
    parser.parse_args(arguments)
    return EXIT_USAGE


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the sub command that the words begin with, and what follows it; an empty name if there is none."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in COMMANDS:
            return name, list(words[length:])
    return "", []


def _run(name: str, argv: list[str], completes: bool) -> int:
    command = COMMANDS[name]
    put_our_packages_first()
    wants_help = completes or not {"-h", "--help"}.isdisjoint(argv)
    missing = extras.missing_modules(command.extra) if command.extra and not wants_help else []
    if missing:
        return _refused(name, extras.advice(command.extra, missing))
    if completes:
        _shift_completion(len(name.split()))
    with started_as(f"{PROGRAM} {name}"):
        try:
            module = importlib.import_module(command.module)
        except ModuleNotFoundError as error:
            if not command.extra or (error.name or "").split(".")[0] in (*_PACKAGES, "maskformer_model"):
                raise
            return _refused(name, extras.advice(command.extra, [str(error.name)]))
        return getattr(module, command.function)(argv)


def _refused(name: str, message: str) -> int:
    print(f"{PROGRAM} {name}: {message}", file=sys.stderr)
    return EXIT_USAGE


def _parser(group: str) -> CommandParser:
    """Returns the parser that lists the commands, or those of a group."""
    if group:
        parser = CommandParser(prog=f"{PROGRAM} {group}", description=f"maskformer {group} {GROUPS[group]}.")
        shown = {name.split()[1]: command.summary for name, command in COMMANDS.items() if name.startswith(f"{group} ")}
    else:
        parser = CommandParser(
            prog=PROGRAM,
            description="MaskFormer and Mask2Former: from your data, or a published checkpoint, to a server.",
        )
        parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
        shown = {name: command.summary for name, command in COMMANDS.items() if " " not in name} | GROUPS
    commands = parser.add_subparsers(metavar="COMMAND", title="commands (each has a --help)")
    for name, summary in shown.items():
        commands.add_parser(name, help=summary, prog=f"{parser.prog} {name}")
    return parser


class _ShowVersion(argparse.Action):
    """Looks the version up when it is asked for, which takes longer than the rest of `--help`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{PROGRAM} {version()}")
        parser.exit()


def version() -> str:
    """Returns the installed version of the project, or says that it is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "(a checkout that is not installed)"


def put_our_packages_first() -> None:
    """Lets `import pipeline` find ours, here and in the processes that are started from here.

    Other distributions bring packages of these names too, and the one that stands first in `sys.path` is imported.
    """
    parent = pathlib.Path(__file__).resolve().parent.parent
    place = str(parent / _WHEEL_FOLDER) if (parent / _WHEEL_FOLDER).is_dir() else str(parent)
    if sys.path[0] != place:
        sys.path.insert(0, place)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != place]
    os.environ["PYTHONPATH"] = os.pathsep.join([place, *others])
    for name in _PACKAGES:
        found = importlib.util.find_spec(name)
        if name in sys.modules and found and pathlib.Path(str(found.origin)).parent.parent != pathlib.Path(place):
            print(
                f"{PROGRAM}: another package named `{name}` was imported before ours: {found.origin}", file=sys.stderr
            )


def _words_before_cursor() -> list[str]:
    """The whole words of the line that a shell wants completed, without the program and the word at the cursor."""
    line = os.environ.get("COMP_LINE", "")
    line = line[: int(os.environ.get("COMP_POINT", len(line)))]
    try:
        words = shlex.split(line)
    except ValueError:  # An open quotation mark.
        words = line.split()
    start = int(os.environ[COMPLETION_VARIABLE])
    return words[start:] if line.endswith(" ") else words[start:-1]


def _shift_completion(num_words: int) -> None:
    """Tells argcomplete that the program's name has so many words more."""
    os.environ[COMPLETION_VARIABLE] = str(int(os.environ[COMPLETION_VARIABLE]) + num_words)
