"""The command line that all peers share: a training of some minutes, its scores, and a json file of both."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.learning.photos import Photos
    from benchmarks.learning.results import Result


def make_parser(description: str, *, data: str, threads_of: str, learning_rate: float) -> argparse.ArgumentParser:
    """Returns the parser of the options that all peers have.

    Args:
        description: What the command does.
        data: What the data folder may be called.
        threads_of: Which libraries `--threads` is for.
        learning_rate: The default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True, metavar="DIR", help=f"folder called {data}")
    parser.add_argument("--records", metavar="DIR", help="folder for the records (default: beside the output)")
    parser.add_argument("--minutes", required=True, type=float, help="wall time of the training")
    parser.add_argument("--threads", required=True, type=int, help=f"threads of {threads_of}")
    parser.add_argument("--output", required=True, metavar="FILE", help="json file to write")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    parser.add_argument("--learning_rate", type=float, default=learning_rate, help="default: %(default)s")
    parser.add_argument("--max_steps", type=int, default=0, help="stop earlier, after so many steps (0: never)")
    parser.add_argument("--max_photos", type=int, default=0, help="score on the first ones only (0: on all)")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """Returns the options, checked, and imports TensorFlow without its messages."""
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.threads < 1:
        raise SystemExit(f"--minutes and --threads must be positive. Received: {options.minutes}, {options.threads}")
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    return options


def train_and_score(run: Callable[[Photos, argparse.Namespace], Result], options: argparse.Namespace) -> int:
    """Reads the photos, runs a peer on them, writes the json file and prints the scores."""
    from benchmarks.learning import photos

    records_dir = options.records or photos.records_beside(options.output, options.data)
    result = run(photos.read(options.data, records_dir), options)
    result.save(options.output)
    print(", ".join(f"{name} {value:.4f}" for name, value in result.scores().items()))
    return 0


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that a result keeps, by name."""
    return {name: value for name, value in vars(options).items() if name not in ("data", "records", "output")}
