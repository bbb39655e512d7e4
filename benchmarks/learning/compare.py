"""Compares trainings on the same photos in one table: `python -m benchmarks.learning.compare OURS PEER ...`.

The difference is ours minus the peer's. Its interval is that of a paired bootstrap: both models are scored on the same
resamples of the photos. It says what other photos would change, not what another seed of the training would.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.learning.results import Result
    from components.panoptic_evaluator.scoring.bootstrap import Interval

_SEED = 0
_TAILS = (0.025, 0.975)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", metavar="OURS", help="json file of `benchmarks.learning.ours`")
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help="json files of `benchmarks.learning.huggingface` or `.stardist`"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="resamples of the photos (default: %(default)s)")
    options = parser.parse_args(arguments)

    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from rich.console import Console
    from rich.table import Table

    from benchmarks.learning.results import Result, shown_scores

    ours, *peers = (Result.load(path) for path in (options.ours, *options.peers))
    names = shown_scores(ours.task)
    table = Table(title=f"{len(ours.measures)} photos; difference: ours minus the peer's, with its 95 % interval")
    for heading in ("model", "steps", "minutes", "threads", *(f"{n}{d}" for n in names for d in ("", " difference"))):
        table.add_column(heading, overflow="fold")
    for result in (ours, *peers):
        scores = result.scores()
        changes = {} if result is ours else differences(ours, result, options.resamples)
        cells = [
            (f"{scores[name]:.4f}" if name in scores else "", interval_in_words(changes.get(name))) for name in names
        ]
        table.add_row(*_cost(result), *(cell for pair in cells for cell in pair))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def differences(ours: Result, peer: Result, num_resamples: int) -> dict[str, Interval]:
    """Returns ours minus the peer's of every score, with its 95 % interval.

    Raises:
        ValueError: if the two were scored on other photos, tasks or classes.
    """
    from components.panoptic_evaluator.scoring.bootstrap import Interval, resample

    if (ours.task, ours.categories, ours.measures.keys()) != (peer.task, peer.categories, peer.measures.keys()):
        raise ValueError(
            "Results must be of one task, with the same classes and photos. Received: "
            f"{ours.model} ({ours.task}, {len(ours.measures)} photos) and "
            f"{peer.model} ({peer.task}, {len(peer.measures)} photos)"
        )
    changes = resample(ours.layout, ours.vectors(), peer.vectors(), num_resamples=num_resamples).changes
    whole = range(len(ours.measures))
    values = _precision_differences(ours, peer, whole)
    draws = [
        _precision_differences(ours, peer, photos) for photos in _resamples(len(whole), num_resamples if values else 0)
    ]
    for name, value in values.items():
        known = [draw[name] for draw in draws if name in draw]
        low, high = np.quantile(known, _TAILS).tolist() if known else (None, None)
        changes[name] = Interval(value=value, low=low, high=high)
    return changes


def _precision_differences(ours: Result, peer: Result, photos) -> dict[str, float]:
    of_ours, of_peer = ours.precision(photos), peer.precision(photos)
    return {name: of_ours[name] - of_peer[name] for name in of_ours.keys() & of_peer.keys()}


def _resamples(num_photos: int, count: int) -> Iterator[list[int]]:
    generator = np.random.default_rng(_SEED)
    for _ in range(count):
        yield generator.integers(0, num_photos, num_photos).tolist()


def _cost(result: Result) -> tuple[str, ...]:
    minutes = "" if result.seconds is None else f"{result.seconds / 60:.1f}"
    return result.model, str(result.steps), minutes, str(result.settings.get("threads") or "")


def interval_in_words(change: Interval | None) -> str:
    """Returns a difference with its interval; empty where there is none."""
    if change is None:
        return ""
    interval = "" if change.low is None else f" [{change.low:+.4f}, {change.high:+.4f}]"
    return f"{change.value:+.4f}{interval}"


if __name__ == "__main__":
    sys.exit(main())
