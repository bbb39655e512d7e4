"""Reports a run to Weights & Biases, by its own client (`wandb`, extra `trackers`), which sends in the background.

Key, team and offline mode are the client's own settings (`wandb login`, `WANDB_ENTITY`, `WANDB_MODE=offline`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from maskformer_model import extras
from maskformer_model.training.tensorboard import tag_of
from maskformer_model.training.trackers.tracker import FINISHED, TrackedRun, TrackerError

_NO_METRICS = ("step", "seconds")


class WandbTracker:
    """A run of Weights & Biases.

    Args:
        run: The run; without an id a new one is made.

    Raises:
        ModuleNotFoundError: if wandb is not installed.
        TrackerError: if the service cannot be reached, or there is no key.
    """

    def __init__(self, run: TrackedRun):
        extras.require("trackers")
        import wandb

        self._wandb = wandb
        settings = wandb.Settings(base_url=run.uri) if run.uri else None
        try:
            self._run = wandb.init(
                project=run.project, id=run.run_id or None, resume="allow", settings=settings, reinit="create_new"
            )
        except wandb.errors.Error as error:
            raise TrackerError(
                "Weights & Biases must answer before a training starts. Run `wandb login`, or set WANDB_MODE=offline, "
                f"or train without `runtime.tracker`. Received: {error}"
            ) from error
        self.run = dataclasses.replace(run, run_id=self._run.id)

    def describe(self, settings: Mapping[str, Any], lineage: Mapping[str, str]) -> None:
        """Writes settings and lineage as the run's config."""
        self._run.config.update(
            {**settings, **{f"lineage.{name}": value for name, value in lineage.items()}}, allow_val_change=True
        )

    def write_row(self, row: Mapping[str, float]) -> None:
        """Writes a row of the curves."""
        values = {tag_of(name): value for name, value in row.items() if name not in _NO_METRICS}
        self._run.log(values, step=int(row["step"]))

    def write_scores(self, scores: Mapping[str, float]) -> None:
        """Writes final numbers into the run's summary."""
        self._run.summary.update(dict(scores))

    def write_files(self, path: str, name: str) -> None:
        """Uploads a file or folder as an artifact; one of an object store is referred to by its address."""
        artifact = self._wandb.Artifact(f"{self._run.id}-{name}", type=name)
        if "://" in path:
            artifact.add_reference(path)
        elif os.path.isdir(path):
            artifact.add_dir(path)
        else:
            artifact.add_file(path)
        self._run.log_artifact(artifact)

    def end(self, state: str) -> None:
        """Ends the run; the client sends what is left."""
        self._run.finish(exit_code=0 if state == FINISHED else 1)
