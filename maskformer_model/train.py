"""Trains an experiment: config and Examples in, a trained network and its curves out.

The only training code path: the command line and the TFX Trainer both call `train`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from typing import Any

import keras

from maskformer_model import input_pipeline
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig
from maskformer_model.learning_rate import make_schedule
from maskformer_model.maskformer import MaskFormer
from maskformer_model.optimizer import make_optimizer
from maskformer_model.training_model import SHOWN_LOSSES, MaskFormerTraining

HISTORY_FILE = "training_history.json"
WEIGHTS_FILE = "model.weights.h5"


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What `train` leaves.

    Attributes:
        network: The trained network (averaged weights where the experiment keeps an average).
        config: The experiment as it was trained: `task.model.num_classes` is filled in.
        history: One dict per loop of `steps_per_loop` steps: `step`, `seconds` since the start, `learning_rate`, and
            the mean of every loss term over the loop.
    """

    network: MaskFormer
    config: ExperimentConfig
    history: list[dict[str, float]]


def train(
    config: ExperimentConfig,
    *,
    train_files: list[str],
    categories: CategoryTable,
    model_dir: str,
    progress: bool = True,
) -> TrainingResult:
    """Trains from the Examples in `train_files`.

    Args:
        config: The experiment.
        train_files: Patterns of TFRecord files.
        categories: Of the data set; gives the number of classes where the config leaves it open.
        model_dir: Where weights and curves are written.
        progress: Show a progress bar.

    Raises:
        ValueError: if the config's number of classes is not the data set's.
        FloatingPointError: if the loss stops being finite.
    """
    keras.utils.set_random_seed(config.runtime.seed)
    config = with_num_classes(config, categories.num_classes)
    network = MaskFormer(config.task.model)
    model = MaskFormerTraining(network, config.task.losses)
    data = input_pipeline.make_dataset(
        train_files,
        config.task.train_data,
        training=True,
        seed=config.runtime.seed,
        kind=config.task.kind,
        max_targets=config.task.model.num_queries,
    ).map(to_fit_inputs)
    _build(model, data)
    if config.task.init_checkpoint:
        from maskformer_model.checkpoints.initialize import initialize

        initialize(network, config.task.init_checkpoint, config.task.init_checkpoint_modules)
    history = _fit(model, data, config, progress)
    os.makedirs(model_dir, exist_ok=True)
    network.save_weights(os.path.join(model_dir, WEIGHTS_FILE))
    with open(os.path.join(model_dir, HISTORY_FILE), "w", encoding="utf-8") as file:
        json.dump(history, file)
    return TrainingResult(network=network, config=config, history=history)


def with_num_classes(config: ExperimentConfig, num_classes: int) -> ExperimentConfig:
    """The config for a data set of `num_classes` classes.

    Raises:
        ValueError: if the config was made for another number.
    """
    stated = config.task.model.num_classes
    if stated not in (0, num_classes):
        raise ValueError(
            f"`task.model.num_classes` must be 0 (take it from the data) or the data set's {num_classes}. "
            f"Received: {stated}"
        )
    model = dataclasses.replace(config.task.model, num_classes=num_classes)
    return dataclasses.replace(config, task=dataclasses.replace(config.task, model=model))


def to_fit_inputs(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a batch of `input_pipeline` into what the model sees and what the losses see."""
    x = {name: batch[name] for name in ("image", "valid_size_px")}
    y = {name: batch[name] for name in ("segment_map", "segment_classes")}
    return x, y


def _build(model: MaskFormerTraining, data) -> None:
    image, valid_size_px = data.element_spec[0]["image"], data.element_spec[0]["valid_size_px"]
    height, width = (size or 64 for size in image.shape[1:3])
    model(
        {
            "image": keras.ops.zeros((1, height, width, 3), dtype=image.dtype.name),
            "valid_size_px": keras.ops.full((1, 2), min(height, width), dtype=valid_size_px.dtype.name),
        }
    )


def _fit(model: MaskFormerTraining, data, config: ExperimentConfig, progress: bool) -> list[dict[str, float]]:
    trainer = config.trainer
    schedule = make_schedule(trainer.optimizer, trainer.train_steps)
    model.compile(optimizer=make_optimizer(trainer.optimizer, schedule), jit_compile=trainer.jit_compile)
    steps_per_loop = min(trainer.steps_per_loop, trainer.train_steps)
    curves = Curves(schedule)
    callbacks = [curves, StopAt(trainer.train_steps)]
    if progress:
        callbacks.append(ProgressBar(trainer.train_steps))
    model.fit(
        data,
        epochs=math.ceil(trainer.train_steps / steps_per_loop),
        steps_per_epoch=steps_per_loop,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    return curves.history


class Curves(keras.callbacks.Callback):
    """Collects the mean losses of every loop and stops a run whose loss is not finite."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, logs=None):
        self.start_seconds = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.optimizer.iterations)
        entry = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(entry["loss"]):
            raise FloatingPointError(
                f"The training loss stopped being finite by step {step}: {entry}. "
                "Lower `trainer.optimizer.learning_rate` or `trainer.optimizer.clip_norm`."
            )
        self.history.append(
            {
                "step": step,
                "seconds": round(time.monotonic() - self.start_seconds, 3),
                "learning_rate": float(self.schedule(step)),
                **entry,
            }
        )


class StopAt(keras.callbacks.Callback):
    """Ends training at a step that is not a multiple of the loop's steps."""

    def __init__(self, train_steps: int):
        super().__init__()
        self.steps_left = train_steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps_left -= 1
        if self.steps_left == 0:
            self.model.stop_training = True


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole run: step, losses, steps per second, time left."""

    def __init__(self, train_steps: int):
        super().__init__()
        self.train_steps = train_steps

    def on_train_begin(self, logs=None):
        from tqdm import tqdm

        self.bar = tqdm(total=self.train_steps, unit="step", dynamic_ncols=True, mininterval=1.0)

    def on_train_batch_end(self, batch, logs=None):
        if self.bar.update():
            logs = logs or {}
            shown = {name: f"{float(logs[name]):.3f}" for name in ("loss", *SHOWN_LOSSES) if name in logs}
            self.bar.set_postfix(shown, refresh=False)

    def on_train_end(self, logs=None):
        self.bar.close()
