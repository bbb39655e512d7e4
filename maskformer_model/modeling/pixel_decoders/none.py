"""No pixel decoder, for decoders that make their per-pixel embeddings themselves."""

from __future__ import annotations

import keras

from maskformer_model.config import ModelConfig


class NoPixelDecoder(keras.layers.Layer):
    """Gives nothing: no per-pixel embeddings and no memory."""

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        self.output_channels: dict[str, int] = {}

    def build(self, features_shape=None):
        """Makes no weights."""

    def call(self, features, training=None):
        return self.hidden_features(features, training)

    def hidden_features(self, features, training=None):
        """Returns None in place of a map, and an empty memory."""
        return None, {}
