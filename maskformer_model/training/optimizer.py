"""Defines AdamW by PyTorch's formula, with the reference's groups and clip (MaskFormer `train_net.py`).

Keras's own AdamW does not correct the bias inside its epsilon term, knows one learning rate only, and clips before the
gradients of the replicas are summed; each of the three changes the trajectory. Its loss scaling decides for each
replica alone whether a gradient is finite, and branches, which replicas that wait for each other cannot. This subclass
changes those things and leaves the rest (state, averaging, distribution) to Keras.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.backend.replicas import sum_over_replicas
from maskformer_model.config import OptimizerConfig
from maskformer_model.modeling.layers.vit_blocks import BLOCK_NAME
from maskformer_model.training.learning_rate import TwoStageSchedule

BACKBONE = "backbone"
_BLOCK = re.compile(rf"{BLOCK_NAME}(\d+)$")
_CLOSING_NORM = "norm"  # Behind the backbone's last block.
INITIAL_LOSS_SCALE = 2.0**15
LOSS_SCALE_GROWTH_STEPS = 2000
# Norms, embeddings and relative-position tables do not decay; biases do.
WITHOUT_DECAY = (
    "gamma",
    "beta",
    "query_embedding",
    "query_features",
    "level_embedding",
    "relative_position_bias_table",
)


def make_optimizer(config: OptimizerConfig, learning_rate: Any, *, scales_loss: bool = False) -> AdamW:
    """Returns the optimizer that the config describes.

    Args:
        config: Rates, decay, clip and averaging.
        learning_rate: A float or a schedule.
        scales_loss: See `AdamW`.
    """
    return AdamW(
        learning_rate,
        decay=config.weight_decay,
        backbone_multiplier=config.backbone_multiplier,
        layer_decay=config.layer_decay,
        undecayed_blocks=config.undecayed_blocks,
        decays_everything=config.decays_everything,
        clip_norm=config.clip_norm,
        scales_loss=scales_loss,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum or 0.99,
    )


@keras.saving.register_keras_serializable(package="maskformer_model")
class AdamW(keras.optimizers.Optimizer):
    """AdamW (arXiv:1711.05101) as `torch.optim.AdamW` computes it.

    A variable below a layer named "backbone" learns at `backbone_multiplier` times the rate, in a plain ViT also times
    `layer_decay` for each block behind its own; a `TwoStageSchedule` has a rate of its own for it. A variable whose
    own name is in `WITHOUT_DECAY` does not decay. Where replicas train together, their gradients are summed first and
    the norm of the sum is clipped, so that the update does not depend on how a batch is cut.

    A step whose gradient is not finite is skipped: it counts as a step, and weights and moments stay as they are.
    `gradient_norm` (before clipping), `skipped_steps` and `skipped_in_row` are variables that tell.

    Args:
        learning_rate: A float or a schedule.
        decay: Decoupled weight decay, times the learning rate of the variable.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the bias-corrected root of the second moment.
        backbone_multiplier: At least 0.
        layer_decay: In (0, 1]; below 1 only for a backbone of numbered blocks.
        undecayed_blocks: So many last blocks learn as the norm behind them does.
        decays_everything: Whether `WITHOUT_DECAY` is left out.
        clip_norm: Largest global norm of all gradients together; 0: no clipping.
        scales_loss: Multiply the loss by `loss_scale`, so that float16 gradients do not vanish: halved by each skipped
            step, doubled after `LOSS_SCALE_GROWTH_STEPS` good ones in a row.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        *,
        decay: float = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        backbone_multiplier: float = 1.0,
        layer_decay: float = 1.0,
        undecayed_blocks: int = 0,
        decays_everything: bool = False,
        clip_norm: float = 0.0,
        scales_loss: bool = False,
        name: str = "adamw",
        **kwargs,
    ):
        if not (0.0 < beta_1 < 1.0 and 0.0 < beta_2 < 1.0):
            raise ValueError(f"`beta_1` and `beta_2` must lie between 0 and 1. Received: {beta_1} and {beta_2}")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decay = decay
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.backbone_multiplier = backbone_multiplier
        self.layer_decay = layer_decay
        self.undecayed_blocks = undecayed_blocks
        self.decays_everything = decays_everything
        self.clip_norm = clip_norm
        self.scales_loss = scales_loss

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._first_moments, self._second_moments = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        parts = [variable.path.split("/") for variable in variables]
        is_backbone = [BACKBONE in path[:-1] for path in parts]
        decays = layer_decays(parts, self.layer_decay, self.undecayed_blocks)
        self._multipliers = [
            self.backbone_multiplier * decay if of_backbone else 1.0
            for of_backbone, decay in zip(is_backbone, decays, strict=True)
        ]
        # Variables of one group share the factors of their update.
        self._groups = list(zip(is_backbone, self._multipliers, strict=True))
        self._distinct_groups = sorted(set(self._groups))
        spared = () if self.decays_everything else WITHOUT_DECAY
        self._decays = [0.0 if path[-1] in spared else self.decay for path in parts]
        self.gradient_norm = self._add_scalar("gradient_norm", 0.0)
        self.skipped_steps = self._add_scalar("skipped_steps", 0, "int32")
        self.skipped_in_row = self._add_scalar("skipped_in_row", 0, "int32")
        # 1 where the present step's gradient is finite, else 0: read where each weight is updated.
        self._is_applied = self._add_scalar("is_applied", 1.0)
        self.loss_scale = self._add_scalar("loss_scale", INITIAL_LOSS_SCALE if self.scales_loss else 1.0)
        self._steps_at_scale = self._add_scalar("steps_at_scale", 0, "int32")

    def _add_scalar(self, name: str, value: float, dtype: str = "float32"):
        return self.add_variable(
            shape=(),
            initializer=keras.initializers.Constant(value),
            dtype=dtype,
            # Every replica computes the same value, from gradients that were summed.
            aggregation="only_first_replica",
            name=name,
        )

    def scale_loss(self, loss):
        return loss * ops.cast(self.loss_scale, loss.dtype) if self.scales_loss else loss

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        super()._backend_update_step(grads, trainable_variables, self._factors(learning_rate))

    def _factors(self, learning_rate):
        """What all updates are multiplied by, computed once: it would be a third of the step's operations otherwise."""
        rate = backbone_rate = ops.cast(learning_rate, precise_dtype())
        if isinstance(self._learning_rate, TwoStageSchedule):
            backbone_rate = ops.cast(self._learning_rate.backbone_rate(self.iterations), precise_dtype())
        rates = [
            (backbone_rate if of_backbone else rate) * multiplier for of_backbone, multiplier in self._distinct_groups
        ]
        applied = ops.cast(self._is_applied, precise_dtype())
        step = ops.cast(self.iterations + 1, precise_dtype())
        # 1 - beta**step, without the loss of digits that float32 would suffer at beta 0.999 and step 1.
        first_correction = -ops.expm1(step * math.log(self.beta_1))
        second_correction = -ops.expm1(step * math.log(self.beta_2))
        return {
            "first": applied * (1.0 - self.beta_1),
            "second": applied * (1.0 - self.beta_2),
            "root": ops.sqrt(second_correction),
            "epsilon": ops.convert_to_tensor(self.epsilon, precise_dtype()),
            "rates": [applied * rate / first_correction for rate in rates],
            "decays": [applied * rate * self.decay for rate in rates],
        }

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable; `learning_rate` is what `_factors` gives."""
        index = self._get_variable_index(variable)
        place = self._distinct_groups.index(self._groups[index])
        factors = {name: learning_rate[name] for name in ("first", "second", "root", "epsilon")}
        factors |= {"rate": learning_rate["rates"][place], "decay": learning_rate["decays"][place]}
        factors = {name: ops.cast(value, variable.dtype) for name, value in factors.items()}
        first, second = self._first_moments[index], self._second_moments[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(first, (gradient - first) * factors["first"])
        self.assign_add(second, (ops.square(gradient) - second) * factors["second"])
        change = factors["rate"] * first / (ops.sqrt(second) / factors["root"] + factors["epsilon"])
        if self._decays[index]:
            change = change + factors["decay"] * variable
        self.assign_sub(variable, change)

    def _clip_gradients(self, grads):
        grads = sum_over_replicas(list(grads))
        unscale = ops.cast(1.0 / self.loss_scale if self.scales_loss else 1.0, precise_dtype())
        norm = global_norm(grads) * unscale
        is_finite = ops.isfinite(norm)
        self._note(norm, is_finite)
        # As torch.nn.utils.clip_grad_norm_: the norm is enlarged by 1e-6, and a short gradient stays as it is.
        clip = ops.minimum(self.clip_norm / (norm + 1e-6), 1.0) if self.clip_norm else ops.ones((), precise_dtype())
        factor = clip * unscale
        zero = ops.zeros((), factor.dtype)
        return [
            gradient
            if gradient is None
            else ops.where(is_finite, gradient * ops.cast(factor, gradient.dtype), ops.cast(zero, gradient.dtype))
            for gradient in grads
        ]

    def _note(self, norm, is_finite):
        skipped = ops.cast(ops.logical_not(is_finite), "int32")
        self._is_applied.assign(ops.cast(is_finite, "float32"))
        self.gradient_norm.assign(norm)
        self.skipped_steps.assign(self.skipped_steps + skipped)
        self.skipped_in_row.assign((self.skipped_in_row + 1) * skipped)
        if self.scales_loss:
            steps = (self._steps_at_scale + 1) * (1 - skipped)
            grows = steps >= LOSS_SCALE_GROWTH_STEPS
            factor = ops.where(is_finite, ops.where(grows, 2.0, 1.0), 0.5)
            self.loss_scale.assign(ops.maximum(self.loss_scale * factor, 1.0))
            self._steps_at_scale.assign(ops.where(grows, 0, steps))

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # Already summed, before clipping.

    def get_config(self):
        names = ["decay", "beta_1", "beta_2", "epsilon", "backbone_multiplier", "layer_decay", "undecayed_blocks"]
        names += ["decays_everything", "clip_norm", "scales_loss"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def layer_decays(paths: Sequence[Sequence[str]], layer_decay: float, undecayed_blocks: int = 0) -> list[float]:
    """Returns what each variable's learning rate is multiplied by for its depth in a plain ViT.

    Args:
        paths: The parts of each variable's path.
        layer_decay: The factor of one block.
        undecayed_blocks: So many last blocks keep the whole rate.

    Raises:
        ValueError: if the factor is not 1 and no variable belongs to a numbered block.
    """
    if layer_decay == 1:
        return [1.0] * len(paths)
    numbers = [next((int(match[1]) for match in map(_BLOCK.match, path) if match), None) for path in paths]
    last = max((number for number in numbers if number is not None), default=None)
    if last is None:
        raise ValueError(
            "`trainer.optimizer.layer_decay` below 1 needs a backbone of numbered blocks "
            f'(`task.model.backbone.type` "vit"). Received: {layer_decay}'
        )
    decays = []
    for path, number in zip(paths, numbers, strict=True):
        closes = number is None and path[-2:-1] == [_CLOSING_NORM]
        is_whole = closes or (number is not None and number > last - undecayed_blocks)
        decays.append(1.0 if is_whole else layer_decay ** (last - (number or 0)))
    return decays


def global_norm(gradients) -> Any:
    """Returns the Euclidean norm of all gradients together, a float32 scalar; `None` entries count as zero."""
    squares = [ops.sum(ops.square(ops.cast(g, precise_dtype()))) for g in gradients if g is not None]
    return ops.sqrt(sum(squares))
