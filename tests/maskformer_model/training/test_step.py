"""What one step of `fit` does: the sum of all terms, an update, and means that a bad step does not spoil."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import LossConfig, ResNetConfig
from maskformer_model.losses.criterion import loss_normalizers
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.training.optimizer import AdamW
from maskformer_model.training.step import MaskFormerTraining
from tests.maskformer_model.helpers.flat_model import model_config

CONFIG = model_config(
    backbone=ResNetConfig(stage_blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=16, bottleneck_channels=4),
    num_classes=3,
    num_queries=4,
    hidden_dim=32,
    pixel_decoder_dim=32,
    mask_dim=8,
    num_heads=2,
    feedforward_dim=16,
    dropout=0.0,
    which_pixel_decoder="fpn",
    num_decoder_layers=2,
)


def training_model(accumulation_steps=1):
    keras.utils.set_random_seed(0)
    network = MaskFormer(CONFIG)
    network.build()
    model = MaskFormerTraining(network, LossConfig(), accumulation_steps=accumulation_steps)
    model.build()
    model.compile(optimizer=AdamW(1e-3, clip_norm=0.01))
    model.optimizer.build(model.trainable_variables)
    return model


def batch():
    rng = np.random.default_rng(0)
    x = {
        "image": tf.constant(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)),
        "valid_size_px": tf.constant([[64, 64], [40, 64]]),
    }
    segment_map = np.kron(rng.integers(0, 3, (2, 4, 4)), np.ones((1, 16, 16), int)).astype(np.uint8)
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant([[0, 2], [1, -1]])}
    return x, y


@pytest.fixture(scope="module")
def stepped():
    model = training_model()
    before = [value.copy() for value in model.get_weights()]
    loss = model.train_step(batch())["loss"]
    return model, loss, before


def test_the_loss_of_a_step_is_the_sum_of_every_layer_s_terms(stepped):
    model, loss, _ = stepped
    means = {name: float(value) for name, value in model.get_metrics_result().items()}
    terms = [f"loss_{kind}{layer}" for kind in ("ce", "mask", "dice") for layer in ("", "_0")]
    assert tuple(loss.shape) == (1,)
    assert set(means) == {"loss", *terms}
    assert float(loss[0]) == pytest.approx(sum(means[term] for term in terms), rel=1e-5)
    assert means["loss"] == pytest.approx(float(loss[0]), rel=1e-6)


def test_a_step_moves_weights_and_no_frozen_statistic(stepped):
    model, _, before = stepped
    moved = {
        weight.path: bool(np.any(value != old))
        for weight, value, old in zip(model.weights, model.get_weights(), before, strict=True)
    }
    trained = {weight.path for weight in model.trainable_weights}
    assert not any(moved[path] for path in moved if path not in trained)
    assert sum(moved[path] for path in trained) > 0.9 * len(trained)


def test_parts_must_divide_the_batch():
    with pytest.raises(ValueError, match=r"`trainer.accumulation_steps` \(3\) must divide"):
        training_model(accumulation_steps=3).train_step(batch())


def test_a_step_without_a_finite_gradient_leaves_weights_and_means_alone():
    model = training_model()
    model.network.predictor.class_head.bias.assign([float("nan"), 0.0, 0.0, 0.0])
    before = [value.copy() for value in model.get_weights()]
    model.train_step(batch())
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    assert int(model.optimizer.skipped_steps.value) == 1
    assert all(float(value) == 0.0 for value in model.get_metrics_result().values())


def test_it_is_built_without_a_photo_and_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = training_model()
    assert model.built
    assert len(model.weights) == len(model.network.weights) > 50


def with_free_sizes(function, data):
    """`function` of a batch in a graph in which height and width are not known, as after `output_size` 0."""
    signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), data)
    for part, name in ((signature[0], "image"), (signature[1], "segment_map")):
        part[name] = tf.TensorSpec((len(data[0]["image"]), None, None, *part[name].shape[3:]), part[name].dtype)
    return tf.function(function, input_signature=signature, autograph=False)(*data)


@pytest.mark.slow
def test_each_part_is_padded_to_its_own_largest_photo():
    # Photos of 64x32 and 32x64 px in a batch of 64x64: cut, each part is what a batch of that photo alone would be.
    x, y = batch()
    x = {**x, "valid_size_px": tf.constant([[64, 32], [32, 64]])}
    model = training_model(accumulation_steps=2)
    normalizers = loss_normalizers(y["segment_classes"], CONFIG.num_queries, 0.1)
    alone = []
    for index, (height_px, width_px) in enumerate(((64, 32), (32, 64))):
        photo, truth = tf.nest.map_structure(lambda tensor, index=index: tensor[index : index + 1], (x, y))
        photo["image"] = photo["image"][:, :height_px, :width_px]
        truth["segment_map"] = truth["segment_map"][:, :height_px, :width_px]
        alone.append(with_free_sizes(lambda x, y: model._part(x, y, normalizers), (photo, truth)))
    expected_losses, expected = tf.nest.map_structure(tf.add, *alone)
    padded_losses, _ = with_free_sizes(model._losses_and_gradients, (x, y))
    model.trims_padding = True
    losses, found = with_free_sizes(model._losses_and_gradients, (x, y))
    for name, value in expected_losses.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-5), name
    largest = max(float(tf.reduce_max(tf.abs(gradient))) for gradient in expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * largest)
    assert float(padded_losses["loss_mask"]) != pytest.approx(float(losses["loss_mask"]), rel=1e-3)


def test_what_is_cut_keeps_the_divisibility():
    model = training_model()
    model.size_divisibility = 32
    x, y = batch()
    x, y = model._trim({**x, "valid_size_px": tf.constant([[20, 33], [31, 20]])}, y)
    assert x["image"].shape == (2, 32, 64, 3) and y["segment_map"].shape == (2, 32, 64)
