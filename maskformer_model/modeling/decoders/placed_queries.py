"""A decoder whose queries begin at places of the photo: for many small objects and few steps of training.

MaskFormer's queries learn over many epochs which part of a photo each of them answers for. Here most queries are cells
of the photo (as the two-stage Deformable DETR selects them, arXiv:2010.04159, appendix A.4): a cell of 16 x 16 px gives
its mean mask feature as the query's state and its centre as the query's place. Where there are more cells than queries,
those with the highest class scores are taken. A few learned queries follow, for stuff, which has no place.

A placed query's mask is its product with the per-pixel embeddings plus a disc, `offset - sharpness * distance ** 2`,
around a centre that the query moves. A disc is a product of embeddings too (x ** 2 + y ** 2, y, x and 1 by pixel), so
the mask product stays one product and everything that reads it stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import ModelConfig
from maskformer_model.modeling.decoders import heads
from maskformer_model.modeling.layers.linear import flat_linear, torch_linear
from maskformer_model.modeling.layers.mask_product import mask_product
from maskformer_model.modeling.layers.transformer import LAYER_NORM_EPSILON, DecoderLayer, sine_position_embedding

CELL = 4  # Cells are so many pixels of the mask features wide: 16 px of the photo.
_NOTHING = -20.0  # The class logits of a query without a cell, in a photo with fewer cells than queries.
_UNIT_SHARPNESS = 0.5413  # Its softplus is 1: a disc with a radius of one cell.


class PlacedQueriesDecoder(keras.layers.Layer):
    """Placed and learned queries and their heads: features -> a dict of predictions for each layer, the last final."""

    reads_mask_features = True

    def __init__(self, config: ModelConfig, channels: Mapping[str, int], **kwargs):
        super().__init__(**kwargs)
        settings: Any = config.decoder
        dim = settings.hidden_dim
        self.dim = dim
        self.num_learned = settings.num_learned_queries
        self.num_placed = config.num_queries - self.num_learned
        self.deep_supervision = settings.deep_supervision
        self.num_aux_outputs = settings.num_layers if settings.deep_supervision else 0
        self.in_channels = channels["pixel_embedding"]
        self.input_projection = torch_linear(dim, self.in_channels, name="input_projection")
        self.decoder_layers = [
            DecoderLayer(
                dim,
                settings.num_heads,
                settings.feedforward_dim,
                settings.dropout,
                settings.pre_norm,
                name=f"layer_{index}",
            )
            for index in range(settings.num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm")
        self.class_head = heads.class_head(dim, config.num_classes)
        self.mask_head = heads.mask_head(dim, config.mask_dim)
        self.disc_head = keras.layers.Dense(4, kernel_initializer="zeros", name="disc_head")

    def build(self, features_shape=None):
        """Makes the weights, which depend on no size."""
        for name in ("query_features", "query_embedding"):
            initializer = keras.initializers.RandomNormal(stddev=1.0)
            setattr(self, name, self.add_weight(name=name, shape=(self.num_learned, self.dim), initializer=initializer))
        self.input_projection.build((None, None, self.in_channels))
        for layer in (*self.decoder_layers, self.norm, self.class_head, *self.mask_head, self.disc_head):
            layer.build((None, None, self.dim))

    def call(self, features, training=None):
        predictions, pixels = self.decode(features, training)
        if not self.deep_supervision:
            predictions = predictions[-1:]
        embeddings = [embedding for _, embedding in predictions]
        if training:
            # All layers at once, so that the gradient by the pixels is one sum and not one map a layer.
            mask_logits = ops.split(mask_product(ops.concatenate(embeddings, axis=1), pixels), len(embeddings), axis=1)
        else:
            # Layer by layer, so that a compiled caller that reads only the last layer skips the other masks.
            mask_logits = [mask_product(embedding, pixels) for embedding in embeddings]
        return [
            {"class_logits": class_logits, "mask_logits": logits}
            for (class_logits, _), logits in zip(predictions, mask_logits, strict=True)
        ]

    def last_queries(self, features):
        """Returns class logits, mask embeddings and per-pixel embeddings of the last prediction, for inference."""
        predictions, pixels = self.decode(features, training=False)
        return *predictions[-1], pixels

    def decode(self, features, training=None):
        """Chooses the places and runs the layers; predicts before the first and after each.

        Returns:
            The predictions, each as class logits `[batch, queries, classes + 1]` and mask embeddings `[batch, queries,
            mask_dim + 4]`, and per-pixel embeddings `[batch, height / 4, width / 4, mask_dim + 4]`.
        """
        mask_features = features["pixel_embedding"]
        cells = ops.average_pool(mask_features, CELL, CELL, padding="same")
        shape = ops.shape(cells)
        cells = ops.reshape(cells, (shape[0], shape[1] * shape[2], self.in_channels))
        cells = flat_linear(self.input_projection, cells)
        position = sine_position_embedding(shape[1], shape[2], self.dim, dtype=cells.dtype)
        queries, query_position, centers, is_placed = self._queries(cells, position, shape[1:3])
        predictions = [self._predict(queries, centers, is_placed)]
        for layer in self.decoder_layers:
            queries = layer(queries, query_position, cells, position, training=training)
            predictions.append(self._predict(queries, centers, is_placed))
        return predictions, with_coordinates(mask_features)

    def _queries(self, cells, position, grid):
        """Chooses the cells and appends the learned queries.

        Returns:
            States and position embeddings `[batch, queries, dim]`; centres `[batch, queries, 2]` in cells; and `[batch,
            queries]`: 1 for a query with a cell, 0 for a learned one, -1 for one that found no cell.
        """
        batch, num_cells = ops.shape(cells)[0], ops.shape(cells)[1]
        class_logits = ops.stop_gradient(self.class_head(self.norm(cells)))
        score = ops.max(class_logits[:, :, :-1], axis=2) - class_logits[:, :, -1]
        # Empty ones, chosen last, for a photo with fewer cells than queries.
        lowest = ops.cast(ops.full((batch, self.num_placed), -1e4), score.dtype)
        _, chosen = ops.top_k(ops.concatenate([score, lowest], axis=1), self.num_placed)
        is_cell = chosen < num_cells
        chosen = ops.where(is_cell, chosen, 0)
        placed = ops.take_along_axis(cells, chosen[:, :, None], axis=1)
        placed_position = ops.take(position, chosen, axis=0)
        rows, columns = ops.floor_divide(chosen, grid[1]), ops.mod(chosen, grid[1])
        centers = ops.cast(ops.stack([rows, columns], axis=2), precise_dtype()) + 0.5
        learned, learned_position = (
            ops.broadcast_to(ops.cast(weight, cells.dtype)[None], (batch, self.num_learned, self.dim))
            for weight in (self.query_features, self.query_embedding)
        )
        is_placed = ops.where(is_cell, 1.0, -1.0)
        return (
            ops.concatenate([placed, learned], axis=1),
            ops.concatenate([placed_position, learned_position], axis=1),
            ops.pad(centers, ((0, 0), (0, self.num_learned), (0, 0))),
            ops.pad(is_placed, ((0, 0), (0, self.num_learned))),
        )

    def _predict(self, queries, centers, is_placed):
        state = self.norm(queries)
        embeddings = state
        for layer in self.mask_head:
            embeddings = layer(embeddings)
        disc = disc_embeddings(ops.cast(self.disc_head(state), precise_dtype()), centers)
        disc = disc * ops.cast(is_placed > 0, disc.dtype)[:, :, None]
        class_logits = self.class_head(state)
        is_nothing = ops.cast(is_placed < 0, class_logits.dtype)[:, :, None]
        no_object = ops.one_hot(class_logits.shape[2] - 1, class_logits.shape[2], dtype=class_logits.dtype)
        class_logits = class_logits * (1 - is_nothing) + _NOTHING * is_nothing * (1 - no_object)
        return class_logits, ops.concatenate([ops.cast(embeddings, disc.dtype), disc], axis=2)


def disc_embeddings(disc, centers):
    """Returns the embeddings of discs, to be multiplied with the pixels of `with_coordinates`.

    The product is `offset - sharpness * squared distance from the centre`, with distances in cells.

    Args:
        disc: `[batch, queries, 4]` float: how far the centre moves down and right, the sharpness before its softplus,
            and the offset; all 0 is a disc with a radius of one cell.
        centers: `[batch, queries, 2]` float: row and column of the centres, in cells.

    Returns:
        `[batch, queries, 4]`.
    """
    centers = centers + disc[:, :, :2]
    sharpness = ops.softplus(disc[:, :, 2:3] + _UNIT_SHARPNESS)
    offset = disc[:, :, 3:4] + 1.0
    constant = offset - sharpness * ops.sum(ops.square(centers), axis=2, keepdims=True)
    return ops.concatenate([-sharpness, 2.0 * sharpness * centers, constant], axis=2)


def with_coordinates(mask_features):
    """Appends `y ** 2 + x ** 2`, y, x and 1 to each pixel's embedding: its centre's coordinates, in cells.

    Args:
        mask_features: `[batch, height, width, channels]` float.

    Returns:
        `[batch, height, width, channels + 4]`, at least float32: the terms of a disc are large and nearly cancel.
    """
    shape = ops.shape(mask_features)
    dtype = precise_dtype()
    y, x = ((ops.cast(ops.arange(length, dtype="int32"), dtype) + 0.5) / CELL for length in shape[1:3])
    y, x = ops.broadcast_to(y[:, None], shape[1:3]), ops.broadcast_to(x[None], shape[1:3])
    coordinates = ops.stack([ops.square(y) + ops.square(x), y, x, ops.ones_like(y)], axis=2)
    coordinates = ops.broadcast_to(coordinates[None], (*shape[:3], 4))
    return ops.concatenate([ops.cast(mask_features, dtype), coordinates], axis=3)
