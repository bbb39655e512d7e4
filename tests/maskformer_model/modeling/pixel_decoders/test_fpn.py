"""The pixel decoder: from four strides to one map."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.pixel_decoders.fpn import PixelDecoder, resize_nearest_like
from tests.maskformer_model.helpers.flat_model import model_config
from tests.maskformer_model.helpers.saved_layer import copy_through_file

CONFIG = model_config(
    num_classes=3, pixel_decoder_dim=32, mask_dim=12, num_heads=4, feedforward_dim=16, fpn_encoder_layers=1
)
CHANNELS = {"res2": 2, "res3": 3, "res4": 4, "res5": 5}


def decoder(**changes):
    keras.utils.set_random_seed(0)
    layer = PixelDecoder(model_config(CONFIG, **changes))
    layer.build({name: (None, None, None, width) for name, width in CHANNELS.items()})
    return layer


def features(height_px=40, width_px=72):
    rng = np.random.default_rng(0)
    found = {}
    for level, (name, width) in enumerate(CHANNELS.items(), start=2):
        size = (-(-height_px // 2**level), -(-width_px // 2**level))
        found[name] = rng.normal(size=(1, *size, width)).astype(np.float32)
    return found


def test_nearest_resizing_floors_as_pytorch_does():
    column = np.arange(14, dtype=np.float32).reshape(1, 14, 1, 1)
    resized = np.asarray(resize_nearest_like(column, np.zeros((1, 27, 1, 1))))[0, :, 0, 0]
    np.testing.assert_array_equal(resized, [index * 14 // 27 for index in range(27)])


def test_twice_the_size_repeats_every_pixel():
    square = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    resized = np.asarray(resize_nearest_like(square, np.zeros((1, 4, 4, 1))))[0, :, :, 0]
    np.testing.assert_array_equal(resized, [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])


@pytest.mark.parametrize("kind", ["fpn", "transformer_fpn"])
def test_masks_have_stride_4_and_only_the_transformer_hands_on_its_own_feature(kind):
    layer = decoder(which_pixel_decoder=kind)
    mask_features, memory = layer(features())
    assert tuple(mask_features.shape) == (1, 10, 18, 12)
    shapes = {"fpn": {}, "transformer_fpn": {"transformer_encoder": (1, 2, 3, 32)}}[kind]
    assert {name: tuple(feature.shape) for name, feature in memory.items()} == shapes
    assert layer.output_channels == {name: shape[-1] for name, shape in shapes.items()}


def test_every_stage_reaches_the_masks():
    layer, inputs = decoder(), features()
    expected = layer(inputs)[0]
    for name in CHANNELS:
        changed = layer(
            {**inputs, name: inputs[name] + np.linspace(0, 1, inputs[name].size).reshape(inputs[name].shape)}
        )
        assert np.abs(changed[0] - expected).max() > 1e-3, name


def test_hidden_features_are_what_the_last_convolution_reads():
    layer = decoder()
    hidden, memory = layer.hidden_features(features())
    mask_features, same = layer(features())
    np.testing.assert_allclose(layer.mask_features(hidden), mask_features, atol=1e-6)
    np.testing.assert_array_equal(memory["transformer_encoder"], same["transformer_encoder"])


def test_graph_and_xla_give_the_eager_answer_and_saved_weights_the_same(tmp_path):
    layer, inputs = decoder(), features()
    expected = layer(inputs)[0]
    for jit_compile in (False, True):
        run = tf.function(lambda given: layer(given)[0], jit_compile=jit_compile)
        np.testing.assert_allclose(run(inputs), expected, atol=2e-5)
    other = decoder()
    other.set_weights([np.zeros_like(value) for value in layer.get_weights()])
    copy_through_file(layer, other, tmp_path)
    np.testing.assert_array_equal(other(inputs)[0], expected)
