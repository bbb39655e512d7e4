"""Positions, attention and the order of sub-layers, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.transformer import (
    Attention,
    Decoder,
    Encoder,
    EncoderLayer,
    FeedForward,
    sine_position_embedding,
    torch_default_uniform,
)
from tests.maskformer_model.helpers.saved_layer import copy_through_file


def test_positions_count_from_one_and_end_at_two_pi():
    # Two rows of one column, four channels: y as (sin, cos) and x as (sin, cos).
    embedding = np.asarray(sine_position_embedding(2, 1, 4))
    expected = [[np.sin(np.pi), np.cos(np.pi), 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]]
    np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_query_key_and_value_start_as_one_xavier_matrix():
    attention = Attention(256, 8, 0.0)
    attention(np.zeros((1, 2, 256)), np.zeros((1, 3, 256)), np.zeros((1, 3, 256)))
    for projection in (attention.query, attention.key, attention.value):
        kernel = projection.kernel.numpy()
        assert 0.0760 < np.abs(kernel).max() <= np.float32(np.sqrt(6 / 1024))  # A uniform draw may be rounded up to it.
        assert not projection.bias.numpy().any()


def test_linear_layers_start_as_pytorch_s():
    values = np.asarray(torch_default_uniform(fan_in=25)((1000,)))
    assert 0.19 < values.max() <= 0.2
    assert -0.2 <= values.min() < -0.19


def with_identities(attention, dim):
    for layer in (attention.query, attention.key, attention.value, attention.output_projection):
        layer.kernel.assign(np.eye(dim))
    return attention


def test_one_head_weighs_values_by_the_softmax_of_scaled_products():
    attention = Attention(4, 1, 0.0)
    attention.build((None, None, 4))
    query = np.array([[[2.0, 0, 0, 0]]], np.float32)
    key = np.array([[[0.0, 0, 0, 0], [np.log(3.0), 0, 0, 0]]], np.float32)
    value = np.array([[[0.0, 1, 0, 0], [4.0, 1, 0, 0]]], np.float32)
    # Products 0 and 2 log 3, over sqrt(4): weights 1/4 and 3/4.
    answer = with_identities(attention, 4)(query, key, value)
    np.testing.assert_allclose(answer, [[[3.0, 1.0, 0.0, 0.0]]], atol=1e-6)


def test_each_head_attends_with_its_own_part_of_the_width():
    attention = Attention(2, 2, 0.0)
    attention.build((None, None, 2))
    big = 40.0
    query = np.array([[[big, big]]], np.float32)
    key = np.array([[[1.0, 0], [0, 1.0]]], np.float32)
    value = np.array([[[5.0, 5.0], [7.0, 7.0]]], np.float32)
    # The first head sees the first key alone, the second head the second.
    np.testing.assert_allclose(with_identities(attention, 2)(query, key, value), [[[5.0, 7.0]]], atol=1e-4)


def test_a_feed_forward_layer_is_linear_relu_linear():
    layer = FeedForward(1, 2, 0.0)
    layer.build((None, None, 1))
    layer.linear1.kernel.assign([[1.0, -1.0]])
    layer.linear1.bias.assign([0.0, 0.0])
    layer.linear2.kernel.assign([[2.0], [3.0]])
    layer.linear2.bias.assign([0.5])
    np.testing.assert_allclose(layer(np.array([[[4.0], [-5.0]]]))[0, :, 0], [8.5, 15.5])


@pytest.mark.parametrize("pre_norm", [False, True])
def test_norms_stand_behind_or_before_each_sub_layer(pre_norm):
    keras.utils.set_random_seed(0)
    layer = EncoderLayer(8, 2, 16, 0.5, pre_norm=pre_norm)
    layer.build((None, None, 8))
    tokens = np.random.default_rng(0).normal(size=(1, 3, 8)).astype(np.float32)
    position = np.ones((3, 8), np.float32)

    def attend(x):
        return layer.self_attention(x + position, x + position, x)

    if pre_norm:
        middle = tokens + attend(layer.norm1(tokens))
        expected = middle + layer.feed_forward(layer.norm2(middle))
    else:
        middle = layer.norm1(tokens + attend(tokens))
        expected = layer.norm2(middle + layer.feed_forward(middle))
    np.testing.assert_allclose(layer(tokens, position, training=False), expected, atol=1e-5)


def test_only_a_pre_norm_encoder_is_closed_by_a_norm_even_without_layers():
    tokens = np.array([[[1.0, 3.0, 1.0, 3.0]]], np.float32)
    encoder = Encoder(0, 4, 1, 8, 0.0, True)
    encoder.build((None, None, 4))
    np.testing.assert_allclose(encoder(tokens, tokens[0]), [[[-1.0, 1.0, -1.0, 1.0]]], atol=1e-4)
    plain = Encoder(0, 4, 1, 8, 0.0, False)
    plain.build((None, None, 4))
    np.testing.assert_array_equal(plain(tokens, tokens[0]), tokens)


def decoder():
    keras.utils.set_random_seed(0)
    layer = Decoder(3, 5, 8, 2, 16, 0.1, False)
    layer.build((None, None, 8))
    return layer


def test_every_decoder_layer_s_queries_leave_normalised():
    memory = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    outputs = decoder()(memory, memory[0], training=False)
    assert [tuple(layer.shape) for layer in outputs] == [(2, 5, 8)] * 3
    for layer in outputs:
        np.testing.assert_allclose(np.mean(layer, axis=-1), 0, atol=1e-5)
        np.testing.assert_allclose(np.std(layer, axis=-1), 1, atol=1e-2)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-2


def test_graph_and_xla_give_the_eager_answer_and_saved_weights_the_same(tmp_path):
    memory = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    layer = decoder()
    expected = layer(memory, memory[0], training=False)[-1]
    for jit_compile in (False, True):
        run = tf.function(lambda tokens: layer(tokens, tokens[0], training=False)[-1], jit_compile=jit_compile)
        np.testing.assert_allclose(run(memory), expected, atol=1e-5)
    values = layer.get_weights()
    other = decoder()
    other.set_weights([np.zeros_like(value) for value in values])
    copy_through_file(layer, other, tmp_path)
    np.testing.assert_array_equal(other(memory, memory[0], training=False)[-1], expected)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="must divide"):
        Attention(8, 3, 0.0)
