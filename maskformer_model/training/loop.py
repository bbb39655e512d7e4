"""Trains an experiment: config and Examples in, a trained network and its curves out.

The only training code path: the command line (`train.py`) and the TFX Trainer both call `train`. Keras's `fit` runs
the loop; everything at intervals (curves, checkpoints, evaluation) is in `callbacks.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras

from maskformer_model.backend import distribution
from maskformer_model.backend.precision import dtype_policy
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE, HISTORY_FILE, WEIGHTS_FILE
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.pretrained.initialize import initialize
from maskformer_model.pretrained.readers.keras_weights import save_weights
from maskformer_model.pretrained.training_run import set_network_values
from maskformer_model.training.batches import training_data
from maskformer_model.training.callbacks import Intervals, ProgressBar
from maskformer_model.training.learning_rate import make_schedule
from maskformer_model.training.optimizer import make_optimizer
from maskformer_model.training.run_folder import note_run
from maskformer_model.training.step import MaskFormerTraining
from maskformer_model.training.trackers import tracked_run as trackers

TRAINING_FOLDER = "training"  # In a tracker: the files of the training run.


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The result of `train`.

    Attributes:
        network: The trained network, in float32 (averaged weights where the experiment keeps an average).
        config: The experiment as it was trained: `task.model.num_classes` is filled in.
        history: One dict per row of the curves: `step`, `seconds` since the start, `learning_rate`, the mean of every
            loss term since the row before, `gradient_norm`, and where it was evaluated `pq` and its parts.
        checkpoint: Path, without suffix, of the checkpoint whose weights the network has.
    """

    network: MaskFormer
    config: ExperimentConfig
    history: list[dict[str, float]]
    checkpoint: str


def train(
    config: ExperimentConfig,
    *,
    train_files: list[str],
    categories: CategoryTable,
    model_dir: str,
    eval_files: list[str] | None = None,
    strategy: Any = None,
    progress: bool = True,
    lineage: Mapping[str, str] | None = None,
) -> TrainingResult:
    """Trains from the Examples in `train_files`; continues where an earlier run in `model_dir` stopped.

    Args:
        config: The experiment.
        train_files: Patterns of TFRecord files.
        categories: The categories of the data set; gives the number of classes where the config leaves it open.
        model_dir: Where checkpoints, weights, curves and TensorBoard's files are written.
        eval_files: Scored every `trainer.validation_interval` steps.
        strategy: A `tf.distribute.Strategy`; None: one device, or the devices of `keras.distribution`.
        progress: Show a progress bar.
        lineage: What else the run is made from, by name, for the tracker.

    Raises:
        TrackerError: if the tracker cannot be reached.
        FloatingPointError: if the gradient was not finite `trainer.max_skipped_steps` times in a row; it names the
            images of the last step.
        ValueError: if the config's number of classes is not the data set's, a file set is empty, settings need scores
            that nothing computes, or `model_dir` holds a run of another network, task, optimizer or of other classes,
            or damaged checkpoints alone.
    """
    keras.utils.set_random_seed(config.runtime.seed)
    if config.runtime.deterministic:
        make_deterministic()
    config = with_num_classes(config, categories.num_classes)
    _check_intervals(config, eval_files)
    is_chief = strategy is None or distribution.is_chief(strategy)
    note_run(config, categories, model_dir, writes=is_chief)
    made_from = _lineage(config, train_files, eval_files, model_dir) | dict(lineage or {})
    # Only the chief reports; on the others the tracker's package may be absent.
    reporting = trackers.tracked(config, model_dir, made_from) if is_chief else contextlib.nullcontext()
    with reporting as tracker:
        with dtype_policy(config.runtime.mixed_precision_dtype), _scope(strategy):
            model = build_for_training(config, categories)
            intervals = Intervals(model, config, categories, model_dir, train_files, eval_files, strategy, tracker)
            start_step = intervals.restore()
            intervals.describe(made_from)
            if start_step < config.trainer.train_steps and not intervals.is_out_of_patience():
                bars = [ProgressBar(config, start_step)] if progress and is_chief else []
                _fit(model, config, train_files, start_step, [*bars, intervals])
            else:
                model.optimizer.finalize_variable_values(model.trainable_variables)
        network = model.network.computing_in("float32")
        checkpoint = intervals.checkpoint_of_result()
        if is_chief:
            if config.trainer.restore_best_weights:
                set_network_values(network, checkpoint)
            save_weights(network, os.path.join(model_dir, WEIGHTS_FILE))
        if tracker is not None:
            for name in (WEIGHTS_FILE, EXPERIMENT_FILE, CATEGORIES_FILE, HISTORY_FILE):
                tracker.write_files(os.path.join(model_dir, name), TRAINING_FOLDER)
    return TrainingResult(network=network, config=config, history=intervals.history, checkpoint=checkpoint)


