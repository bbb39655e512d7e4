"""The reference's learning-rate schedules (detectron2 `solver/lr_scheduler.py`, MaskFormer's `WarmupPolyLR`)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import OptimizerConfig


def make_schedule(config: OptimizerConfig, train_steps: int) -> Any:
    """Returns the schedule that the config describes, over `train_steps` steps."""
    if config.schedule == "two_stage_poly":
        return TwoStageSchedule(
            config.learning_rate,
            train_steps=train_steps,
            power=config.power,
            warmup_steps=config.warmup_steps,
            backbone_warmup_steps=config.backbone_warmup_steps,
        )
    return WarmupSchedule(
        config.learning_rate,
        schedule=config.schedule,
        train_steps=train_steps,
        drop_steps=config.drop_steps,
        drop_factor=config.drop_factor,
        power=config.power,
        warmup_steps=config.warmup_steps,
        warmup_factor=config.warmup_factor,
    )


@keras.saving.register_keras_serializable(package="maskformer_model")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A constant, stepwise or polynomial rate behind a linear warm-up.

    During the warm-up the rate is multiplied by a factor that grows linearly from `warmup_factor` to 1.

    Args:
        learning_rate: The rate that everything below multiplies.
        schedule: "constant"; "step": times `drop_factor` from each of `drop_steps` on; "poly":
            times `(1 - step / train_steps) ** power`.
        train_steps: Where "poly" reaches 0.
        drop_steps: Steps, ascending.
        drop_factor: See "step".
        power: See "poly".
        warmup_steps: 0 for none.
        warmup_factor: The factor at step 0.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        schedule: str = "constant",
        train_steps: int = 1,
        drop_steps: tuple[int, ...] = (),
        drop_factor: float = 0.1,
        power: float = 0.9,
        warmup_steps: int = 0,
        warmup_factor: float = 1.0,
    ):
        super().__init__()
        if schedule not in ("constant", "step", "poly"):
            raise ValueError(f"`schedule` must be 'constant', 'step' or 'poly'. Received: {schedule!r}")
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.train_steps = train_steps
        self.drop_steps = tuple(drop_steps)
        self.drop_factor = drop_factor
        self.power = power
        self.warmup_steps = warmup_steps
        self.warmup_factor = warmup_factor

    def __call__(self, step):
        step = ops.cast(step, precise_dtype())
        rate = self.learning_rate * self._decay(step)
        if self.warmup_steps:
            progress = ops.minimum(step / self.warmup_steps, 1.0)
            rate = rate * (self.warmup_factor * (1.0 - progress) + progress)
        return rate

    def _decay(self, step):
        if self.schedule == "step":
            drops = sum((ops.cast(step >= drop, precise_dtype()) for drop in self.drop_steps), ops.zeros_like(step))
            return ops.power(self.drop_factor, drops)
        if self.schedule == "poly":
            return ops.power(ops.maximum(1.0 - step / self.train_steps, 0.0), self.power)
        return ops.ones_like(step)

    def get_config(self):
        names = ("learning_rate", "schedule", "train_steps", "drop_steps", "drop_factor", "power")
        return {name: getattr(self, name) for name in (*names, "warmup_steps", "warmup_factor")}


@keras.saving.register_keras_serializable(package="maskformer_model")
class TwoStageSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Two rates, each with a linear warm-up from 0 and a polynomial fall to 0 (EoMT's `TwoStageWarmupPolySchedule`).

    The schedule itself is the rate of everything but the backbone. `backbone_rate` is 0 until that warm-up is over.

    Args:
        learning_rate: Both rates at the end of their warm-ups.
        train_steps: Where both reach 0.
        power: What the share of the steps that are left is raised to.
        warmup_steps: Warm-up of everything but the backbone.
        backbone_warmup_steps: Warm-up of the backbone, after the other.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        train_steps: int,
        power: float = 0.9,
        warmup_steps: int = 0,
        backbone_warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.train_steps = train_steps
        self.power = power
        self.warmup_steps = warmup_steps
        self.backbone_warmup_steps = backbone_warmup_steps

    def __call__(self, step):
        return self._rate(ops.cast(step, precise_dtype()), 0, self.warmup_steps)

    def backbone_rate(self, step):
        """Returns the backbone's rate at a step."""
        return self._rate(ops.cast(step, precise_dtype()), self.warmup_steps, self.backbone_warmup_steps)

    def _rate(self, step, begin: int, length: int):
        rises = ops.clip((step - begin) / max(length, 1), 0.0, 1.0)
        end = begin + length
        falls = ops.clip((self.train_steps - step) / max(self.train_steps - end, 1), 0.0, 1.0)
        return self.learning_rate * ops.where(step < end, rises, ops.power(falls, self.power))

    def get_config(self):
        names = ("learning_rate", "train_steps", "power", "warmup_steps", "backbone_warmup_steps")
        return {name: getattr(self, name) for name in names}
