"""Tests of `pipeline.retraining.warm_start`."""

import dataclasses
import json

import pytest

from maskformer_model import config as experiment_config
from pipeline.flags import config_from_args, parse_args
from pipeline.retraining.warm_start import WarmStart, experiment_of, judging_flags, training_flags, why_cold

RUN_ARGS = [
    "--experiment",
    "generated_scenes",
    "--params_override",
    "trainer.train_steps=1700,trainer.optimizer.drop_steps=[1200,1500]",
]


@pytest.fixture
def weights(tmp_path):
    """What a training of the same experiment left."""
    experiment = experiment_of(RUN_ARGS)
    model = dataclasses.replace(experiment.task.model, num_classes=7)
    trained = dataclasses.replace(experiment, task=dataclasses.replace(experiment.task, model=model))
    (tmp_path / "experiment.json").write_text(json.dumps(experiment_config.to_dict(trained)))
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    return tmp_path


def test_a_warm_training_starts_from_the_weights_with_a_share_of_the_steps(weights):
    flags = training_flags(RUN_ARGS, str(weights), WarmStart(share=0.1))
    experiment = experiment_of([*RUN_ARGS, *flags])
    assert experiment.task.init_checkpoint == str(weights)
    assert experiment.task.init_checkpoint_modules == "all"
    assert experiment.trainer.train_steps == 170
    assert experiment.trainer.optimizer.drop_steps == (120, 150)


def test_a_warm_training_of_an_eomt_gives_up_its_masks_in_time_and_can_be_started_from_again(tmp_path):
    run_args = ["--experiment", "eomt_small"]
    flags = training_flags(run_args, str(tmp_path), WarmStart(share=0.1))
    warm = experiment_of([*run_args, *flags])
    assert warm.trainer.train_steps == 30
    # 60 to 150 and 120 to 240 of 300.
    decoder = warm.task.model.decoder
    assert (decoder.mask_annealing_starts, decoder.mask_annealing_ends) == ((6, 12), (15, 24))
    (tmp_path / "experiment.json").write_text(json.dumps(experiment_config.to_dict(warm)))
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    assert why_cold(str(tmp_path), experiment_of(run_args)) == ""


def test_settings_of_the_warm_start_win_over_those_of_every_run(weights):
    run_args = [*RUN_ARGS, "--params_override", "trainer.optimizer.learning_rate=0.001"]
    warm = WarmStart(params_override="trainer.optimizer.learning_rate=0.0002,trainer.train_steps=9")
    trainer = experiment_of([*run_args, *training_flags(run_args, str(weights), warm)]).trainer
    assert (trainer.optimizer.learning_rate, trainer.train_steps) == (0.0002, 9)


def test_a_cold_training_is_the_experiment_itself():
    assert experiment_of([*RUN_ARGS, *training_flags(RUN_ARGS, "", WarmStart())]) == experiment_of(RUN_ARGS)


def test_weights_of_the_same_network_are_started_from_and_no_others(weights):
    experiment = experiment_of(RUN_ARGS)
    assert why_cold(str(weights), experiment) == ""
    assert why_cold(None, experiment) == "no model serves"
    other = experiment_of(["--experiment", "generated_scenes", "--params_override", "task.model.num_queries=9"])
    assert why_cold(str(weights), other) == "the model that serves has another architecture"
    (weights / "model.weights.h5").unlink()
    assert "model.weights.h5" in why_cold(str(weights), experiment)


def test_fixed_and_new_photos_are_judged_apart_where_there_are_any():
    judged_apart = judging_flags({"fixed": 5, "new": 3}, 0.02, 0.1)
    config = config_from_args(parse_args(judged_apart))
    assert config.analysis.slices == ("image/folder",)
    assert config.gate.rules == (
        "pq[slice=folder=fixed] >= baseline - 0.02",
        "pq[slice=folder=new] >= baseline - 0.1",
    )
    assert len(judging_flags({"fixed": 5}, 0.02, 0.1)) == 4
    assert judging_flags({"new": 3}, 0.02, 0.1, "semantic")[-1] == "mean_iou[slice=folder=new] >= baseline - 0.1"
    assert judging_flags({"new": 3}, 0.02, 0.1, "instance") == ["--slice", "image/folder"]


def test_a_share_must_be_positive():
    with pytest.raises(ValueError, match="`--warm_share` must be positive. Received: 0"):
        WarmStart(share=0)
