"""The transformer decoder with masked attention (arXiv:2112.01527, section 3.2; `mask2former_transformer_decoder.py`).

Each layer reads one of three scales in turn, and a query looks only at the cells where the mask that it predicted
before is positive. Learned queries predict masks before the first layer already. The heads are shared by all layers;
the normed state that they read is not what the next layer gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from maskformer_model.config import ModelConfig
from maskformer_model.modeling.decoders import heads
from maskformer_model.modeling.layers.bilinear import resize_bilinear
from maskformer_model.modeling.layers.convolution import ConvNorm
from maskformer_model.modeling.layers.mask_product import mask_product
from maskformer_model.modeling.layers.transformer import (
    LAYER_NORM_EPSILON,
    Attention,
    FeedForward,
    sine_position_embedding,
)

SCALES = ("scale_0", "scale_1", "scale_2")  # Read in turn, coarsest first.


class MaskedAttentionDecoder(keras.layers.Layer):
    """Masked-attention decoder and the two heads: features -> a dict of predictions for each layer, the last final."""

    reads_mask_features = True

    def __init__(self, config: ModelConfig, channels: Mapping[str, int], **kwargs):
        super().__init__(**kwargs)
        settings: Any = config.decoder
        dim = settings.hidden_dim
        self.dim = dim
        self.num_queries = config.num_queries
        self.deep_supervision = settings.deep_supervision
        self.num_aux_outputs = settings.num_layers if settings.deep_supervision else 0
        self.in_channels = [channels[scale] for scale in SCALES]
        needs_projection = set(self.in_channels) != {dim} or settings.enforce_input_projection
        self.input_projections = [
            ConvNorm(dim, 1, use_bias=True, name=f"input_projection_{index}")
            for index in range(len(SCALES) if needs_projection else 0)
        ]
        self.decoder_layers = [
            MaskedAttentionLayer(
                dim, settings.num_heads, settings.feedforward_dim, settings.pre_norm, name=f"layer_{index}"
            )
            for index in range(settings.num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm")
        self.class_head = heads.class_head(dim, config.num_classes)
        self.mask_head = heads.mask_head(dim, config.mask_dim)
        self.pooled_features = settings.pooled_features
        self.pooled_channels = sum(channels[name] for name in self.pooled_features)
        self.pooled_class_head = None
        if self.pooled_features:
            dropout = settings.pooled_dropout
            self.pooled_class_head = heads.MaskPooledClassHead(config.num_classes, dropout, name="pooled_class_head")

    def build(self, features_shape=None):
        """Makes the weights, which depend on no size."""
        for name, rows in (
            ("query_features", self.num_queries),
            ("query_embedding", self.num_queries),
            ("level_embedding", len(SCALES)),
        ):
            initializer = keras.initializers.RandomNormal(stddev=1.0)
            setattr(self, name, self.add_weight(name=name, shape=(rows, self.dim), initializer=initializer))
        for projection, width in zip(self.input_projections, self.in_channels, strict=False):  # None where it fits.
            projection.build((None, None, None, width))
        for layer in (*self.decoder_layers, self.norm, self.class_head, *self.mask_head):
            layer.build((None, None, self.dim))
        if self.pooled_class_head is not None:
            self.pooled_class_head.build(self.pooled_channels)

    def call(self, features, training=None):
        states, embeddings, _ = self.decode(features, training)
        mask_features = features["pixel_embedding"]
        if not self.deep_supervision:
            states, embeddings = states[-1:], embeddings[-1:]
        if training:
            # All layers at once: so the gradient by the pixels, the largest of all, is one sum and not one map a layer.
            mask_logits = ops.split(
                mask_product(ops.concatenate(embeddings, axis=1), mask_features), len(embeddings), axis=1
            )
        else:
            # One by one: so a compiled caller that reads the last layer alone computes no mask of the others.
            mask_logits = [mask_product(embedding, mask_features) for embedding in embeddings]
        class_logits = self._class_logits(states, embeddings, features, training)
        return [
            {"class_logits": of_class, "mask_logits": of_mask}
            for of_class, of_mask in zip(class_logits, mask_logits, strict=True)
        ]

    def last_queries(self, features):
        """Returns class logits and mask embeddings of the last decoder layer, for inference."""
        states, embeddings, _ = self.decode(features, training=False)
        return self._class_logits(states[-1:], embeddings[-1:], features)[0], embeddings[-1]

    def _class_logits(self, states, embeddings, features, training=None):
        class_logits = [self.class_head(state) for state in states]
        if self.pooled_class_head is None:
            return class_logits
        levels = []
        for name in self.pooled_features:
            batch, height, width, channels = ops.shape(features[name])
            values = ops.reshape(features[name], (batch, height * width, channels))
            levels.append((mask_features_of_size(features["pixel_embedding"], features[name]), values))
        return [
            logits + self.pooled_class_head(embedding, levels, training=training)
            for logits, embedding in zip(class_logits, embeddings, strict=True)
        ]

    def decode(self, features, training=None):
        """Runs the layers; predicts before the first and after each.

        Returns:
            Three lists: normed states and mask embeddings of every prediction, `[batch, queries, ...]`, and what was
            blocked in each layer, `[batch, queries, cells]` bool.
        """
        mask_features, maps = features["pixel_embedding"], [features[scale] for scale in SCALES]
        memories = [self._memory(scale, level) for scale, level in enumerate(maps)]
        looked_at = [mask_features_of_size(mask_features, level) for level in maps]
        batch = ops.shape(mask_features)[0]
        query_position = ops.cast(ops.expand_dims(self.query_embedding, 0), self.compute_dtype)
        queries = ops.cast(ops.expand_dims(self.query_features, 0), self.compute_dtype)
        queries = ops.broadcast_to(queries, (batch, self.num_queries, self.dim))
        states, embeddings, blocked = [], [], []
        for index in range(len(self.decoder_layers) + 1):
            states.append(self.norm(queries))
            embeddings.append(self._embed(states[-1]))
            if index < len(self.decoder_layers):
                scale = index % len(SCALES)
                blocked.append(blocked_cells(embeddings[-1], looked_at[scale]))
                queries = self.decoder_layers[index](
                    queries, query_position, *memories[scale], blocked[-1], training=training
                )
        return states, embeddings, blocked

    def _memory(self, scale, level):
        """A scale's cells with its level embedding, and their positions: `[batch, cells, dim]`, `[cells, dim]`."""
        if self.input_projections:
            level = self.input_projections[scale](level)
        shape = ops.shape(level)
        memory = ops.reshape(level, (shape[0], shape[1] * shape[2], self.dim))
        memory = memory + ops.cast(self.level_embedding[scale], memory.dtype)
        return memory, sine_position_embedding(shape[1], shape[2], self.dim, dtype=memory.dtype)

    def _embed(self, state):
        for layer in self.mask_head:
            state = layer(state)
        return state


