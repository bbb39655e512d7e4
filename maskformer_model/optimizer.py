"""AdamW by PyTorch's formula, with the reference's groups and clip (MaskFormer `train_net.py`).

Keras's own AdamW does not correct the bias inside its epsilon term, knows one learning rate only, and clips before the
gradients of the replicas are summed; each of the three changes the trajectory. This subclass changes those three things
and leaves the rest (state, averaging, loss scaling, distribution) to Keras.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from maskformer_model.config import OptimizerConfig
from maskformer_model.replicas import sum_over_replicas

BACKBONE = "backbone"
# Norms, embeddings and relative-position tables do not decay; biases do.
WITHOUT_DECAY = ("gamma", "beta", "query_embedding", "relative_position_bias_table")


def make_optimizer(config: OptimizerConfig, learning_rate: Any) -> AdamW:
    """The optimizer that the config describes.

    Args:
        config: Rates, decay, clip and averaging.
        learning_rate: A float or a schedule.
    """
    return AdamW(
        learning_rate,
        decay=config.weight_decay,
        backbone_multiplier=config.backbone_multiplier,
        clip_norm=config.clip_norm,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum or 0.99,
    )


@keras.saving.register_keras_serializable(package="maskformer_model")
class AdamW(keras.optimizers.Optimizer):
    """AdamW (arXiv:1711.05101) as `torch.optim.AdamW` computes it.

    A variable below a layer named "backbone" learns at `backbone_multiplier` times the rate; a variable whose own name
    is in `WITHOUT_DECAY` does not decay. Where replicas train together, their gradients are summed first and the norm
    of the sum is clipped, so that the update does not depend on how a batch is cut.

    Args:
        learning_rate: A float or a schedule.
        decay: Decoupled weight decay, times the learning rate of the variable.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the bias-corrected root of the second moment.
        backbone_multiplier: At least 0.
        clip_norm: Largest global norm of all gradients together; 0: no clipping.
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
        clip_norm: float = 0.0,
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
        self.clip_norm = clip_norm

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._first_moments, self._second_moments = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        parts = [variable.path.split("/") for variable in variables]
        self._multipliers = [self.backbone_multiplier if BACKBONE in path[:-1] else 1.0 for path in parts]
        self._decays = [0.0 if path[-1] in WITHOUT_DECAY else self.decay for path in parts]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        first, second = self._first_moments[index], self._second_moments[index]
        gradient = ops.cast(gradient, variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype) * self._multipliers[index]
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(first, (gradient - first) * (1.0 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1.0 - self.beta_2))
        # 1 - beta**step, without the loss of digits that float32 would suffer at beta 0.999 and step 1.
        first_correction = -ops.expm1(step * math.log(self.beta_1))
        second_correction = -ops.expm1(step * math.log(self.beta_2))
        denominator = ops.sqrt(second) / ops.sqrt(second_correction) + self.epsilon
        change = rate / first_correction * first / denominator
        if self._decays[index]:
            change = change + rate * self._decays[index] * variable
        self.assign_sub(variable, change)

    def _clip_gradients(self, grads):
        grads = sum_over_replicas(list(grads))
        if not self.clip_norm:
            return grads
        norm = global_norm(grads)
        # As torch.nn.utils.clip_grad_norm_: the norm is enlarged by 1e-6, and a short gradient stays as it is.
        scale = ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        return [gradient if gradient is None else gradient * ops.cast(scale, gradient.dtype) for gradient in grads]

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # Already summed, before clipping.

    def get_config(self):
        names = ("decay", "beta_1", "beta_2", "epsilon", "backbone_multiplier", "clip_norm")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def global_norm(gradients) -> Any:
    """The Euclidean norm of all gradients together, a float32 scalar; `None` entries count as zero."""
    squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients if g is not None]
    return ops.sqrt(sum(squares))
