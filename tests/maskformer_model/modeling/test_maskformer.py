"""The network's shapes, sizes and options; that its numbers are the official ones is `test_parity`'s business."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import ModelConfig, ResNetConfig
from maskformer_model.modeling.maskformer import MaskFormer
from tests.maskformer_model.helpers.flat_model import model_config

TINY = model_config(
    backbone=ResNetConfig(depth=18, stem_channels=8, res2_channels=8, bottleneck_channels=8),
    num_classes=5,
    num_queries=7,
    hidden_dim=32,
    pixel_decoder_dim=32,
    mask_dim=32,
    num_heads=4,
    feedforward_dim=48,
    fpn_encoder_layers=1,
    num_decoder_layers=3,
)
IMAGE = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)


def network(**changes):
    keras.utils.set_random_seed(0)
    return MaskFormer(model_config(TINY, **changes))


@pytest.fixture(scope="module")
def tiny():
    net = network()
    return net, net(IMAGE)


def test_every_layer_predicts_classes_and_masks_at_stride_4(tiny):
    outputs = tiny[1]
    assert [tuple(layer["class_logits"].shape) for layer in (outputs, *outputs["aux_outputs"])] == [(2, 7, 6)] * 3
    assert [tuple(layer["mask_logits"].shape) for layer in (outputs, *outputs["aux_outputs"])] == [(2, 7, 16, 24)] * 3


def test_a_graph_of_unknown_size_gives_the_eager_answer(tiny):
    net, outputs = tiny
    graph = tf.function(lambda image: net(image), input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(graph(IMAGE)["mask_logits"], outputs["mask_logits"], atol=1e-4)
    odd = graph(IMAGE[:, :33, :47])
    assert tuple(odd["mask_logits"].shape) == (2, 7, 9, 12)


@pytest.mark.slow
def test_xla_gives_the_eager_answer(tiny):
    net, outputs = tiny
    compiled = tf.function(lambda image: net(image), jit_compile=True)
    np.testing.assert_allclose(compiled(IMAGE)["class_logits"], outputs["class_logits"], atol=1e-4)


def test_an_image_s_answer_does_not_depend_on_its_neighbour(tiny):
    net, outputs = tiny
    np.testing.assert_allclose(net(IMAGE[:1])["mask_logits"], outputs["mask_logits"][:1], atol=1e-4)


def test_saved_weights_give_the_same_answer(tiny, tmp_path):
    net, outputs = tiny
    net.save_weights(tmp_path / "w.weights.h5")
    other = MaskFormer(TINY)
    other.build()
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(IMAGE)["class_logits"], outputs["class_logits"])


def test_a_file_of_weights_has_the_layers_where_earlier_versions_put_them(tiny, tmp_path):
    # Keras saves a list of layers that any attribute gives under the name of that attribute.
    tiny[0].save_weights(tmp_path / "w.weights.h5")
    with h5py.File(tmp_path / "w.weights.h5") as file:
        assert set(file) == {"backbone", "layers", "vars"}
        assert set(file["layers"]) == {"pixel_decoder", "transformer_predictor"}
        decoder = {"adapters", "encoder", "fusions", "input_projection", "mask_features", "vars"}
        assert set(file["layers/pixel_decoder"]) == decoder


def parameters(**changes):
    with keras.StatelessScope(initialize_variables=False):  # Shapes are enough to count.
        net = network(**changes)
        net.build()
    return sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)


@pytest.mark.parametrize(
    "change",
    [
        {"which_pixel_decoder": "fpn"},
        {"fpn_encoder_layers": 2},
        {"detr_encoder_layers": 1},
        {"num_decoder_layers": 2},
        {"num_queries": 8},
        {"hidden_dim": 64},
        {"mask_dim": 64},
        {"feedforward_dim": 64},
        {"enforce_input_projection": True},
        {"pre_norm": True},
        {"transformer_in_feature": "res3"},
    ],
    ids=str,
)
def test_an_option_that_shapes_the_network_changes_its_parameters(change):
    assert parameters(**change) != parameters()


@pytest.mark.parametrize("change", [{"num_heads": 8}, {"transformer_in_feature": "pixel_embedding"}], ids=str)
def test_an_option_without_parameters_changes_the_answer(tiny, change):
    assert np.abs(network(**change)(IMAGE)["class_logits"] - tiny[1]["class_logits"]).max() > 1e-3


def test_without_deep_supervision_the_final_answer_stays(tiny):
    net = network(deep_supervision=False)
    net.build()
    net.set_weights(tiny[0].get_weights())
    assert net(IMAGE)["aux_outputs"] == []
    np.testing.assert_allclose(net(IMAGE)["mask_logits"], tiny[1]["mask_logits"], atol=1e-5)


def test_dropout_acts_in_training_only(tiny):
    net, outputs = tiny
    assert np.abs(net(IMAGE, training=True)["class_logits"] - outputs["class_logits"]).max() > 1e-3
    np.testing.assert_array_equal(net(IMAGE, training=False)["class_logits"], outputs["class_logits"])


def test_training_without_dropout_and_inference_answer_alike_in_every_layer():
    net = network(dropout=0.0)
    trained, inferred = net(IMAGE, training=True), net(IMAGE, training=False)
    assert len(inferred["aux_outputs"]) == 2
    for one, other in zip((trained, *trained["aux_outputs"]), (inferred, *inferred["aux_outputs"]), strict=True):
        np.testing.assert_allclose(one["class_logits"], other["class_logits"], atol=1e-5)
        np.testing.assert_allclose(one["mask_logits"], other["mask_logits"], atol=1e-4)


def test_a_network_without_classes_is_refused():
    with pytest.raises(ValueError, match="num_classes"):
        MaskFormer(ModelConfig())
