"""The whole training step and the whole evaluation step, compiled in one piece by XLA at static shapes.

That is what a TPU runs: network, matcher, losses, gradients, clip, update, counts of the curves, and for evaluation
the merging of masks into segments.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import LossConfig, OptimizerConfig, SwinConfig
from maskformer_model.inference import postprocessing
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.training.optimizer import make_optimizer
from maskformer_model.training.step import MaskFormerTraining
from tests.maskformer_model.helpers.flat_model import SMALL_RESNET, SMALL_SIZES, model_config

pytestmark = pytest.mark.takes(seconds=60)
SIZES = SMALL_SIZES | {"dropout": 0.0}
RESNET = model_config(backbone=SMALL_RESNET, **SIZES)
SWIN = model_config(
    backbone=SwinConfig(embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4, drop_path_rate=0.0),
    which_pixel_decoder="fpn",
    **SIZES,
)
STEPS = 3


def training_model(config):
    keras.utils.set_random_seed(0)
    network = MaskFormer(config)
    network.build()
    model = MaskFormerTraining(network, LossConfig())
    model.built = True
    model.compile(optimizer=make_optimizer(OptimizerConfig(learning_rate=1e-4), 1e-4))
    model.optimizer.build(model.trainable_variables)
    return model


def batch():
    rng = np.random.default_rng(0)
    segment_map = np.kron(rng.integers(0, 5, (2, 4, 4)), np.ones((16, 16), int)).astype(np.uint8)
    segment_map[1][segment_map[1] > 2] = 0  # Two targets and two rows of padding.
    x = {
        "image": tf.constant(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)),
        "valid_size_px": tf.constant([[64, 64], [48, 60]]),
    }
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant([[1, 5, 1, 3], [0, 2, -1, -1]])}
    return x, y


def train(config, **compilation):
    """Total losses of the steps, and the weights after them as one vector."""
    model = training_model(config)
    before = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
    step = tf.function(model.train_step, **compilation)
    losses = [float(step(batch())["loss"][0]) for _ in range(STEPS)]
    terms = {name: float(value) for name, value in model.get_metrics_result().items()}
    after = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
    return losses, terms, after, after - before


@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(RESNET, id="ResNet"), pytest.param(SWIN, id="Swin")])
def test_a_whole_training_step_compiles_and_equals_the_uncompiled_one(config):
    losses, terms, weights, change = train(config)
    xla_losses, xla_terms, xla_weights, xla_change = train(config, jit_compile=True)
    np.testing.assert_allclose(xla_losses, losses, rtol=1e-5)
    assert losses[-1] < losses[0]
    for name, value in terms.items():
        assert xla_terms[name] == pytest.approx(value, rel=1e-5), name
    assert np.linalg.norm(xla_weights - weights) <= 1e-5 * np.linalg.norm(weights)
    # Stricter: of how far they moved. Adam moves a weight whose gradient is rounding error as far as any other.
    assert np.linalg.norm(xla_change - change) <= 1e-2 * np.linalg.norm(change)
    assert np.linalg.norm(change) > 0


@pytest.mark.slow
def test_a_whole_evaluation_step_compiles_and_equals_the_uncompiled_one():
    model = training_model(RESNET)

    def evaluate(x, y):
        outputs = model(x, training=False)
        losses = model._loss_terms(y, outputs)
        masks = postprocessing.resize_logits(outputs["mask_logits"], (64, 64))
        isthing = [True] * 4 + [False] * 2
        panoptic = postprocessing.panoptic_inference(outputs["class_logits"], masks, isthing, 0.0, 0.0)
        semantic = postprocessing.semantic_inference(outputs["class_logits"], masks)
        return {"losses": losses, "panoptic": panoptic, "semantic": semantic}

    eager = evaluate(*batch())
    for function in (tf.function(evaluate), tf.function(evaluate, jit_compile=True)):
        found = function(*batch())
        for value, expected in zip(tf.nest.flatten(found), tf.nest.flatten(eager), strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    assert eager["panoptic"]["num_segments"].numpy().min() > 0
