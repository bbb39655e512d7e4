"""The multi-scale deformable pixel decoder (arXiv:2112.01527, section 3.2.2 and appendix; reference `msdeformattn.py`).

A deformable encoder runs over the coarse stages at once, coarsest first. Finer stages are added to its finest map as in
a feature pyramid, down to stride 4, where a 1x1 convolution gives the per-pixel embeddings. The first three of all
these maps are what the decoder attends to. Computed in float32 whatever the policy, as in the reference.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import DeformableConfig, ModelConfig
from maskformer_model.modeling.layers.bilinear import resize_bilinear
from maskformer_model.modeling.layers.convolution import ConvNorm, make_norm
from maskformer_model.modeling.layers.deformable_attention import MultiScaleDeformableAttention
from maskformer_model.modeling.layers.precision import at_least_float32
from maskformer_model.modeling.layers.transformer import LAYER_NORM_EPSILON, FeedForward, sine_position_embedding


class DeformablePixelDecoder(keras.layers.Layer):
    """A deformable encoder over the coarse stages, and a feature pyramid from its finest map down to stride 4.

    Called with `{"res2": ..., "res5": ...}` it returns mask features `[batch, height / 4, width / 4, mask_dim]` and a
    dict of the three coarsest maps, "scale_0" (the coarsest) to "scale_2".
    """

    def __init__(self, config: ModelConfig, **kwargs):
        with at_least_float32():
            super().__init__(**kwargs)
            self._make_layers(config, config.pixel_decoder)

    def _make_layers(self, config: ModelConfig, settings: Any):
        dim = settings.hidden_dim
        self.dim = dim
        self.output_channels = dict.fromkeys(settings.gives, dim)
        self.encoder_stages = settings.encoder_stages[::-1]  # Coarsest first, as the tokens are.
        finest = int(self.encoder_stages[-1][-1])
        # Added to the encoder's finest map, coarsest first; the reference counts adapters and layers from res2 up.
        self.pyramid_stages = [f"res{stage}" for stage in range(finest - 1, 1, -1)]
        levels = range(len(self.encoder_stages))
        self.input_projections = [
            ConvNorm(dim, 1, use_bias=True, kernel_initializer="glorot_uniform", name=f"input_projection_{level}")
            for level in levels
        ]
        self.input_norms = [make_norm("group", name=f"input_norm_{level}") for level in levels]
        self.encoder = DeformableEncoder(settings, num_levels=len(levels), name="encoder")
        numbers = [int(stage[-1]) - 1 for stage in self.pyramid_stages]
        self.adapters = [ConvNorm(dim, 1, norm="group", name=f"adapter_{number}") for number in numbers]
        self.fusions = [ConvNorm(dim, 3, norm="group", activation="relu", name=f"layer_{number}") for number in numbers]
        self.mask_features = ConvNorm(config.mask_dim, 1, use_bias=True, name="mask_features")

    def build(self, features_shape):
        """Makes the weights; `features_shape` maps "res2" to "res5" to shapes whose channels are known."""
        own = (None, None, None, self.dim)
        for stage, projection, norm in zip(self.encoder_stages, self.input_projections, self.input_norms, strict=True):
            projection.build(features_shape[stage])
            norm.build(own)
        self.encoder.build((None, None, self.dim))
        for stage, adapter, fusion in zip(self.pyramid_stages, self.adapters, self.fusions, strict=True):
            adapter.build(features_shape[stage])
            fusion.build(own)
        self.mask_features.build(own)

    def call(self, features, training=None):
        hidden, memory = self.hidden_features(features, training)
        return self.mask_features(hidden), memory

    def hidden_features(self, features, training=None):
        """What `mask_features` reads (`[batch, height/4, width/4, dim]`), and the maps for the decoder."""
        maps = self.encoder(
            [
                norm(projection(features[stage]))
                for stage, projection, norm in zip(
                    self.encoder_stages, self.input_projections, self.input_norms, strict=True
                )
            ],
            training=training,
        )
        for stage, adapter, fusion in zip(self.pyramid_stages, self.adapters, self.fusions, strict=True):
            lateral = adapter(features[stage])
            shape = ops.shape(lateral)
            maps.append(fusion(lateral + resize_bilinear(maps[-1], shape[1], shape[2])))
        return maps[-1], dict(zip(self.output_channels, maps, strict=False))  # The finer ones are not given.


class DeformableEncoder(keras.layers.Layer):
    """Deformable self-attention over the cells of all levels together.

    `call(maps)`: list of `[batch, height, width, dim]` -> list of the same shapes.
    """

    def __init__(self, config: DeformableConfig, num_levels: int, **kwargs):
        super().__init__(**kwargs)
        self.dim = config.hidden_dim
        self.num_levels = num_levels
        self.encoder_layers = [
            DeformableEncoderLayer(config, num_levels, name=f"layer_{index}") for index in range(config.encoder_layers)
        ]

    def build(self, tokens_shape):
        """Makes the weights."""
        # Unlike the decoder's, this one decays in training: the reference keeps it as a bare parameter.
        self.level_position = self.add_weight(
            name="level_position",
            shape=(self.num_levels, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        for layer in self.encoder_layers:
            layer.build(tokens_shape)

    def call(self, maps, training=None):
        sizes = [ops.shape(level)[1:3] for level in maps]
        batch = ops.shape(maps[0])[0]
        tokens = ops.concatenate([ops.reshape(level, (batch, -1, self.dim)) for level in maps], axis=1)
        position = ops.concatenate(
            [
                sine_position_embedding(height, width, self.dim) + self.level_position[level]
                for level, (height, width) in enumerate(sizes)
            ],
            axis=0,
        )
        reference = ops.concatenate([cell_centres(height, width) for height, width in sizes], axis=0)
        for layer in self.encoder_layers:
            tokens = layer(tokens, position, reference, sizes=sizes, training=training)
        outputs, first = [], 0
        for height, width in sizes:
            outputs.append(ops.reshape(tokens[:, first : first + height * width], (batch, height, width, self.dim)))
            first += height * width
        return outputs


class DeformableEncoderLayer(keras.layers.Layer):
    """Deformable attention and feed-forward, each with a residual and a layer norm after it."""

    def __init__(self, config: DeformableConfig, num_levels: int, **kwargs):
        super().__init__(**kwargs)
        dim = config.hidden_dim
        self.attention = MultiScaleDeformableAttention(
            dim, config.num_heads, num_levels, config.num_points, name="attention"
        )
        self.feed_forward = FeedForward(dim, config.feedforward_dim, config.dropout, name="feed_forward")
        self.norm1, self.norm2 = (
            keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name) for name in ("norm1", "norm2")
        )
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")

    def build(self, tokens_shape):
        """Makes the weights."""
        for layer in (self.attention, self.feed_forward, self.norm1, self.norm2):
            layer.build(tokens_shape)

    def call(self, tokens, position, reference, sizes, training=None):
        attended = self.attention(tokens + position, tokens, reference, sizes=sizes)
        tokens = self.norm1(tokens + self.dropout(attended, training=training))
        fed = self.feed_forward(tokens, training=training)
        return self.norm2(tokens + self.dropout(fed, training=training))


def cell_centres(height, width):
    """`[height * width, 2]` float: x and y of each cell's centre as a share of the map's edges, row by row."""

    def centres(length):
        return (ops.arange(length, dtype=precise_dtype()) + 0.5) / ops.cast(length, precise_dtype())

    columns = ops.broadcast_to(ops.expand_dims(centres(width), 0), (height, width))
    rows = ops.broadcast_to(ops.expand_dims(centres(height), 1), (height, width))
    return ops.reshape(ops.stack([columns, rows], axis=-1), (height * width, 2))
