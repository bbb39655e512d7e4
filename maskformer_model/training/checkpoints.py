"""Saves checkpoints of a training run with everything that the next step depends on, so that a kill costs little.

TensorFlow's own format: written beside its final name and then renamed, every tensor under a checksum. What is saved:
weights, optimizer (moments, averages, step), states of random generators, means of the curves. The order of examples
follows from the step and the seed (`input_pipeline.make_dataset`). Finished weights are in another file, see
`loop.py`.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from typing import Any

import keras
import tensorflow as tf

from maskformer_model.pretrained.training_run import AVERAGE, NETWORK, PREFIX, TRAINING, saved_checkpoints

# What TensorFlow raises for files that are missing, cut short or changed; its reader translates some and not others.
_DAMAGE = (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError, IndexError, RuntimeError)
BEST_FOLDER = "best_ckpt"
BEST_FILE = "best.json"


def _named_variables(model: Any) -> dict[str, Any]:
    """All state of a training, named by position: Keras's names count how many layers a process has made before."""
    optimizer = model.optimizer
    named = {f"{NETWORK}{index:05d}": variable for index, variable in enumerate(model.network.variables)}
    if optimizer.use_ema:
        place = {id(variable): name.removeprefix(NETWORK) for name, variable in named.items()}
        averages = optimizer._model_variables_moving_average
        named |= {
            AVERAGE + place[id(variable)]: average
            for variable, average in zip(model.trainable_variables, averages, strict=True)
        }
    seen = {id(variable) for variable in named.values()}
    everything = [*model.variables, *model.metrics_variables, *optimizer.variables]
    rest = [variable for variable in everything if id(variable) not in seen]
    return named | {f"{TRAINING}{index:05d}": variable for index, variable in enumerate(rest)}


class TrainingCheckpoints:
    """The checkpoints of one `model_dir`.

    Args:
        model: Built and compiled `MaskFormerTraining`, its optimizer built.
        model_dir: Any file system that TensorFlow writes to.
        max_to_keep: Older ones are deleted; the best one is kept apart.
        best_by: Name of the score that says which one is the best.
        is_writer: Whether this process's files stay. All processes of a job call `save` at the same steps, because
            the replicas' means are summed then; what the others write is thrown away.

    Raises:
        ValueError: if TensorFlow's list of the folder's checkpoints is damaged.
    """

    def __init__(self, model: Any, model_dir: str, max_to_keep: int, *, best_by: str = "pq", is_writer: bool = True):
        self._variables = _named_variables(model)
        # TensorFlow saves its own variables; what another backend holds goes through copies of the same names.
        self._copied = keras.backend.backend() != "tensorflow"
        state = {
            name: tf.Variable(keras.ops.convert_to_numpy(variable)) if self._copied else variable.value
            for name, variable in self._variables.items()
        }
        self._state = state
        self._model_dir = model_dir
        self._best_by = best_by
        self._is_writer = is_writer
        self._thrown_away = None if is_writer else tempfile.TemporaryDirectory()
        self._checkpoint = tf.train.Checkpoint(**state)
        folder = self._thrown_away.name if self._thrown_away else model_dir
        try:
            self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep, checkpoint_name=PREFIX)
        except ValueError as error:
            raise ValueError(
                f"TensorFlow's list of checkpoints is damaged. Delete it: the checkpoints are found without it. "
                f"Received: {os.path.join(folder, 'checkpoint')}: {error}"
            ) from error

    def save(self, step: int) -> None:
        """Writes `ckpt-<step>`."""
        if self._copied:
            for name, variable in self._variables.items():
                self._state[name].assign(keras.ops.convert_to_numpy(variable))
        self._manager.save(checkpoint_number=step)

    def keep_if_best(self, step: int, score: float) -> bool:
        """Keeps a copy of this step's checkpoint if no earlier step had so high a score; returns whether it did."""
        best = self._best()
        if not self._is_writer or score <= best[self._best_by]:
            return False
        folder = os.path.join(self._model_dir, BEST_FOLDER)
        tf.io.gfile.makedirs(folder)
        for path in tf.io.gfile.glob(os.path.join(self._model_dir, f"{PREFIX}-{step}.*")):
            tf.io.gfile.copy(path, os.path.join(folder, os.path.basename(path)), overwrite=True)
        # Named last: until then the one before is the best.
        with tf.io.gfile.GFile(os.path.join(folder, f"{BEST_FILE}.part"), "w") as file:
            json.dump({"step": step, self._best_by: score}, file)
        tf.io.gfile.rename(os.path.join(folder, f"{BEST_FILE}.part"), os.path.join(folder, BEST_FILE), overwrite=True)
        for path in tf.io.gfile.glob(os.path.join(folder, f"{PREFIX}-{best['step']}.*")):
            tf.io.gfile.remove(path)
        return True

    def _best(self) -> dict[str, Any]:
        path = os.path.join(self._model_dir, BEST_FOLDER, BEST_FILE)
        if not tf.io.gfile.exists(path):
            return {"step": None, self._best_by: -1.0}
        with tf.io.gfile.GFile(path) as file:
            return json.load(file)

    def restore_latest(self) -> str | None:
        """Restores the newest whole checkpoint and returns its path; None if there are no checkpoints.

        A damaged one is named in the log, and the one before it is taken.

        Raises:
            ValueError: if a checkpoint is of another architecture, or all of them are damaged.
        """
        paths = saved_checkpoints(self._model_dir)
        for path in reversed(paths):
            if self._restores(path):
                return path
        if paths:
            names = ", ".join(os.path.basename(path) for path in paths)
            raise ValueError(
                f"All checkpoints in {self._model_dir} are damaged ({names}), so this training cannot be continued. "
                "Copy them there again, or delete them to start at step 0."
            )
        return None

    def best(self) -> str | None:
        """Returns the path of the best checkpoint; None if nothing was scored."""
        step = self._best()["step"]
        return None if step is None else os.path.join(self._model_dir, BEST_FOLDER, f"{PREFIX}-{step}")

    def _restores(self, path: str) -> bool:
        """Restores the checkpoint of that path; returns False, with a line in the log, if it is damaged.

        Raises:
            ValueError: if it is of another architecture.
        """
        try:
            self._checkpoint.restore(path).assert_consumed()
        except _DAMAGE as error:
            logging.warning("The checkpoint %s is damaged and is passed over: %s", path, error)
            return False
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"The checkpoint {path} is of another architecture or optimizer than this experiment. Choose another "
                f"`model_dir`, or the settings in its experiment.json. Received: {str(error).splitlines()[0]}"
            ) from error
        if self._copied:
            for name, variable in self._variables.items():
                variable.assign(self._state[name].numpy())
        return True
