"""Convolutions pad as PyTorch pads, and norms are what their names say."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.modeling.layers.convolution import (
    ConvNorm,
    build_chain,
    make_norm,
    msra_fan_out_normal,
    xavier_fan_in_uniform,
)
from tests.maskformer_model.helpers.saved_layer import copy_through_file


def test_a_stride_2_convolution_pads_both_sides_alike():
    layer = ConvNorm(1, 3, stride=2, kernel_initializer="ones")
    row = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4, 1)
    # Windows (0, 1, 2) and (2, 3, 4); "same" padding would take (1, 2, 3) and (3, 4, 0).
    np.testing.assert_array_equal(np.asarray(layer(row))[0, 0, :, 0], [3.0, 9.0])


@pytest.mark.parametrize(("stride", "expected"), [(1, (5, 7)), (2, (3, 4)), (4, (2, 2))])
def test_sizes_are_rounded_up(stride, expected):
    assert tuple(ConvNorm(2, 3, stride=stride)(np.zeros((1, 5, 7, 3))).shape) == (1, *expected, 2)


def test_taps_of_a_dilated_kernel_lie_apart():
    layer = ConvNorm(1, 3, dilation=2, kernel_initializer="ones")
    row = np.array([1.0, 10, 100, 1000, 10000], np.float32).reshape(1, 1, 5, 1)
    # One row, so only the kernel's middle row sees anything: the pixel itself and those two to its left and right.
    np.testing.assert_array_equal(np.asarray(layer(row))[0, 0, :, 0], [101, 1010, 10101, 1010, 10100])


def test_a_bias_is_added_before_the_activation():
    layer = ConvNorm(1, 1, use_bias=True, activation="relu", kernel_initializer="ones")
    layer.build((None, None, None, 1))
    layer.bias.assign([-2.0])
    np.testing.assert_array_equal(np.asarray(layer(np.array([[[[1.0], [5.0]]]])))[0, 0, :, 0], [0.0, 3.0])


def test_a_frozen_norm_scales_by_its_statistics_and_is_not_trained():
    layer = ConvNorm(1, 1, norm="frozen_batch", kernel_initializer="ones")
    layer(np.zeros((1, 1, 1, 1)))
    for weight, value in zip(
        (layer.norm.gamma, layer.norm.beta, layer.norm.moving_mean, layer.norm.moving_variance),
        (3, 1, 2, 4),
        strict=True,
    ):
        weight.assign([value])
    # (6 - 2) / sqrt(4) * 3 + 1
    assert float(np.asarray(layer(np.full((1, 1, 1, 1), 6.0)))[0, 0, 0, 0]) == pytest.approx(7.0, rel=1e-4)
    assert len(layer.trainable_weights) == 1


def test_a_frozen_norm_inside_a_convolution_is_the_norm_behind_it():
    keras.utils.set_random_seed(0)
    layer = ConvNorm(4, 3, norm="frozen_batch")
    image = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype(np.float32)
    layer.build(image.shape)
    for index, weight in enumerate(layer.norm.weights, start=1):
        weight.assign(np.arange(1, 5, dtype=np.float32) / index)
    np.testing.assert_allclose(layer(image), layer.norm(layer._convolve(image, layer.kernel)), rtol=1e-5, atol=1e-5)


def test_a_group_norm_centres_each_group_of_channels_over_the_whole_map():
    norm = make_norm("group")
    # Two channels a group, two pixels: group 0 holds 1, 3, 5, 7, with mean 4 and variance 5; the others are constant.
    image = np.zeros((1, 1, 2, 64), np.float32)
    image[0, 0, :, :2] = [[1, 3], [5, 7]]
    normed = np.asarray(norm(image))
    np.testing.assert_allclose(normed[0, 0, :, :2], (image[0, 0, :, :2] - 4) / np.sqrt(5 + 1e-5), rtol=1e-4)
    assert not normed[..., 2:].any()


def test_a_group_norm_of_a_large_map_keeps_its_precision():
    image = (np.random.default_rng(0).normal(size=(1, 160, 160, 64)) + 3).astype(np.float32)
    image += np.linspace(0, 9, 160, dtype=np.float32)[:, None, None]  # Rows differ, as those of a photo do.
    groups = image.astype(np.float64).reshape(160 * 160, 32, 2)
    expected = (groups - groups.mean((0, 2), keepdims=True)) / np.sqrt(groups.var((0, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(make_norm("group")(image), expected.reshape(image.shape), atol=1e-5)


@pytest.mark.parametrize("options", [{"use_bias": True}, {"norm": "group"}])
def test_the_gradient_of_a_shift_is_summed_over_a_large_map_as_precisely_as_pytorch_does(options):
    # 128,000 pixels; in one piece the sum was off by 6.5e-6 (bias) and 1.4e-6 (norm), by rows 2e-7.
    image = np.random.default_rng(0).normal(size=(2, 200, 320, 1)).astype(np.float32)
    flow = np.random.default_rng(1).uniform(0, 0.2, size=(2, 200, 320, 32)).astype(np.float32)
    layer = ConvNorm(32, 1, **options)
    layer.build(image.shape)
    shift = (layer.norm.beta if layer.norm else layer.bias).value
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(image, training=True) * flow)
    np.testing.assert_allclose(tape.gradient(total, shift), flow.astype(np.float64).sum((0, 1, 2)), rtol=7e-7)


def test_the_gradient_of_a_narrow_shortcut_reaches_every_second_pixel():
    # TensorFlow's own, of 8 channels to 16 with stride 2, ended the process with a damaged heap.
    image = np.ones((2, 64, 63, 8), np.float32)
    layer = ConvNorm(16, 1, stride=2)
    layer.build(image.shape)
    layer.kernel.assign(np.full((1, 1, 8, 16), 0.5, np.float32))
    with tf.GradientTape() as tape:
        pixels = tf.constant(image)
        tape.watch(pixels)
        total = tf.reduce_sum(layer(pixels, training=True))
    by_pixels, by_kernel = tape.gradient(total, [pixels, layer.kernel.value])
    expected = np.zeros_like(image)
    expected[:, ::2, ::2] = 16 * 0.5
    np.testing.assert_array_equal(by_pixels, expected)
    np.testing.assert_array_equal(by_kernel, np.full((1, 1, 8, 16), 2 * 32 * 32, np.float32))


@pytest.mark.parametrize("options", [{"use_bias": True}, {"norm": "group"}])
def test_training_and_inference_give_the_same_bits(options):
    image = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    layer = ConvNorm(32, 3, **options)
    np.testing.assert_array_equal(layer(image, training=True), layer(image, training=False))


def test_a_batch_norm_moves_its_statistics_in_training_only():
    layer = ConvNorm(1, 1, norm="batch", kernel_initializer="ones")
    layer(np.full((1, 1, 2, 1), 10.0, np.float32), training=False)
    assert float(layer.norm.moving_mean[0]) == 0.0
    layer(np.full((1, 1, 2, 1), 10.0, np.float32), training=True)
    assert float(layer.norm.moving_mean[0]) == pytest.approx(1.0)  # 0.9 * 0 + 0.1 * 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_norm("layer"), "`norm` must be"),
        (lambda: ConvNorm(1, 2), "must be odd"),
        (lambda: ConvNorm(1, 1, use_bias=True, norm="group"), "exclude each other.*'group'"),
    ],
)
def test_what_there_is_not_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_start_with_the_spread_of_the_reference():
    shape = (3, 3, 64, 128)
    assert np.abs(np.asarray(xavier_fan_in_uniform()(shape))).max() == pytest.approx(np.sqrt(3 / (9 * 64)), rel=1e-3)
    assert np.std(np.asarray(msra_fan_out_normal()(shape))) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


def small_layer():
    keras.utils.set_random_seed(0)
    layer = ConvNorm(32, 3, stride=2, norm="group", activation="relu")
    layer.build((None, None, None, 3))
    return layer


def test_graph_and_xla_give_the_eager_answer_and_saved_weights_the_same(tmp_path):
    layer, other = small_layer(), small_layer()
    image = np.random.default_rng(0).normal(size=(2, 7, 5, 3)).astype(np.float32)
    expected = layer(image)
    for jit_compile in (False, True):
        np.testing.assert_allclose(tf.function(layer, jit_compile=jit_compile)(image), expected, atol=1e-5)
    other.set_weights([np.zeros_like(value) for value in layer.get_weights()])
    copy_through_file(layer, other, tmp_path)
    np.testing.assert_array_equal(other(image), expected)


def test_convolutions_that_follow_each_other_are_built_from_the_first_one_s_input():
    layers = [ConvNorm(4, 3), ConvNorm(2, 1)]
    build_chain(layers, (None, None, None, 3))
    assert [tuple(layer.kernel.shape) for layer in layers] == [(3, 3, 3, 4), (1, 1, 4, 2)]
