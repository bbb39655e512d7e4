"""The Tuner's `tuner_fn`: KerasTuner chooses, `training.loop.train` trains, the score of the eval split decides."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import keras_tuner

from components.training.trainer import EXPERIMENT_KEY
from components.training.tuning import TuningConfig, trial_experiment
from maskformer_model import config as config_lib
from maskformer_model.backend import distribution
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from maskformer_model.training import loop

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs
    from tfx.components.tuner.component import TunerFnResult

TUNING_KEY = "tuning"


class PanopticQualityTuner(keras_tuner.Tuner):
    """Trains each combination for a short while and reports its score: PQ, mIoU or AP, as the task is judged by.

    Args:
        experiment: What is trained, without the choice.
        tuning: Which settings, how many trials and how long.
        **kwargs: Of `keras_tuner.Tuner`.
    """

    def __init__(self, experiment: config_lib.ExperimentConfig, tuning: TuningConfig, **kwargs: Any):
        self.experiment = experiment
        self.tuning = tuning
        self.score = config_lib.SCORE_OF_TASK[experiment.task.kind]
        space = keras_tuner.HyperParameters()
        for setting, options in tuning.values().items():
            space.Choice(setting, options)
        oracle = keras_tuner.oracles.RandomSearchOracle(
            objective=keras_tuner.Objective(self.score, direction="max"),
            max_trials=tuning.max_trials,
            hyperparameters=space,
            seed=experiment.runtime.seed,
            max_consecutive_failed_trials=min(3, tuning.max_trials),
        )
        super().__init__(oracle=oracle, **kwargs)

    def run_trial(self, trial, *fit_args, train_files, eval_files, categories, **fit_kwargs):
        config = trial_experiment(self.experiment, self.tuning, trial.hyperparameters.values)
        result = loop.train(
            config,
            train_files=train_files,
            eval_files=eval_files,
            categories=categories,
            model_dir=os.path.join(self.get_trial_dir(trial.trial_id), "model"),
            strategy=distribution.make_strategy(config.runtime.distribution_strategy),
        )
        if self.score not in result.history[-1]:
            raise ValueError(
                f"A search by {self.score} needs an eval split that has what it scores: AP needs a thing. "
                f"Received scores: {sorted(result.history[-1])}"
            )
        return {self.score: result.history[-1][self.score]}


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Returns the search that TFX's Tuner runs.

    Args:
        fn_args: `custom_config` holds the experiment and a `TuningConfig`, each as json.

    Raises:
        KeyError: if one of them is absent.
    """
    from tfx.components.tuner.component import TunerFnResult

    settings = fn_args.custom_config or {}
    missing = [key for key in (EXPERIMENT_KEY, TUNING_KEY) if key not in settings]
    if missing:
        raise KeyError(f"`custom_config` must hold {missing}. Received: {settings}")
    tuning = TuningConfig(**json.loads(settings[TUNING_KEY]))
    tuner = PanopticQualityTuner(
        config_lib.from_dict(json.loads(settings[EXPERIMENT_KEY])),
        tuning,
        directory=fn_args.working_dir,
        project_name=TUNING_KEY,
    )
    fit_kwargs = {
        "train_files": fn_args.train_files,
        "eval_files": fn_args.eval_files,
        "categories": CategoryTable.load(examples.categories_path(fn_args.train_files[0])),
    }
    return TunerFnResult(tuner=tuner, fit_kwargs=fit_kwargs)
