"""Reads weight files and settings of an earlier version, and requires the logits that they gave then.

`tests/golden/earlier_version` holds files of commit f783220; its README says how they were made. They are never made
again: users have files of that version.
"""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from maskformer_model import config as config_lib
from maskformer_model.config.files import EXPERIMENT_FILE
from maskformer_model.pretrained import initialize
from maskformer_model.training import loop
from maskformer_model.training.checkpoints import TrainingCheckpoints

# Of the largest logit. On one machine the logits are equal to the bit. Another processor adds in another order: without
# oneDNN, or with its code for SSE4.1, AVX or AVX2 in place of AVX-512, they differ by at most 1.2e-6. Two kernels of
# one shape that trade places change them by more than 1e-3 (not those of the first self-attention: its input is zero).
BAR = 1e-5

# The settings of `run.zip` by tf-maskformer's names.
PARAMS_OVERRIDE = (
    "runtime.distribution_strategy=one_device,runtime.mixed_precision_dtype=float32,"
    "task.model.backbone.resnet.model_id=18,task.model.backbone.stem_channels=4,"
    "task.model.backbone.stage_blocks=[1,1,1,1],task.model.backbone.stage_channels=[4,8,4,8],"
    "task.model.which_pixel_decoder=transformer_fpn,task.model.fpn_encoder_layers=1,task.model.pixel_decoder_dim=32,"
    "task.model.hidden_size=8,task.model.num_queries=5,task.model.num_classes=3,task.model.num_heads=2,"
    "task.model.feedforward_dim=12,task.model.num_decoder_layers=2,task.model.mask_dim=4,task.model.dropout=0.2,"
    "task.losses.cost_class=2,task.losses.cost_dice=3,task.losses.cost_focal=10,task.losses.l2_weight_decay=1e-3,"
    "task.train_data.global_batch_size=2,task.train_data.input_path=train.tfrecord,"
    "trainer.train_steps=7,trainer.summary_interval=7,trainer.optimizer.schedule=poly"
)


@pytest.fixture(scope="module")
def earlier(project_dir, tmp_path_factory):
    """The folders `run`, of a training, and `converted`, of a published checkpoint."""
    folder = tmp_path_factory.mktemp("earlier_version")
    for name in ("run", "converted"):
        with zipfile.ZipFile(project_dir / "tests" / "golden" / "earlier_version" / f"{name}.zip") as file:
            file.extractall(folder / name)
    return folder


@pytest.fixture(scope="module")
def recorded(project_dir):
    with np.load(project_dir / "tests" / "golden" / "earlier_version" / "logits.npz") as arrays:
        return dict(arrays)


def read_experiment(folder):
    return config_lib.from_dict(json.loads((folder / EXPERIMENT_FILE).read_text("utf-8")))


def assert_gives_the_recorded_logits(network, recorded, name):
    outputs = network((recorded["image"].astype(np.float32) - 128) / 64, training=False)
    layers = [*outputs["aux_outputs"], outputs]
    assert len(layers) == 2
    for index, layer in enumerate(layers):
        for logits in ("class_logits", "mask_logits"):
            expected = recorded[f"{name}/{logits}_{index}"]
            atol = BAR * np.abs(expected).max()
            np.testing.assert_allclose(layer[logits], expected, rtol=0, atol=atol, err_msg=f"{logits} of layer {index}")


@pytest.mark.parametrize("name", ["run", "converted"])
def test_finished_weights_give_the_same_logits(earlier, recorded, name):
    assert_gives_the_recorded_logits(initialize.load_converted(str(earlier / name)), recorded, name)


def test_a_checkpoint_gives_each_weight_the_value_that_finished_weights_give_it(earlier, caplog):
    # Finished weights are found by name, those of a checkpoint by their place among all weights.
    finished = initialize.load_converted(str(earlier / "run"))
    unfinished = initialize.load_unfinished(str(earlier / "run"))
    for ours, theirs in zip(unfinished.weights, finished.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    assert "has not ended (no model.weights.h5): the weights are those of ckpt-3, averaged if" in caplog.text


def test_a_training_goes_on_from_a_checkpoint(earlier, recorded):
    model = loop.build_for_training(read_experiment(earlier / "run"))
    checkpoints = TrainingCheckpoints(model, str(earlier / "run"), max_to_keep=1)
    assert checkpoints.restore_latest() == str(earlier / "run" / "ckpt-3")
    assert int(model.optimizer.iterations) == 3
    assert_gives_the_recorded_logits(model.network, recorded, "run")
    # The moments of each weight were filled with its sum and that sum's magnitude, which float32 holds exactly.
    optimizer, weights = model.optimizer, model.trainable_variables
    for weight, first, second in zip(weights, optimizer._first_moments, optimizer._second_moments, strict=True):
        total = np.sum(weight)
        np.testing.assert_array_equal(first, np.full(weight.shape, total), err_msg=weight.path)
        np.testing.assert_array_equal(second, np.full(weight.shape, abs(total)), err_msg=weight.path)


def test_the_names_of_tf_maskformer_say_what_the_stored_settings_say(earlier):
    stored = read_experiment(earlier / "run")
    named = config_lib.override(config_lib.ExperimentConfig(), PARAMS_OVERRIDE)
    assert named.task.model == stored.task.model
    assert named.task.losses == stored.task.losses
    assert named.trainer == stored.trainer
    assert named.runtime == stored.runtime
    assert named.task.train_data == stored.task.train_data
