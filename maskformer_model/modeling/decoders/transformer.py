"""MaskFormer's transformer decoder and its two heads (arXiv:2107.06278, section 3.3).

Queries attend to one feature map; every decoder layer predicts classes and mask embeddings (reference
`transformer_predictor.py`). The DETR layers themselves are in `layers/transformer.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from maskformer_model.config import ModelConfig
from maskformer_model.modeling.decoders import heads
from maskformer_model.modeling.layers.convolution import ConvNorm
from maskformer_model.modeling.layers.mask_product import mask_product
from maskformer_model.modeling.layers.transformer import Decoder, Encoder, sine_position_embedding


class TransformerPredictor(keras.layers.Layer):
    """Transformer decoder and the two heads (reference `transformer_predictor.py`)."""

    def __init__(self, config: ModelConfig, channels: Mapping[str, int], **kwargs):
        super().__init__(**kwargs)
        settings: Any = config.decoder
        dim = settings.hidden_dim
        self.dim = dim
        self.deep_supervision = settings.deep_supervision
        self.num_aux_outputs = settings.num_layers - 1 if settings.deep_supervision else 0
        encoded = "transformer_encoder"
        of_auto = encoded if encoded in channels else "res5"
        self.source = of_auto if settings.input_feature == "auto" else settings.input_feature
        self.reads_mask_features = self.source == "pixel_embedding"
        self.in_channels = channels[self.source]
        needs_projection = self.in_channels != dim or settings.enforce_input_projection
        self.input_projection = ConvNorm(dim, 1, use_bias=True, name="input_projection") if needs_projection else None
        stack = (dim, settings.num_heads, settings.feedforward_dim, settings.dropout, settings.pre_norm)
        # As in the reference, pre-norm closes the encoder with a norm even where it has no layer.
        has_encoder = settings.encoder_layers > 0 or settings.pre_norm
        self.encoder = Encoder(settings.encoder_layers, *stack, name="encoder") if has_encoder else None
        self.decoder = Decoder(settings.num_layers, config.num_queries, *stack, name="decoder")
        self.class_head = heads.class_head(dim, config.num_classes)
        self.mask_head = heads.mask_head(dim, config.mask_dim)

    def build(self, features_shape=None):
        """Makes the weights, which depend on no size."""
        if self.input_projection is not None:
            self.input_projection.build((None, None, None, self.in_channels))
        tokens = (None, None, self.dim)
        if self.encoder is not None:
            self.encoder.build(tokens)
        self.decoder.build(tokens)
        for layer in (self.class_head, *self.mask_head):
            layer.build(tokens)

    def call(self, features, training=None):
        layers = self._decode(features, training)
        mask_features = features["pixel_embedding"]
        if not self.deep_supervision:
            layers = layers[-1:]
        if training:
            # All layers at once: so the gradient by the pixels, the largest of all, is one sum and not one map a layer.
            return self._predict(layers, mask_features)
        # One by one: so a compiled caller that reads the last layer alone computes no mask of the others.
        return [self._predict([layer], mask_features)[0] for layer in layers]

    def last_queries(self, features):
        """Returns class logits and mask embeddings of the last decoder layer, for inference."""
        return self._heads(self._decode(features, training=False)[-1])

    def _decode(self, features, training):
        feature = features[self.source]
        if self.input_projection is not None:
            feature = self.input_projection(feature)
        shape = ops.shape(feature)
        memory = ops.reshape(feature, (shape[0], shape[1] * shape[2], self.dim))
        position = sine_position_embedding(shape[1], shape[2], self.dim, dtype=memory.dtype)
        if self.encoder is not None:
            memory = self.encoder(memory, position, training=training)
        return self.decoder(memory, position, training=training)

    def _predict(self, decoder_outputs, mask_features):
        num_layers = len(decoder_outputs)
        queries = ops.concatenate(decoder_outputs, axis=1)
        class_logits, embeddings = self._heads(queries)
        mask_logits = mask_product(embeddings, mask_features)
        return [
            {"class_logits": layer_class_logits, "mask_logits": layer_mask_logits}
            for layer_class_logits, layer_mask_logits in zip(
                ops.split(class_logits, num_layers, axis=1), ops.split(mask_logits, num_layers, axis=1), strict=True
            )
        ]

    def _heads(self, queries):
        embeddings = queries
        for layer in self.mask_head:
            embeddings = layer(embeddings)
        return self.class_head(queries), embeddings
