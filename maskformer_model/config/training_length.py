"""Gives a training another length: what is planned for a certain step keeps its share of the training."""

from __future__ import annotations

import dataclasses
from typing import Any

from maskformer_model.config.experiment import ExperimentConfig
from maskformer_model.config.model import ModelConfig


def with_train_steps(config: ExperimentConfig, train_steps: int) -> ExperimentConfig:
    """Returns the experiment with so many steps.

    The drops of the learning rate and the steps in the decoder's settings move in proportion. Warm-ups keep their
    lengths.

    Args:
        config: The experiment; it is not changed.
        train_steps: Optimizer steps in all.

    Raises:
        ValueError: if a rule of the config is broken.
    """
    trainer, optimizer = config.trainer, config.trainer.optimizer

    def moved(steps: tuple[int, ...]) -> tuple[int, ...]:
        # What happens after the first step or later does not move to the start.
        return tuple(max(min(step, 1), step * train_steps // trainer.train_steps) for step in steps)

    # Two drops that meet are one.
    drop_steps = tuple(sorted(set(moved(optimizer.drop_steps))))
    optimizer = dataclasses.replace(optimizer, drop_steps=drop_steps)
    decoder = config.task.model.decoder
    changed: dict[str, Any] = {name: moved(getattr(decoder, name)) for name in decoder.step_settings}
    model = dataclasses.replace(config.task.model, decoder=dataclasses.replace(decoder, **changed))
    return dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, model=model),
        trainer=dataclasses.replace(trainer, train_steps=train_steps, optimizer=optimizer),
    )


def without_steps(model: ModelConfig) -> ModelConfig:
    """Returns the network without the steps in its decoder's settings, which are its training's and not its own."""
    emptied: dict[str, Any] = dict.fromkeys(model.decoder.step_settings, ())
    return dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, **emptied))
