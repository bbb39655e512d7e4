"""What the Tuner tries, and that it trains and scores each combination."""

from __future__ import annotations

import dataclasses
import json
import types

import pytest

from components.training.tuning import TuningConfig, trial_experiment, with_choice
from maskformer_model import config as config_lib
from maskformer_model import experiments

RATE = "trainer.optimizer.learning_rate"


def test_choices_are_read_by_setting():
    tuning = TuningConfig(choices=(f"{RATE}=1e-3|5e-4", "task.losses.class_weight=1|2"))
    assert tuning.values() == {RATE: ["1e-3", "5e-4"], "task.losses.class_weight": ["1", "2"]}


@pytest.mark.parametrize("texts", [("a.b",), ("a.b=1",), ("a.b=1|",), ("=1|2",), ("a.b=1|2", "a.b=3|4")])
def test_a_text_that_leaves_nothing_to_choose_is_refused(texts):
    with pytest.raises(ValueError, match="SETTING=VALUE"):
        TuningConfig(choices=texts)


def test_a_trial_is_a_quarter_of_the_training_with_its_schedule_shrunk_and_one_score_at_the_end():
    experiment = experiments.get("generated_scenes")
    trial = trial_experiment(experiment, TuningConfig(), {RATE: "3e-4"})
    assert trial.trainer.optimizer.learning_rate == 3e-4
    assert (trial.trainer.train_steps, trial.trainer.validation_interval) == (650, 650)
    assert trial.trainer.optimizer.drop_steps == (537,)
    assert trial.task == experiment.task


def test_a_trial_of_an_eomt_gives_up_its_masks_in_time():
    trial = trial_experiment(experiments.get("eomt_small"), TuningConfig(), {RATE: "3e-4"})
    assert trial.trainer.train_steps == 75
    # 60 to 150 and 120 to 240 of 300.
    decoder = trial.task.model.decoder
    assert (decoder.mask_annealing_starts, decoder.mask_annealing_ends) == ((15, 30), (37, 60))


def test_a_setting_that_does_not_exist_is_named():
    with pytest.raises(KeyError, match="trainer.learning_rate"):
        with_choice(experiments.get("generated_scenes"), {"trainer.learning_rate": "1"})


@pytest.mark.slow
def test_the_search_trains_every_combination_and_keeps_the_one_with_the_best_score_of_its_task(tmp_path):
    import tfx.components  # noqa: F401 (before keras_tuner: it sets up what TFX's own Tuner needs)

    from components.training import tuner as tuner_adapter
    from tests.maskformer_model.helpers import tiny_run

    tiny_run.write_records(tmp_path, num_train=4, num_val=2)
    tuning = TuningConfig(choices=("trainer.optimizer.learning_rate=0.002|0.0001",), max_trials=4, trial_steps=2)
    result = tuner_adapter.tuner_fn(
        types.SimpleNamespace(
            custom_config={
                tuner_adapter.EXPERIMENT_KEY: json.dumps(config_lib.to_dict(tiny_run.experiment("task.kind=semantic"))),
                tuner_adapter.TUNING_KEY: json.dumps(dataclasses.asdict(tuning)),
            },
            train_files=[str(tmp_path / "train.tfrecord")],
            eval_files=[str(tmp_path / "val.tfrecord")],
            working_dir=str(tmp_path / "tuner"),
        )
    )
    result.tuner.search(**result.fit_kwargs)
    trials = result.tuner.oracle.get_best_trials(4)
    assert {trial.hyperparameters.values[RATE] for trial in trials} == {"0.002", "0.0001"}
    histories = [
        json.loads(next((tmp_path / "tuner").rglob(f"trial_{trial.trial_id}/model/training_history.json")).read_text())
        for trial in trials
    ]
    assert [trial.score for trial in trials] == [history[-1]["mean_iou"] for history in histories]
    assert trials[0].score >= trials[1].score
    assert result.tuner.get_best_hyperparameters()[0].values == trials[0].hyperparameters.values
