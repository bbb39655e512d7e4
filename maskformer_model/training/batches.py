"""The batches of a training run: Examples in, what Keras's `fit` takes out.

A batch depends on the seed and its step alone, so a run can start at any step. Reading and augmentation are in
`data.input_pipeline`.
"""

from __future__ import annotations

from typing import Any

from maskformer_model.config import ExperimentConfig
from maskformer_model.data import input_pipeline


def training_data(config: ExperimentConfig, train_files: list[str], start_step: int = 0) -> Any:
    """Returns the batches of `train`, from a step on: `(x, y)` of `MaskFormerTraining`."""
    return _batches(config, train_files, start_step).map(to_fit_inputs)


def image_ids_of_step(config: ExperimentConfig, train_files: list[str], step: int) -> list[str]:
    """Returns the images that made up the batch of a step, counted from 0."""
    batch = next(iter(_batches(config, train_files, step)))
    return [image_id.decode() for image_id in batch["image_id"].numpy()]


def _batches(config: ExperimentConfig, train_files: list[str], start_step: int) -> Any:
    return input_pipeline.make_dataset(
        train_files,
        config.task.train_data,
        training=True,
        seed=config.runtime.seed,
        kind=config.task.kind,
        max_targets=config.task.model.num_queries,
        num_classes=config.task.model.num_classes,
        start_example=start_step * config.task.train_data.global_batch_size,
    )


def to_fit_inputs(batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a batch of `input_pipeline` into what the model sees and what the losses see."""
    x = {name: batch[name] for name in ("image", "valid_size_px")}
    y = {name: batch[name] for name in ("segment_map", "segment_classes")}
    return x, y
