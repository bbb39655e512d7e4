"""Defines the `keras.Model` that `fit` trains: preprocessing, network and losses.

The training loop, mixed precision, callbacks and distribution are Keras's own; this class says what goes in, what the
loss is and, on TensorFlow, what one step is: losses counted over the whole global batch, in parts where memory is
short, so that neither replicas nor parts change the update.
"""

from __future__ import annotations

from typing import Any

import keras

from maskformer_model.config import LossConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.losses.criterion import loss_normalizers, maskformer_losses
from maskformer_model.modeling.maskformer import MaskFormer

SHOWN_LOSSES = ("loss_ce", "loss_mask", "loss_dice")


class MaskFormerTraining(keras.Model):
    """Trains a `MaskFormer` on the batches of `input_pipeline`.

    `x` is a dict of `image` uint8 `[batch, height, width, 3]` and `valid_size_px` int32 `[batch, 2]`; `y` a dict of
    `segment_map` `[batch, height, width]` and `segment_classes` int32 `[batch, targets]`.

    Args:
        network: The model that is trained, and exported afterwards.
        losses: Weights of the losses.
        accumulation_steps: Parts in which a replica's batch goes through the network before one update; must divide
            that batch. On TensorFlow only.
        trims_padding: Cut each replica's batch, or each part of it, down to its own largest photo, where sizes are
            free. On TensorFlow only.
        size_divisibility: What the cut leaves is a multiple of this; 0: of 1.
        is_deterministic: Add gradients up in a fixed order, so that a step gives the same bits each time. Needs
            `loop.make_deterministic`.

    Raises:
        ValueError: if parts are asked for on another backend.
    """

    def __init__(
        self,
        network: MaskFormer,
        losses: LossConfig,
        *,
        accumulation_steps: int = 1,
        trims_padding: bool = False,
        size_divisibility: int = 0,
        is_deterministic: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if accumulation_steps > 1 and keras.backend.backend() != "tensorflow":
            raise ValueError(
                "`trainer.accumulation_steps` above 1 needs Keras's TensorFlow backend. "
                f"Received: {accumulation_steps} on {keras.backend.backend()}"
            )
        self.network = network
        self.loss_config = losses
        self.accumulation_steps = accumulation_steps
        self.trims_padding = trims_padding
        self.size_divisibility = max(1, size_divisibility)
        self.is_deterministic = is_deterministic
        self.seed_generator = keras.random.SeedGenerator() if losses.mask_loss == "points" else None
        names = [*SHOWN_LOSSES]
        layers = range(network.predictor.num_aux_outputs)
        names += [f"{name}_{layer}" for layer in layers for name in SHOWN_LOSSES]
        self.loss_means = [keras.metrics.Mean(name=name) for name in names]
        self._after_step = getattr(network.predictor, "after_step", None)
        self._check_masks = getattr(network.predictor, "check_masks", None)
        self.num_updates: Any = None

    def build(self, input_shape=None):
        """Makes the network's weights, which depend on no size, where they have not been made."""
        if not self.network.built:
            self.network.build()
        if self._after_step is not None:
            self.num_updates = self.add_weight(
                name="num_updates",
                shape=(),
                dtype="int32",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
            )

    def call(self, x, training=None):
        outputs = self.network(normalize(x["image"], x["valid_size_px"]), training=training)
        if training and keras.backend.backend() != "tensorflow":
            self._count_update()  # Elsewhere the step is Keras's own; this runs once in it.
        return outputs

    def start_over(self):
        """Tells the decoder that there was no update yet, whatever the weights that it starts from have behind them.

        Raises:
            ValueError: if a training from these weights would mask attention and inference would not, or the other way
                round.
        """
        if self._after_step is not None:
            self._after_step(0)
        if self._check_masks is not None:
            self._check_masks()

    def _count_update(self):
        """Tells the decoder how many updates there have been, this step's among them, if it wants to know."""
        if self._after_step is not None:
            self.num_updates.assign(self.num_updates + 1)
            self._after_step(self.num_updates)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = self._loss_terms(y, y_pred)
        total = sum(losses.values())
        is_finite = keras.ops.isfinite(total)
        for mean in self.loss_means:
            value = keras.ops.where(is_finite, losses[mean.name], 0.0)
            mean.update_state(value, sample_weight=keras.ops.cast(is_finite, "float32"))
        return total

    def _loss_terms(self, y, y_pred, normalizers=None) -> dict[str, Any]:
        return maskformer_losses(
            y_pred,
            y["segment_map"],
            y["segment_classes"],
            self.loss_config,
            normalizers=normalizers,
            seed_generator=self.seed_generator,
        )

    if keras.backend.backend() == "tensorflow":

        def train_step(self, data):
            """One update from `(x, y)`; returns the loss of the global batch, `[1]` for the strategies that ask so."""
            x, y = data
            losses, gradients = self._losses_and_gradients(x, y)
            self.optimizer.apply(gradients, self.trainable_variables)
            self._count_update()
            return {"loss": keras.ops.reshape(self._note(losses), (1,))}

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            # Built before `fit`; Keras's own way fails where several workers train (it takes a mean over bytes).
            pass

    def _losses_and_gradients(self, x, y) -> tuple[dict[str, Any], list[Any]]:
        import tensorflow as tf

        normalizers = loss_normalizers(
            y["segment_classes"],
            self.network.config.num_queries,
            self.loss_config.background_cls_weight,
            self.loss_config.mask_normalizer,
        )
        if self.accumulation_steps == 1:
            return self._part(x, y, normalizers)
        parts = tf.nest.map_structure(self._cut, (x, y))

        def add_part(index, losses, gradients):
            part = tf.nest.map_structure(lambda tensor: tensor[index], parts)
            more_losses, more_gradients = self._part(part[0], part[1], normalizers)
            losses, gradients = tf.nest.map_structure(tf.add, (losses, gradients), (more_losses, more_gradients))
            return index + 1, losses, gradients

        losses = {mean.name: tf.zeros(()) for mean in self.loss_means}
        gradients = [tf.zeros(variable.shape, variable.dtype) for variable in self.trainable_variables]
        # One after the other: that is what saves the memory.
        _, losses, gradients = tf.while_loop(
            lambda index, *_: index < self.accumulation_steps,
            add_part,
            (0, losses, gradients),
            parallel_iterations=1,
            maximum_iterations=self.accumulation_steps,
        )
        return losses, gradients

    def _cut(self, tensor):
        batch = tensor.shape[0]
        if batch is None or batch % self.accumulation_steps:
            raise ValueError(
                f"`trainer.accumulation_steps` ({self.accumulation_steps}) must divide each replica's batch, which "
                f"needs `drop_remainder`. Received a batch of {batch}"
            )
        sizes = keras.ops.shape(tensor)[1:]  # Scalars of the graph where the sizes are free.
        return keras.ops.reshape(tensor, (self.accumulation_steps, batch // self.accumulation_steps, *sizes))

    def _part(self, x, y, normalizers) -> tuple[dict[str, Any], list[Any]]:
        import tensorflow as tf

        variables = [variable.value for variable in self.trainable_variables]
        if self.trims_padding and None in x["image"].shape[1:3]:
            x, y = self._trim(x, y)
        zero = tf.UnconnectedGradients.ZERO
        if self.is_deterministic and not tf.executing_eagerly():
            losses = self._loss_terms(y, self(x, training=True), normalizers)
            scaled = self.optimizer.scale_loss(sum(losses.values()))
            # A tape adds three and more parts of a gradient with AddN, which begins with whichever part's memory is
            # free at that moment: with several threads the last bits differ. A sum of two has no order.
            in_pairs = tf.AggregationMethod.EXPERIMENTAL_TREE
            gradients = tf.gradients(scaled, variables, aggregation_method=in_pairs, unconnected_gradients=zero)
            # Sums in pairs are placed on no device, and several workers ask a gradient for its own.
            return losses, [tf.identity(gradient) for gradient in gradients]
        with tf.GradientTape() as tape:
            losses = self._loss_terms(y, self(x, training=True), normalizers)
            scaled = self.optimizer.scale_loss(sum(losses.values()))
        return losses, tape.gradient(scaled, variables, unconnected_gradients=zero)

    def _trim(self, x, y) -> tuple[dict[str, Any], dict[str, Any]]:
        """Cuts off the padding that none of these photos needs."""
        import tensorflow as tf

        size_px = tf.reduce_max(x["valid_size_px"], axis=0)
        size_px = tf.minimum(size_px + -size_px % self.size_divisibility, tf.shape(x["image"])[1:3])
        x = {**x, "image": x["image"][:, : size_px[0], : size_px[1]]}
        return x, {**y, "segment_map": y["segment_map"][:, : size_px[0], : size_px[1]]}

    def _note(self, losses: dict[str, Any]):
        """Adds a step's terms to the means, unless they are not finite; returns their sum over the global batch."""
        import tensorflow as tf

        # A replica's terms are parts of the global batch's; a mean over replicas times their number is the sum.
        num_replicas = tf.distribute.get_strategy().num_replicas_in_sync
        total = sum(losses.values())
        weight = tf.where(tf.math.is_finite(total), 1.0, 0.0)
        for mean in self.loss_means:
            value = tf.where(weight > 0, losses[mean.name] * num_replicas, 0.0)
            mean.update_state(value, sample_weight=weight)
        self._loss_tracker.update_state(tf.where(weight > 0, total * num_replicas, 0.0), sample_weight=weight)
        return total * num_replicas
