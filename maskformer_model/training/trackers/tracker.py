"""Defines what a tracker does for a run, and the run's place in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

FINISHED, FAILED, INTERRUPTED = "finished", "failed", "interrupted"


class TrackerError(RuntimeError):
    """The tracker cannot be reached, or refuses the run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The place of a run in a tracker.

    Attributes:
        tracker: "mlflow" or "wandb".
        uri: The server's address; empty: what the tracker's own settings say.
        project: MLflow's experiment, or the project of Weights & Biases.
        run_id: The run's id; empty for a new run.
    """

    tracker: str
    uri: str
    project: str
    run_id: str = ""


class Tracker(Protocol):
    """An open run in a tracker."""

    run: TrackedRun

    def describe(self, settings: Mapping[str, Any], lineage: Mapping[str, str]) -> None:
        """Writes the run's settings by their dotted names, and what it was made from."""

    def write_row(self, row: Mapping[str, float]) -> None:
        """Writes one row of the curves; must not stop a training for a server that is away for a while."""

    def write_scores(self, scores: Mapping[str, float]) -> None:
        """Writes final numbers that are not part of the curves."""

    def write_files(self, path: str, name: str) -> None:
        """Uploads a file or a folder under the name of a folder."""

    def end(self, state: str) -> None:
        """Ends the run as finished, failed or interrupted; sends what was not sent yet."""
