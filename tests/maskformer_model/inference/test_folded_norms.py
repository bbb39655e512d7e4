"""Graphs that answer photos read kernels in the form that suits them, and give the same answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import winograd
from maskformer_model.config import InferenceConfig
from maskformer_model.export.assets import prepare_process
from maskformer_model.inference.folded_norms import (
    chosen_method,
    constant_kernels,
    suits_winograd,
    uses_winograd,
    winograd_convolutions,
)
from maskformer_model.modeling.layers.convolution import ConvNorm
from tests.maskformer_model.winograd_graphs import num_winograd_convolutions

IMAGE = np.random.default_rng(0).normal(size=(1, 6, 5, 256)).astype(np.float32)


class Chain(keras.Sequential):
    def convolutions(self):
        return self.layers


def built(channels=256, filters=256, kernel_size=3, **options):
    layer = ConvNorm(filters, kernel_size, **options)
    layer.build((None, None, None, channels))
    return layer


def small_network():
    """A frozen norm that varies, a wide convolution before a group norm, one without a norm, and a narrow one."""
    keras.utils.set_random_seed(0)
    layers = [
        ConvNorm(256, 3, norm="frozen_batch", activation="relu"),
        ConvNorm(256, 3, norm="group"),
        ConvNorm(256, 3, use_bias=True),
        ConvNorm(4, 3, norm="frozen_batch"),
    ]
    network = Chain(layers)
    network.build(IMAGE.shape)
    for layer in (network.layers[0], network.layers[3]):
        for index, weight in enumerate(layer.norm.weights, start=1):
            weight.assign(np.linspace(1, 2, layer.filters, dtype=np.float32) / index)
    return network


def traced(network):
    return tf.function(network, autograph=False).get_concrete_function(tf.TensorSpec(IMAGE.shape))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({}, True),
        ({"norm": "group"}, True),
        ({"channels": 255}, False),
        ({"filters": 255}, False),
        ({"channels": 512, "filters": 512}, False),  # 2.4 million elements, for a map of a thirty-second of the photo.
        ({"kernel_size": 1}, False),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
        ({"dtype": "mixed_bfloat16"}, False),
    ],
)
def test_winograd_s_method_suits_wide_convolutions_of_stride_1(layer, expected):
    assert suits_winograd(built(**layer)) == expected


@pytest.mark.parametrize(
    ("method", "device_types", "expected"),
    [
        ("auto", ["CPU"], "winograd"),
        ("auto", ["CPU", "GPU"], "direct"),
        ("auto", ["CPU", "TPU"], "direct"),
        ("winograd", ["CPU", "GPU"], "winograd"),
        ("direct", ["CPU"], "direct"),
    ],
)
def test_the_method_is_left_to_the_machine_or_chosen(method, device_types, expected):
    assert chosen_method(method, device_types) == expected


def test_a_chosen_method_is_that_of_every_machine():
    methods = {name: uses_winograd(InferenceConfig(convolution_method=name)) for name in ("direct", "winograd")}
    assert methods == {"direct": False, "winograd": True}


def test_a_model_by_winograd_s_method_keeps_its_process_from_rounding_to_tensor_float():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    try:
        prepare_process({"convolution_method": "direct"})
        assert enabled()
        prepare_process({"convolution_method": "winograd"})
        assert not enabled()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_a_traced_graph_uses_winograd_s_method_where_it_suits_and_is_equal_but_for_rounding():
    network = small_network()
    plain = traced(network)
    with winograd_convolutions(network):
        graph = traced(network)
    with winograd_convolutions(network, enabled=False):
        disabled = traced(network)
    with winograd_convolutions(network, suits=lambda layer: layer is network.layers[1]):
        one = traced(network)
    again = traced(network)
    assert [num_winograd_convolutions(g.graph) for g in (plain, graph, disabled, one, again)] == [0, 3, 0, 1, 0]
    image = tf.constant(IMAGE)
    np.testing.assert_array_equal(disabled(image), plain(image))
    np.testing.assert_allclose(graph(image), plain(image), rtol=0, atol=1e-5 * np.abs(plain(image)).max())


def test_a_network_is_itself_again_after_use_in_one_another_and_after_a_failure():
    network = small_network()
    layers = network.layers
    with constant_kernels(network, with_winograd=False):
        constant = layers[0].form
        with winograd_convolutions(network):
            # What is constant stays so; the others are done by Winograd's method.
            assert layers[0].form is constant
            assert layers[1].form(tf.float32).convolve is winograd.convolve
        assert [layer.form is not None for layer in layers] == [True, False, False, True]
    assert all(layer.form is None for layer in layers)
    for context in (winograd_convolutions, constant_kernels):
        with pytest.raises(RuntimeError, match="disk full"), context(network):
            assert layers[1].form is not None
            raise RuntimeError("disk full")
        assert all(layer.form is None for layer in layers)


@pytest.mark.parametrize("with_winograd", [False, True])
def test_a_graph_with_constant_kernels_is_equal_and_keeps_the_weights_that_it_was_traced_with(with_winograd):
    network, image = small_network(), tf.constant(IMAGE)
    frozen, group, masks, narrow = network.layers
    with winograd_convolutions(network, with_winograd):
        before = traced(network)(image)
    with constant_kernels(network, with_winograd) as variables, winograd_convolutions(network, with_winograd):
        graph = traced(network)
    np.testing.assert_array_equal(graph(image), before)
    assert num_winograd_convolutions(graph.graph) == (3 if with_winograd else 0)
    kept = {id(variable) for variable in variables}
    assert {id(tensor) for tensor in graph.captured_inputs} == {id(variable.value.handle) for variable in variables}
    assert {id(v) for v in (*group.norm.variables, *masks.variables)} < kept
    assert not {id(v) for v in (*frozen.variables, *narrow.variables)} & kept
    assert (id(group.kernel) in kept) == (not with_winograd)
    frozen.kernel.assign(np.ones(frozen.kernel.shape))
    np.testing.assert_array_equal(graph(image), before)
    assert np.abs(network(image) - before).max() > 0.01
