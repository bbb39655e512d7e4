"""The DETR transformer that MaskFormer uses, encoder and decoder (reference `transformer.py`, `position_encoding.py`).

Queries and keys get position embeddings at every layer, values never do. Padding is attended to, as in the reference:
its mask is always empty. What the decoder's outputs mean is left to `maskformer.py`.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.modeling.layers.linear import flat_linear, torch_default_uniform

LAYER_NORM_EPSILON = 1e-5


def sine_position_embedding(height, width, channels: int, dtype="float32"):
    """2-D sine embedding of every cell (reference `PositionEmbeddingSine`, temperature 10000, normalised to 2 pi).

    Args:
        height: Rows, a Python int or a scalar tensor.
        width: Number of columns.
        channels: Embedding width, a multiple of 4: the first half encodes y, the second x.
        dtype: The dtype of the result.

    Returns:
        `[height * width, channels]`, row by row.
    """
    half = channels // 2
    exponents = ops.floor(ops.arange(half, dtype=precise_dtype()) / 2) * (2.0 / half)
    periods = ops.exp(exponents * math.log(10000.0))

    def encode(length):
        # Counted in whole numbers, because a compiler must see how many there are.
        positions = ops.cast(ops.arange(1, length + 1, dtype="int32"), precise_dtype())
        positions = positions / (ops.cast(length, precise_dtype()) + 1e-6) * (2 * math.pi)
        angles = ops.expand_dims(positions, -1) / periods
        pairs = ops.stack([ops.sin(angles[:, 0::2]), ops.cos(angles[:, 1::2])], axis=2)
        return ops.reshape(pairs, (-1, half))

    rows, columns = encode(height), encode(width)
    rows = ops.broadcast_to(ops.expand_dims(rows, 1), (height, width, half))
    columns = ops.broadcast_to(ops.expand_dims(columns, 0), (height, width, half))
    embedding = ops.reshape(ops.concatenate([rows, columns], axis=-1), (height * width, channels))
    return ops.cast(embedding, dtype)


class Attention(keras.layers.Layer):
    """Multi-head attention with separate query, key and value projections (PyTorch `nn.MultiheadAttention`).

    `call(query, key, value)`: `[batch, queries, dim]`, `[batch, keys, dim]`, `[batch, keys, dim]` ->
    `[batch, queries, dim]`. Dropout acts on the attention weights. `blocked` `[batch, queries, keys]` bool marks what a
    query must not look at, in every head; no row of it may be true everywhere.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        if dim % num_heads:
            raise ValueError(f"`num_heads` must divide `dim`. Received: dim={dim}, num_heads={num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        # PyTorch draws the three projections as one [3 * dim, dim] Xavier matrix, which narrows the bound.
        bound = math.sqrt(6.0 / (4 * dim))
        projections = [
            keras.layers.Dense(dim, kernel_initializer=keras.initializers.RandomUniform(-bound, bound), name=name)
            for name in ("query", "key", "value")
        ]
        self.query, self.key, self.value = projections
        self.output_projection = keras.layers.Dense(dim, name="output")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, query_shape):
        """Makes the weights; queries, keys and values have the same width."""
        for layer in (self.query, self.key, self.value, self.output_projection):
            layer.build((None, None, self.dim))

    def call(self, query, key, value, blocked=None, training=None):
        query = self._split_heads(flat_linear(self.query, query) * (self.dim // self.num_heads) ** -0.5)
        key = self._split_heads(flat_linear(self.key, key))
        value = self._split_heads(flat_linear(self.value, value))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        if blocked is not None:
            scores = ops.where(ops.expand_dims(blocked, 1), ops.cast(float("-inf"), scores.dtype), scores)
        weights = ops.softmax(scores, axis=-1)
        attended = ops.matmul(self.dropout(weights, training=training), value)
        attended = ops.transpose(attended, (0, 2, 1, 3))
        batch, length = ops.shape(attended)[0], ops.shape(attended)[1]
        return flat_linear(self.output_projection, ops.reshape(attended, (batch, length, self.dim)))

    def _split_heads(self, tokens):
        batch, length = ops.shape(tokens)[0], ops.shape(tokens)[1]
        heads = ops.reshape(tokens, (batch, length, self.num_heads, self.dim // self.num_heads))
        return ops.transpose(heads, (0, 2, 1, 3))


class FeedForward(keras.layers.Layer):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float, **kwargs):
        super().__init__(**kwargs)
        self.linear1 = keras.layers.Dense(
            hidden_dim, activation="relu", bias_initializer=torch_default_uniform(dim), name="linear1"
        )
        self.linear2 = keras.layers.Dense(dim, bias_initializer=torch_default_uniform(hidden_dim), name="linear2")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, input_shape):
        """Makes the weights."""
        self.linear1.build(input_shape)
        self.linear2.build((*input_shape[:-1], self.linear1.units))

    def call(self, tokens, training=None):
        return flat_linear(self.linear2, self.dropout(flat_linear(self.linear1, tokens), training=training))


class EncoderLayer(keras.layers.Layer):
    """Self-attention and feed-forward, each with a residual and a layer norm after (or before) it."""

    def __init__(
        self, dim: int, num_heads: int, feedforward_dim: int, dropout: float, pre_norm: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.self_attention = Attention(dim, num_heads, dropout, name="self_attention")
        self.feed_forward = FeedForward(dim, feedforward_dim, dropout, name="feed_forward")
        self.norm1 = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm1")
        self.norm2 = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm2")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, tokens_shape):
        """Makes the weights."""
        for layer in (self.self_attention, self.feed_forward, self.norm1, self.norm2):
            layer.build(tokens_shape)

    def call(self, tokens, position, training=None):
        def attend(normed):
            query = normed + position
            return self.self_attention(query, query, normed, training=training)

        def feed(normed):
            return self.feed_forward(normed, training=training)

        for norm, sublayer in ((self.norm1, attend), (self.norm2, feed)):
            tokens = _residual(tokens, norm, sublayer, self.dropout, self.pre_norm, training)
        return tokens


class DecoderLayer(keras.layers.Layer):
    """Self-attention among queries, cross-attention to the image, feed-forward."""

    def __init__(
        self, dim: int, num_heads: int, feedforward_dim: int, dropout: float, pre_norm: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.pre_norm = pre_norm
        self.self_attention = Attention(dim, num_heads, dropout, name="self_attention")
        self.cross_attention = Attention(dim, num_heads, dropout, name="cross_attention")
        self.feed_forward = FeedForward(dim, feedforward_dim, dropout, name="feed_forward")
        norms = [
            keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"norm{index}") for index in (1, 2, 3)
        ]
        self.norm1, self.norm2, self.norm3 = norms
        self.dropout = keras.layers.Dropout(dropout, name="dropout")

    def build(self, queries_shape):
        """Makes the weights; queries and memory have the same width."""
        sublayers = (self.self_attention, self.cross_attention, self.feed_forward)
        for layer in (*sublayers, self.norm1, self.norm2, self.norm3):
            layer.build(queries_shape)

    def call(self, queries, query_position, memory, memory_position, training=None):
        def attend_to_queries(normed):
            query = normed + query_position
            return self.self_attention(query, query, normed, training=training)

        def attend_to_image(normed):
            return self.cross_attention(normed + query_position, memory + memory_position, memory, training=training)

        def feed(normed):
            return self.feed_forward(normed, training=training)

        for norm, sublayer in ((self.norm1, attend_to_queries), (self.norm2, attend_to_image), (self.norm3, feed)):
            queries = _residual(queries, norm, sublayer, self.dropout, self.pre_norm, training)
        return queries


def _residual(tokens, norm, sublayer, dropout, pre_norm, training):
    if pre_norm:
        return tokens + dropout(sublayer(norm(tokens)), training=training)
    return norm(tokens + dropout(sublayer(tokens), training=training))


class Encoder(keras.layers.Layer):
    """A stack of encoder layers; with `pre_norm` a last layer norm closes it, as in the reference."""

    def __init__(
        self, num_layers: int, dim: int, num_heads: int, feedforward_dim: int, dropout: float, pre_norm: bool, **kwargs
    ):
        super().__init__(**kwargs)
        self.encoder_layers = [
            EncoderLayer(dim, num_heads, feedforward_dim, dropout, pre_norm, name=f"layer_{index}")
            for index in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm") if pre_norm else None

    def build(self, tokens_shape):
        """Makes the weights."""
        for layer in (*self.encoder_layers, *filter(None, [self.norm])):
            layer.build(tokens_shape)

    def call(self, tokens, position, training=None):
        for layer in self.encoder_layers:
            tokens = layer(tokens, position, training=training)
        return tokens if self.norm is None else self.norm(tokens)


class Decoder(keras.layers.Layer):
    """A stack of decoder layers over learned queries; one shared layer norm on everything that leaves it.

    `call(memory, memory_position)`: `[batch, cells, dim]`, `[cells, dim]` -> list of `[batch, queries, dim]`, one a
    layer (all of them are wanted for deep supervision), the last one final.
    """

    def __init__(
        self,
        num_layers: int,
        num_queries: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        pre_norm: bool,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_queries = num_queries
        self.dim = dim
        self.decoder_layers = [
            DecoderLayer(dim, num_heads, feedforward_dim, dropout, pre_norm, name=f"layer_{index}")
            for index in range(num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name="norm")

    def build(self, memory_shape):
        """Makes the weights."""
        self.query_embedding = self.add_weight(
            name="query_embedding",
            shape=(self.num_queries, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        for layer in (*self.decoder_layers, self.norm):
            layer.build((None, self.num_queries, self.dim))

    def call(self, memory, memory_position, training=None):
        query_position = ops.cast(ops.expand_dims(self.query_embedding, 0), memory.dtype)
        batch = ops.shape(memory)[0]
        queries = ops.zeros((batch, self.num_queries, self.dim), dtype=memory.dtype)
        outputs = []
        for layer in self.decoder_layers:
            queries = layer(queries, query_position, memory, memory_position, training=training)
            outputs.append(self.norm(queries))
        return outputs
