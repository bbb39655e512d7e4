"""What Keras's `fit` trains: preprocessing, network and losses in one `keras.Model`.

The training loop, mixed precision, callbacks and distribution are Keras's own; this class only says what goes in and
what the loss is.
"""

from __future__ import annotations

import keras

from maskformer_model.config import LossConfig
from maskformer_model.losses import maskformer_losses
from maskformer_model.maskformer import MaskFormer
from maskformer_model.normalization import normalize

SHOWN_LOSSES = ("loss_ce", "loss_mask", "loss_dice")


class MaskFormerTraining(keras.Model):
    """Trains a `MaskFormer` on the batches of `input_pipeline`.

    `x` is a dict of `image` uint8 `[batch, height, width, 3]` and `valid_size_px` int32 `[batch, 2]`; `y` a dict of
    `segment_map` `[batch, height, width]` and `segment_classes` int32 `[batch, targets]`.

    Args:
        network: The model that is trained, and exported afterwards.
        losses: Weights of the losses.
    """

    def __init__(self, network: MaskFormer, losses: LossConfig, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.loss_config = losses
        self.seed_generator = keras.random.SeedGenerator() if losses.mask_loss == "points" else None
        names = [*SHOWN_LOSSES]
        if network.config.deep_supervision:
            layers = range(network.config.num_decoder_layers - 1)
            names += [f"{name}_{layer}" for layer in layers for name in SHOWN_LOSSES]
        self.loss_means = [keras.metrics.Mean(name=name) for name in names]

    def call(self, x, training=None):
        return self.network(normalize(x["image"], x["valid_size_px"]), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = maskformer_losses(
            y_pred, y["segment_map"], y["segment_classes"], self.loss_config, seed_generator=self.seed_generator
        )
        for mean in self.loss_means:
            mean.update_state(losses[mean.name])
        return sum(losses.values())