def mask_features_of_size(mask_features, level):
    """Returns the mask features at a level's size, `[batch, cells, channels]`, without gradient.

    Resizing and the product with the queries are both linear. Done in this order, the masks that attention needs cost
    a few percent of those at stride 4, and the latter are needed for losses only.
    """
    size = ops.shape(level)[1:3]
    resized = resize_bilinear(ops.stop_gradient(mask_features), *size)
    return ops.reshape(resized, (ops.shape(resized)[0], size[0] * size[1], resized.shape[3]))


def blocked_cells(embeddings, cells):
    """Where the queries' masks are negative, so that they must not look; a query that sees nothing may look everywhere.

    Args:
        embeddings: `[batch, queries, mask_dim]` float.
        cells: `[batch, cells, mask_dim]` float.

    Returns:
        `[batch, queries, cells]` bool.
    """
    mask_logits = ops.einsum("bqc,bpc->bqp", ops.stop_gradient(embeddings), cells)
    # As the reference asks: a logit just below 0, whose probability rounds to one half, is not blocked.
    blocked = ops.sigmoid(mask_logits) < 0.5
    return ops.logical_and(blocked, ops.logical_not(ops.all(blocked, axis=2, keepdims=True)))


class MaskedAttentionLayer(keras.layers.Layer):
    """Masked attention to the image, self-attention among queries, feed-forward: in this order, and without dropout."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, pre_norm: bool, **kwargs):
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.cross_attention = Attention(dim, num_heads, 0.0, name="cross_attention")
        self.self_attention = Attention(dim, num_heads, 0.0, name="self_attention")
        self.feed_forward = FeedForward(dim, feedforward_dim, 0.0, name="feed_forward")
        self.norm1, self.norm2, self.norm3 = (
            keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"norm{index}") for index in (1, 2, 3)
        )

    def build(self, queries_shape):
        """Makes the weights; queries and memory have the same width."""
        sublayers = (self.cross_attention, self.self_attention, self.feed_forward)
        for layer in (*sublayers, self.norm1, self.norm2, self.norm3):
            layer.build(queries_shape)

    def call(self, queries, query_position, memory, memory_position, blocked, training=None):
        def attend_to_image(normed):
            query = normed + query_position
            return self.cross_attention(query, memory + memory_position, memory, blocked, training=training)

        def attend_to_queries(normed):
            query = normed + query_position
            return self.self_attention(query, query, normed, training=training)

        def feed(normed):
            return self.feed_forward(normed, training=training)

        for norm, sublayer in ((self.norm1, attend_to_image), (self.norm2, attend_to_queries), (self.norm3, feed)):
            tokens = sublayer(norm(queries) if self.pre_norm else queries)
            queries = queries + tokens if self.pre_norm else norm(queries + tokens)
        return queries
