"""Builds a span's mix from the span, its history and the fixed photos, and makes the flags of its run.

`mixed_data` decides which photos get into a mix.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipeline.retraining import mixed_data, warm_start
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.mixed_data import FIXED, OtherDataError, Source
from pipeline.retraining.spans import NotWholeError, Span, stated_manifest


class SpanMovedError(OSError):
    """A span was renamed, removed or written anew while it was read: nothing that was found in it counts."""


@contextlib.contextmanager
def unmoved(sources: Sequence[Source]) -> Iterator[None]:
    """Holds the folders that are read in the context to what they were, at its end.

    A folder that was renamed meanwhile looks as if its photos were not there or could not be read.

    Raises:
        SpanMovedError: if one was renamed, removed or written anew, whatever was found in it.
    """
    try:
        yield
    except (OtherDataError, OSError):
        _require_unmoved(sources)
        raise
    _require_unmoved(sources)


def _require_unmoved(sources: Sequence[Source]) -> None:
    for source in sources:
        try:
            is_same = stated_manifest(_as_span(source.path)) == source.manifest
        except NotWholeError:
            is_same = False
        if not is_same:
            raise SpanMovedError(f"{source.name} was renamed, removed or written anew while it was read: {source.path}")


def fixed_dir(root: str) -> pathlib.Path:
    """Returns the folder of the photos that every run is judged on."""
    return pathlib.Path(root, "retrain", "fixed")


def mix_dir(root: str, digest: str) -> pathlib.Path:
    """Returns the folder of a span's mix."""
    return pathlib.Path(root, "retrain", "data", digest[:16])


def check_fits(config: RetrainConfig, span: Source) -> None:
    """Compares a span's categories with those of the fixed photos, if these are pinned.

    Raises:
        OtherDataError: if they differ.
    """
    if fixed_dir(config.root).exists():
        mixed_data.check_categories(span.path, str(fixed_dir(config.root)))


def pin_fixed(config: RetrainConfig, span: Source) -> None:
    """Copies the photos that judge every run, once: those of `fixed_eval`, or else the first span's."""
    if fixed_dir(config.root).exists():
        return
    source = fixed_source(config.fixed_eval) if config.fixed_eval else span
    mixed_data.pin_eval_photos(str(fixed_dir(config.root)), source)


def build(config: RetrainConfig, digest: str, span: Source, history: Sequence[Source]) -> dict[str, Any]:
    """Writes a span's mix.

    Returns:
        The number of photos by folder, for `train` and `eval`.

    Raises:
        OtherDataError: if the span cannot be mixed with the others.
        OSError: if the mix cannot be written.
    """
    pin_fixed(config, span)
    return mixed_data.build_mix(
        str(mix_dir(config.root, digest)),
        span,
        history,
        fixed_source(str(fixed_dir(config.root))),
        history_share=config.history_share,
    )


def training_flags(config: RetrainConfig, digest: str, initial: str, eval_counts: Mapping[str, int]) -> list[str]:
    """Returns the flags of the run that trains on a mix: its data, its rules and its initial weights."""
    kind = warm_start.experiment_of(config.run_args).task.kind
    return [
        *("--data", str(mix_dir(config.root, digest))),
        *warm_start.judging_flags(eval_counts, config.fixed_drop, config.new_drop, kind),
        *warm_start.training_flags(config.run_args, initial, config.warm or warm_start.WarmStart()),
    ]


def remove_others(root: str, digests: Collection[str]) -> None:
    """Removes every mix except those of the given spans, whose runs continue."""
    kept = {mix_dir(root, digest) for digest in digests}
    for path in pathlib.Path(root, "retrain", "data").glob("*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def fixed_source(path: str) -> Source:
    """Returns a folder of photos that judge every run.

    Raises:
        NotWholeError: if it has no manifest, or a truncated one.
    """
    return Source(FIXED, path, stated_manifest(_as_span(path)))


def _as_span(path: str) -> Span:
    return Span(name=path, path=path, number=0)
