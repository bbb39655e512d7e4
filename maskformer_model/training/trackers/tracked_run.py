"""Opens the tracker that `runtime.tracker` names, and finds a run in it again.

A run's place in the tracker is noted beside its checkpoints and in the exported model. So a training that continues
after a kill continues its curves, and a later step of a pipeline can add its report to the same run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from maskformer_model.config import ExperimentConfig, to_dict
from maskformer_model.config.files import EXTRA_ASSETS_FOLDER, TRACKED_RUN_FILE
from maskformer_model.config.trainer import MLFLOW, TENSORBOARD
from maskformer_model.training.trackers.tracker import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    TrackedRun,
    Tracker,
)

# In a tracker: the folders of the exported model and of its evaluation.
MODEL_FOLDER, REPORT_FOLDER = "model", "report"


def open_run(run: TrackedRun) -> Tracker:
    """Opens a run in its tracker; makes a new one where it has no id.

    Raises:
        ModuleNotFoundError: if the tracker's package is not installed.
        TrackerError: if the tracker cannot be reached.
    """
    if run.tracker == MLFLOW:
        from maskformer_model.training.trackers.mlflow_tracker import MlflowTracker

        return MlflowTracker(run)
    from maskformer_model.training.trackers.wandb_tracker import WandbTracker

    return WandbTracker(run)


@contextlib.contextmanager
def tracked(config: ExperimentConfig, model_dir: str, lineage: Mapping[str, str]) -> Iterator[Tracker | None]:
    """Keeps the run in `model_dir` open in its tracker; an error inside ends it there as failed.

    Args:
        config: The experiment; `runtime` names the tracker.
        model_dir: The folder of the training run, where its place in the tracker is noted.
        lineage: What the run is made from, by name.

    Yields:
        The open run; None for TensorBoard, whose files are always written.

    Raises:
        ModuleNotFoundError: if the tracker's package is not installed.
        TrackerError: if the tracker cannot be reached.
    """
    runtime = config.runtime
    if runtime.tracker == TENSORBOARD:
        yield None
        return
    wanted = TrackedRun(tracker=runtime.tracker, uri=runtime.tracker_uri, project=runtime.tracker_project)
    earlier = read_tracked_run(model_dir)
    if earlier is not None and dataclasses.replace(earlier, run_id="") == wanted:
        wanted = earlier
    tracker = open_run(wanted)
    state = FAILED
    try:
        write_tracked_run(model_dir, tracker.run)
        tracker.describe(flat_settings(config), lineage)
        yield tracker
        state = FINISHED
    except BaseException as error:
        # By name: `callbacks`, which raises it, is not needed to track a run.
        if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TrainingInterruptedError":
            state = INTERRUPTED
        raise
    finally:
        tracker.end(state)


def report_model(training_dir: str, model_dir: str) -> None:
    """Uploads an exported model to the run that it comes from, and notes the run in the model; needs no tracker.

    Args:
        training_dir: The folder of the training run.
        model_dir: The exported SavedModel.

    Raises:
        ModuleNotFoundError: if the tracker's package is not installed.
        TrackerError: if the tracker cannot be reached.
    """
    run = read_tracked_run(training_dir)
    if run is None:
        return
    write_tracked_run(os.path.join(model_dir, EXTRA_ASSETS_FOLDER), run)
    with run_of_model(model_dir) as tracker:
        if tracker is not None:
            tracker.write_files(model_dir, MODEL_FOLDER)


@contextlib.contextmanager
def run_of_model(model_dir: str) -> Iterator[Tracker | None]:
    """Opens again the run that an exported model comes from; yields None where it was not tracked.

    Raises:
        ModuleNotFoundError: if the tracker's package is not installed.
        TrackerError: if the tracker cannot be reached.
    """
    run = read_tracked_run(os.path.join(model_dir, EXTRA_ASSETS_FOLDER))
    if run is None:
        yield None
        return
    tracker = open_run(run)
    try:
        yield tracker
    finally:
        tracker.end(FINISHED)


def read_tracked_run(directory: str) -> TrackedRun | None:
    """Reads the place of a run; None where none was noted."""
    import tensorflow as tf

    path = os.path.join(directory, TRACKED_RUN_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return TrackedRun(**json.load(file))


def write_tracked_run(directory: str, run: TrackedRun) -> None:
    """Notes the place of a run in a folder."""
    import tensorflow as tf

    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, TRACKED_RUN_FILE), "w") as file:
        json.dump(dataclasses.asdict(run), file, indent=1)


def flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Returns every setting by its dotted name, as `--params_override` takes them."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            for name, item in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, item)
        else:
            yield prefix, value

    return dict(walk("", to_dict(config)))
