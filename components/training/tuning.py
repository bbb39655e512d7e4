"""Which settings the Tuner tries, and what a trial of one choice trains. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from maskformer_model.config import ExperimentConfig, override
from maskformer_model.config.training_length import with_train_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """A search over a short list of settings.

    Attributes:
        choices: Texts `SETTING=VALUE|VALUE|...`, settings as in `--params_override`; none: no search.
        max_trials: How many combinations are tried at most.
        trial_steps: Optimizer steps of each trial; 0: a quarter of the experiment's.

    Raises:
        ValueError: if a text is not of that form, a setting comes twice, or a number is out of range.
    """

    choices: tuple[str, ...] = ()
    max_trials: int = 8
    trial_steps: int = 0

    def __post_init__(self):
        self.values()
        if self.max_trials < 1 or self.trial_steps < 0:
            raise ValueError(f"`max_trials` must be positive and `trial_steps` not negative. Received: {self}")

    def values(self) -> dict[str, list[str]]:
        """Returns the values to choose from, by setting."""
        values: dict[str, list[str]] = {}
        for text in self.choices:
            setting, _, listed = text.partition("=")
            options = [option.strip() for option in listed.split("|")]
            if not setting or len(options) < 2 or not all(options) or setting in values:
                raise ValueError(
                    "`--tune` must be SETTING=VALUE|VALUE|..., with each setting once and at least two values. "
                    f"Received: {text!r}"
                )
            values[setting] = options
        return values


def with_choice(experiment: ExperimentConfig, choice: Mapping[str, str]) -> ExperimentConfig:
    """Returns the experiment with a combination of settings.

    Raises:
        KeyError: if a setting is unknown.
        ValueError: if a value does not fit.
    """
    return override(experiment, ",".join(f"{setting}={value}" for setting, value in choice.items()))


def trial_experiment(experiment: ExperimentConfig, tuning: TuningConfig, choice: Mapping[str, str]) -> ExperimentConfig:
    """What a trial trains: the experiment with the choice, shortened, scored once at its end.

    Raises:
        KeyError: if a setting is unknown.
        ValueError: if a value does not fit, or a schedule has no place in so few steps.
    """
    steps = tuning.trial_steps or max(experiment.trainer.train_steps // 4, 1)
    short = with_train_steps(with_choice(experiment, choice), steps)
    return override(short, f"trainer.validation_interval={steps},trainer.checkpoint_interval={steps}")
