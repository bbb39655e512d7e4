"""The pixel decoder: backbone features -> per-pixel embeddings at stride 4 (paper, section 3.3 and appendix).

Two published kinds (reference `pixel_decoder.py`): "fpn" (`BasePixelDecoder`), and "transformer_fpn"
(`TransformerEncoderPixelDecoder`), which first runs transformer encoder layers over the stride-32 feature and hands
their output to the transformer decoder as well.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskformer_model.config import ModelConfig, TransformerFpnConfig
from maskformer_model.modeling.layers.convolution import ConvNorm
from maskformer_model.modeling.layers.transformer import Encoder, sine_position_embedding


class PixelDecoder(keras.layers.Layer):
    """A feature pyramid, with or without encoder layers over its coarsest feature.

    Called with `{"res2": ..., "res5": ...}` it returns mask features `[batch, height / 4, width / 4, mask_dim]` and a
    dict that holds "transformer_encoder" where there are encoder layers.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        settings: Any = config.pixel_decoder
        dim = settings.hidden_dim
        self.dim = dim
        self.uses_encoder = isinstance(settings, TransformerFpnConfig)
        self.output_channels = dict.fromkeys(settings.gives, dim)
        if self.uses_encoder:
            self.input_projection = ConvNorm(dim, 1, use_bias=True, name="input_projection")
            self.encoder = Encoder(
                settings.encoder_layers,
                dim,
                settings.num_heads,
                settings.feedforward_dim,
                settings.dropout,
                settings.pre_norm,
                name="encoder",
            )
        normed: dict[str, Any] = {"norm": "group"}
        # Level k reads stage res{k + 1}; the coarsest level has no adapter, because nothing is added to it.
        self.adapters = [ConvNorm(dim, 1, name=f"adapter_{level}", **normed) for level in (1, 2, 3)]
        self.fusions = [ConvNorm(dim, 3, activation="relu", name=f"layer_{level}", **normed) for level in (1, 2, 3, 4)]
        self.mask_features = ConvNorm(config.mask_dim, 3, use_bias=True, name="mask_features")

    def build(self, features_shape):
        """Makes the weights; `features_shape` maps "res2" to "res5" to shapes whose channels are known."""
        top, own = features_shape["res5"], (None, None, None, self.dim)
        if self.uses_encoder:
            self.input_projection.build(top)
            self.encoder.build((None, None, self.dim))
            top = own
        for level, adapter in enumerate(self.adapters, start=1):
            adapter.build(features_shape[f"res{level + 1}"])
        for fusion in self.fusions[:3]:
            fusion.build(own)
        self.fusions[3].build(top)
        self.mask_features.build(own)

    def call(self, features, training=None):
        hidden, memory = self.hidden_features(features, training)
        return self.mask_features(hidden), memory

    def hidden_features(self, features, training=None):
        """Returns what `mask_features` reads (`[batch, height / 4, width / 4, hidden_dim]`), and the memory."""
        if not self.uses_encoder:
            return self.fuse(features, features["res5"]), {}
        encoded = self.encode(features["res5"], training)
        return self.fuse(features, encoded), {"transformer_encoder": encoded}

    def encode(self, top, training=None):
        """Returns the stride-32 feature after the encoder layers, `[batch, height / 32, width / 32, hidden_dim]`."""
        projected = self.input_projection(top)
        shape = ops.shape(projected)
        tokens = ops.reshape(projected, (shape[0], shape[1] * shape[2], self.dim))
        position = sine_position_embedding(shape[1], shape[2], self.dim, dtype=tokens.dtype)
        tokens = self.encoder(tokens, position, training=training)
        return ops.reshape(tokens, (shape[0], shape[1], shape[2], self.dim))

    def fuse(self, features, top):
        """Returns the feature pyramid: `top` at stride 32, then each finer stage added to it."""
        hidden = self.fusions[3](top)
        for level in (3, 2, 1):
            lateral = self.adapters[level - 1](features[f"res{level + 1}"])
            hidden = self.fusions[level - 1](lateral + resize_nearest_like(hidden, lateral))
        return hidden


def resize_nearest_like(image, target):
    """Nearest-neighbour resize to the target's size by PyTorch's rule: source index floor(i * in / out).

    Args:
        image: `[batch, height, width, channels]`.
        target: Any tensor with the wanted height and width in axes 1 and 2.

    Returns:
        `[batch, target height, target width, channels]`.
    """
    in_shape, out_shape = ops.shape(image), ops.shape(target)
    if isinstance(in_shape[1], int) and out_shape[1:3] == (2 * in_shape[1], 2 * in_shape[2]):
        return ops.repeat(ops.repeat(image, 2, axis=1), 2, axis=2)
    for axis in (1, 2):
        # In integers, so that no rounding of the scale can pick a neighbour.
        indices = ops.arange(out_shape[axis], dtype="int32") * in_shape[axis] // out_shape[axis]
        image = ops.take(image, indices, axis=axis)
    return image