def _lineage(
    config: ExperimentConfig, train_files: list[str], eval_files: list[str] | None, model_dir: str
) -> dict[str, str]:
    """Returns what a run is made from, as far as the training knows it."""
    return {
        "train_files": " ".join(train_files),
        "eval_files": " ".join(eval_files or []),
        "init_checkpoint": config.task.init_checkpoint,
        "model_dir": model_dir,
    }


def make_deterministic() -> None:
    """Makes TensorFlow, in this whole process, compute the same bits each time."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    # It would join sums of two to one of many, whose order is free (`step.py`).
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def with_num_classes(config: ExperimentConfig, num_classes: int) -> ExperimentConfig:
    """Returns the config for a data set of `num_classes` classes.

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


def build_for_training(config: ExperimentConfig, categories: CategoryTable | None = None) -> MaskFormerTraining:
    """The compiled model with its starting weights; `config` names the number of classes, `categories` their names."""
    network = MaskFormer(config.task.model)
    model = MaskFormerTraining(
        network,
        config.task.losses,
        accumulation_steps=config.trainer.accumulation_steps,
        trims_padding=config.task.train_data.aspect_ratio_group_size > 0,
        size_divisibility=config.task.train_data.parser.size_divisibility,
        is_deterministic=config.runtime.deterministic,
    )
    model.build()
    if config.task.init_checkpoint:
        initialize(
            network,
            config.task.init_checkpoint,
            config.task.init_checkpoint_modules,
            remakes_class_head=True,
            categories=categories,
        )
    model.start_over()
    if config.task.freeze_backbone:
        network.backbone.trainable = False
    trainer = config.trainer
    optimizer = make_optimizer(
        trainer.optimizer,
        make_schedule(trainer.optimizer, trainer.train_steps),
        scales_loss=config.runtime.mixed_precision_dtype.endswith("float16")
        and "bfloat16" not in config.runtime.mixed_precision_dtype,
    )
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=optimizer,
        # JAX has no other way to run a step fast.
        jit_compile=trainer.jit_compile or keras.backend.backend() == "jax",
        steps_per_execution=trainer.steps_per_execution,
        auto_scale_loss=False,  # The optimizer scales it, the same on one replica and on many.
    )
    return model


def _scope(strategy: Any) -> Any:
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _check_intervals(config: ExperimentConfig, eval_files: list[str] | None) -> None:
    if config.trainer.validation_interval and not eval_files:
        raise ValueError(
            "`trainer.validation_interval` needs an evaluation split (`task.validation_data.input_path`). "
            f"Received: {config.trainer.validation_interval} and {eval_files}"
        )
    choosing = config.trainer.early_stopping_patience or config.trainer.restore_best_weights
    if choosing and not config.trainer.validation_interval:
        raise ValueError(
            "`trainer.early_stopping_patience` and `trainer.restore_best_weights` need scores: set "
            "`trainer.validation_interval` (with `--mode train_and_eval`). Received: 0"
        )
    if config.trainer.early_stopping_patience and distribution.num_workers(os.environ) > 1:
        raise ValueError(
            "`trainer.early_stopping_patience` needs one worker, because one alone computes the scores. Set it to 0; "
            "`trainer.restore_best_weights` takes the best weights of the whole training. "
            f"Received: {distribution.num_workers(os.environ)} workers"
        )


def _fit(
    model: MaskFormerTraining, config: ExperimentConfig, train_files: list[str], start_step: int, callbacks: list[Any]
) -> None:
    # One Keras epoch: what happens at intervals counts steps, so a run can start anywhere.
    model.fit(
        training_data(config, train_files, start_step),
        epochs=1,
        steps_per_epoch=config.trainer.train_steps - start_step,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
