"""Keras callbacks of a training run: curves, evaluation, checkpoints, checks for non-finite steps, the progress bar.

All of it counts optimizer steps and none of it Keras's epochs, so that a run that was interrupted anywhere
continues as if it had not been.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maskformer_model.backend import distribution
from maskformer_model.categories import CategoryTable
from maskformer_model.config import SCORE_OF_TASK, ExperimentConfig
from maskformer_model.pretrained.training_run import PREFIX
from maskformer_model.training.batches import image_ids_of_step
from maskformer_model.training.checkpoints import TrainingCheckpoints
from maskformer_model.training.evaluator import Evaluator
from maskformer_model.training.history import evaluations_since_best, read_history, write_history
from maskformer_model.training.step import SHOWN_LOSSES
from maskformer_model.training.tensorboard import TensorBoard
from maskformer_model.training.trackers.tracked_run import flat_settings
from maskformer_model.training.trackers.tracker import Tracker

SKIPPED_FILE = "skipped_steps.jsonl"


class TrainingInterruptedError(RuntimeError):
    """The process was asked to stop; a checkpoint was written, and the same call continues from it."""


class Intervals(keras.callbacks.Callback):
    """Curves, evaluation, checkpoints and skipped steps of one run.

    Args:
        model: Compiled `MaskFormerTraining`, its optimizer built.
        config: The experiment.
        categories: The categories of the data set.
        model_dir: Where everything is written.
        eval_files: Record files that are scored every `trainer.validation_interval` steps.
        strategy: What the model is distributed by; None: one device.
        tracker: Gets every row of the curves; None: their files are enough.
    """

    def __init__(
        self,
        model: Any,
        config: ExperimentConfig,
        categories: CategoryTable,
        model_dir: str,
        train_files: list[str],
        eval_files: list[str] | None,
        strategy: Any,
        tracker: Tracker | None = None,
    ):
        super().__init__()
        self.is_chief = strategy is None or distribution.is_chief(strategy)
        self.history: list[dict[str, float]] = []
        self.set_model(model)
        self._config = config
        self._model_dir = model_dir
        self._train_files = train_files
        self._judged_by = SCORE_OF_TASK[config.task.kind]
        self._checkpoints = TrainingCheckpoints(
            model, model_dir, config.trainer.max_to_keep, best_by=self._judged_by, is_writer=self.is_chief
        )
        self._evaluator = None
        if config.trainer.validation_interval and self.is_chief:
            self._evaluator = Evaluator(model.network, categories, config, eval_files or [])
        self._board = TensorBoard(model_dir, categories)
        self._tracker = tracker
        self._start_step = 0
        self._skipped_before = 0
        self._means_at_start: list[np.ndarray] = []
        self._weights_before: list[np.ndarray] | None = None
        self._stop_requested = threading.Event()

    def restore(self) -> int:
        """Takes over the newest checkpoint of `model_dir`, if there is one; returns the step to continue from."""
        path = self._checkpoints.restore_latest()
        if path is None:
            return 0
        self._start_step = int(value_of(self.model.optimizer.iterations))
        self._skipped_before = int(value_of(self.model.optimizer.skipped_steps))
        self.history = [row for row in read_history(self._model_dir) if row["step"] <= self._start_step]
        self._keep_if_best(self._start_step)
        self._means_at_start = [value_of(variable) for variable in self.model.metrics_variables]
        logging.info("Going on from %s.", path)
        return self._start_step

    def is_out_of_patience(self) -> bool:
        """Returns whether the last `trainer.early_stopping_patience` evaluations brought no better score."""
        patience = self._config.trainer.early_stopping_patience
        return patience > 0 and evaluations_since_best(self.history, self._judged_by) >= patience

    def checkpoint_of_result(self) -> str:
        """Returns the path, without suffix, of the checkpoint whose weights are the training's result."""
        if self._config.trainer.restore_best_weights:
            if best := self._checkpoints.best():
                return best
            logging.warning(
                "No evaluation had the score %r, so the weights are those of the last step.", self._judged_by
            )
        step = int(value_of(self.model.optimizer.iterations))
        return os.path.join(self._model_dir, f"{PREFIX}-{step}")

    def describe(self, lineage: Mapping[str, str]) -> None:
        """Writes the settings and what the run is made from beside TensorBoard's curves, once."""
        if self.is_chief and self._start_step == 0:
            self._board.write_texts({"settings": flat_settings(self._config), "lineage": lineage})

    def on_train_begin(self, logs=None):
        self._start_seconds = time.monotonic() - (self.history[-1]["seconds"] if self.history else 0.0)
        self._earlier_handler = None
        if threading.current_thread() is threading.main_thread():
            self._earlier_handler = signal.signal(signal.SIGTERM, lambda *_: self._stop_requested.set())

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has just set all means to zero; those of the unfinished row come back.
        for variable, value in zip(self.model.metrics_variables, self._means_at_start, strict=False):
            variable.assign(value)

    def on_train_batch_begin(self, batch, logs=None):
        if self._is_due(self._next_step(batch), self._config.trainer.steps_per_loop):
            self._weights_before = self._weights()

    def on_train_batch_end(self, batch, logs=None):
        trainer = self._config.trainer
        step = self._start_step + batch + 1
        self._check_skipped(step)
        row: dict[str, float] = {}
        if self._is_due(step, trainer.steps_per_loop):
            row |= self._means()
        is_validated = self._is_due(step, trainer.validation_interval)
        if is_validated and self._evaluator is not None:
            row |= self._evaluate(self._evaluator, step)
        # Before the checkpoint: rows behind the newest checkpoint are dropped and made again, a lost one is not.
        if row:
            self._write_row(step, row)
        stopping = self._stop_requested.is_set()
        is_last = step == trainer.train_steps
        if stopping or is_last or is_validated or self._is_due(step, trainer.checkpoint_interval):
            self._checkpoints.save(step)
            self._keep_if_best(step)
        if is_validated and not is_last and self.is_out_of_patience():
            patience = trainer.early_stopping_patience
            logging.warning("Stopped at step %d: no better score in %d evaluations in a row.", step, patience)
            self.model.stop_training = True
        if stopping and not is_last:
            raise TrainingInterruptedError(f"Stopped on request at step {step}; a checkpoint is in {self._model_dir}.")

    def on_train_end(self, logs=None):
        if self._earlier_handler is not None:
            signal.signal(signal.SIGTERM, self._earlier_handler)

    def _next_step(self, batch: int) -> int:
        return self._start_step + batch + self._config.trainer.steps_per_execution

    def _is_due(self, step: int, interval: int) -> bool:
        return bool(interval) and (step % interval == 0 or step == self._config.trainer.train_steps)

    def _weights(self) -> list[np.ndarray]:
        return [value_of(variable) for variable in self.model.trainable_variables]

    def _means(self) -> dict[str, float]:
        row = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        self.model.reset_metrics()
        row["gradient_norm"] = float(value_of(self.model.optimizer.gradient_norm))
        if self._weights_before is not None:
            pairs = zip(self._weights(), self._weights_before, strict=True)
            squares = np.array([(np.sum((after - before) ** 2), np.sum(before**2)) for after, before in pairs]).sum(0)
            row["update_ratio"] = float(np.sqrt(squares[0] / squares[1]) / self._config.trainer.steps_per_execution)
            self._weights_before = None
        return row

    def _evaluate(self, evaluator: Evaluator, step: int) -> dict[str, float]:
        examples: list[Any] = []

        def keep_first(record, answer):
            if len(examples) < TensorBoard.NUM_IMAGES:
                examples.append((record, answer))

        with averaged_weights(self.model):
            fields = evaluator.evaluate(keep_first)
        self._board.write_images(step, examples)
        return fields

    def _keep_if_best(self, step: int) -> None:
        if self.history and self.history[-1]["step"] == step and self._judged_by in self.history[-1]:
            self._checkpoints.keep_if_best(step, self.history[-1][self._judged_by])

    def _write_row(self, step: int, row: dict[str, float]) -> None:
        rates = self._rates(step)
        row = {"step": step, "seconds": round(time.monotonic() - self._start_seconds, 3), **rates, **row}
        row["skipped_steps"] = int(value_of(self.model.optimizer.skipped_steps))
        self.history.append(row)
        if self.is_chief:
            self._board.write_row(row)
            write_history(self._model_dir, self.history)
            if self._tracker is not None:
                self._tracker.write_row(row)

    def _rates(self, step: int) -> dict[str, float]:
        rate = float(value_of(self.model.optimizer.learning_rate))
        multiplier = self._config.trainer.optimizer.backbone_multiplier
        return {"learning_rate": rate, "learning_rate_backbone": rate * multiplier}

    def _check_skipped(self, step: int) -> None:
        optimizer = self.model.optimizer
        skipped = int(value_of(optimizer.skipped_steps))
        if skipped == self._skipped_before:
            return
        self._skipped_before = skipped
        if optimizer.scales_loss and float(value_of(optimizer.loss_scale)) > 1.0:
            return  # float16 finding its scale: nothing is wrong with the data.
        steps = range(step - self._config.trainer.steps_per_execution, step)
        image_ids = [name for s in steps for name in image_ids_of_step(self._config, self._train_files, s)]
        if self.is_chief:
            with tf.io.gfile.GFile(os.path.join(self._model_dir, SKIPPED_FILE), "a") as file:
                file.write(json.dumps({"step": step, "image_ids": image_ids}) + "\n")
        logging.warning("The gradient of step %d is not finite; it is skipped. Images: %s", step, image_ids)
        in_row = int(value_of(optimizer.skipped_in_row))
        if in_row >= self._config.trainer.max_skipped_steps:
            raise FloatingPointError(
                f"The gradient was not finite {in_row} times in a row, by step {step}. Lower "
                "`trainer.optimizer.learning_rate` or `trainer.optimizer.clip_norm`, or look at these images: "
                f"{image_ids}"
            )


