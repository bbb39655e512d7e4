"""A graph with folded norms gives the same answers, and the network is itself again afterwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import EfficientNetLiteConfig
from maskformer_model.inference.folded_norms import frozen_norms_folded
from maskformer_model.modeling.backbones import efficientnet_lite
from maskformer_model.modeling.layers.convolution import ConvNorm
from maskformer_model.modeling.registry import build_backbone

IMAGE = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype(np.float32)


class Chain(keras.Sequential):
    def convolutions(self):
        return self.layers


@pytest.fixture
def network():
    """A frozen norm that varies, a group norm, a convolution without a norm, and another frozen norm."""
    keras.utils.set_random_seed(0)
    layers = [
        ConvNorm(32, 3, norm="frozen_batch", activation="relu"),
        ConvNorm(32, 3, norm="group"),
        ConvNorm(8, 3, use_bias=True),
        ConvNorm(4, 1, norm="frozen_batch"),
    ]
    network = Chain(layers)
    network.build(IMAGE.shape)
    for layer in (network.layers[0], network.layers[3]):
        for index, weight in enumerate(layer.norm.weights, start=1):
            weight.assign(np.linspace(1, 2, layer.filters, dtype=np.float32) / index)
    return network


def traced(network):
    return tf.function(network, autograph=False).get_concrete_function(tf.TensorSpec(IMAGE.shape))


def test_a_graph_with_folded_norms_is_equal_and_keeps_the_weights_that_it_was_traced_with(network):
    image = tf.constant(IMAGE)
    frozen, group, masks, narrow = network.layers
    before = traced(network)(image)
    with frozen_norms_folded(network) as variables:
        graph = traced(network)
    np.testing.assert_array_equal(graph(image), before)
    kept = {id(variable) for variable in variables}
    assert {id(tensor) for tensor in graph.captured_inputs} == {id(variable.value.handle) for variable in variables}
    assert {id(v) for v in (*group.variables, *masks.variables)} < kept
    assert not {id(v) for v in (*frozen.variables, *narrow.variables)} & kept
    assert len(variables) == len(group.variables) + len(masks.variables) + 2 * 2  # A kernel and a shift for each norm.
    frozen.kernel.assign(np.ones(frozen.kernel.shape))
    np.testing.assert_array_equal(graph(image), before)
    assert np.abs(network(image) - before).max() > 0.01


def test_a_network_is_itself_again_afterwards_and_after_a_failure(network):
    image = tf.constant(IMAGE)
    before = network(image)
    with frozen_norms_folded(network):
        assert [layer.folded is not None for layer in network.layers] == [True, False, False, True]
    assert all(layer.folded is None for layer in network.layers)
    with pytest.raises(RuntimeError, match="disk full"), frozen_norms_folded(network):
        raise RuntimeError("disk full")
    assert all(layer.folded is None for layer in network.layers)
    np.testing.assert_array_equal(network(image), before)


def test_the_norms_of_an_efficientnet_are_folded_into_its_full_and_depthwise_kernels():
    backbone = build_backbone(EfficientNetLiteConfig())
    backbone.build((None, None, None, 3))
    random = np.random.default_rng(1)
    for step in backbone.convolutions():
        for weight in step.norm.weights:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    image = tf.constant(random.normal(size=(1, 32, 48, 3)), tf.float32)
    # What the layers give one after the other, none of them folded.
    features = efficientnet_lite.to_own_normalization(image)
    features = keras.ops.relu6(backbone.stem_norm(backbone.stem_conv(features)))
    for block in backbone.blocks:
        hidden = features
        if block.expand_conv is not None:
            hidden = keras.ops.relu6(block.expand_norm(block.expand_conv(hidden)))
        hidden = keras.ops.relu6(block.depthwise_norm(block.depthwise_conv(hidden)))
        hidden = block.project_norm(block.project_conv(hidden))
        features = hidden + features if hidden.shape == features.shape else hidden

    expected = backbone(image)["res5"]
    np.testing.assert_allclose(expected, features, rtol=1e-4, atol=1e-5 * np.abs(features).max())
    with frozen_norms_folded(backbone) as variables:
        graph = tf.function(backbone, autograph=False).get_concrete_function(tf.TensorSpec(image.shape))
    np.testing.assert_array_equal(graph(image)["res5"], tf.function(backbone, autograph=False)(image)["res5"])
    assert len(variables) == 2 * len(backbone.convolutions())
    assert len(graph.captured_inputs) == len(variables)