def value_of(variable: Any) -> np.ndarray:
    """What a Keras variable holds; on several replicas, what each of them holds."""
    if keras.backend.backend() != "tensorflow":
        return keras.ops.convert_to_numpy(variable)
    return tf.convert_to_tensor(getattr(variable, "value", variable)).numpy()


@contextlib.contextmanager
def averaged_weights(model: Any) -> Iterator[None]:
    """Inside, the model has the weights that will be exported: their average, where the optimizer keeps one."""
    optimizer = model.optimizer
    if not optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    latest = [value_of(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, latest, strict=True):
            variable.assign(value)


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole run: step, losses, steps and images per second, time left."""

    def __init__(self, config: ExperimentConfig, start_step: int):
        super().__init__()
        self._train_steps = config.trainer.train_steps
        self._start_step = start_step
        self._batch_size = config.task.train_data.global_batch_size

    def on_train_begin(self, logs=None):
        from tqdm import tqdm

        self.bar = tqdm(
            total=self._train_steps, initial=self._start_step, unit="step", dynamic_ncols=True, mininterval=1.0
        )

    def on_train_batch_end(self, batch, logs=None):
        if self.bar.update(self._start_step + batch + 1 - self.bar.n):
            shown = {}
            rate = self.bar.format_dict["rate"]
            if rate:
                shown["images/s"] = f"{rate * self._batch_size:.1f}"
            for metric in self.model.metrics:
                if metric.name in ("loss", *SHOWN_LOSSES):
                    shown[metric.name] = f"{float(metric.result()):.3f}"
            self.bar.set_postfix(shown, refresh=False)

    def on_train_end(self, logs=None):
        self.bar.close()
