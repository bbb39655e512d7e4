"""Makes the extra flags of a retraining: initial weights, number of steps, and the rules that judge it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

from maskformer_model import config as experiment_config
from maskformer_model.config import INSTANCE, PANOPTIC, SCORE_OF_TASK, ExperimentConfig
from maskformer_model.config.files import EXPERIMENT_FILE, WEIGHTS_FILE
from maskformer_model.config.training_length import with_train_steps, without_steps
from pipeline import flags
from pipeline.retraining.mixed_data import FIXED, NEW

FOLDER_FEATURE = "image/folder"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """The settings of a training that starts from a model.

    Attributes:
        share: The share of the experiment's steps, above 0; drops of the learning rate and the steps in the decoder's
            settings move in proportion.
        params_override: Further settings, which override all others.

    Raises:
        ValueError: if the share is not positive.
    """

    share: float = 1 / 3
    params_override: str = ""

    def __post_init__(self):
        if self.share <= 0:
            raise ValueError(f"`--warm_share` must be positive. Received: {self.share}")


def experiment_of(run_args: Sequence[str]) -> ExperimentConfig:
    """Returns the experiment that `run_local.py` would train with these flags."""
    return flags.config_from_args(flags.parse_args(["--data", ".", *run_args])).experiment


def why_cold(initial: str | None, experiment: ExperimentConfig) -> str:
    """Returns why a training cannot start from a model's folder; empty if it can.

    Args:
        initial: The folder of the model's training, or None if nothing serves.
        experiment: The experiment to train now.
    """
    import json

    if not initial:
        return "no model serves"
    paths = [os.path.join(initial, name) for name in (WEIGHTS_FILE, EXPERIMENT_FILE)]
    if missing := [path for path in paths if not os.path.isfile(path)]:
        return f"the weights of the model that serves are missing: {missing[0]}"
    with open(paths[1], encoding="utf-8") as file:
        trained = experiment_config.from_dict(json.load(file)).task.model
    wanted = experiment.task.model
    # The number of classes comes from the data, and is not in the experiment that asks for training.
    if without_steps(dataclasses.replace(trained, num_classes=wanted.num_classes)) != without_steps(wanted):
        return "the model that serves has another architecture"
    return ""


def warm_overrides(experiment: ExperimentConfig, initial: str, warm: WarmStart) -> str:
    """Returns the settings of a training that starts from a model, in the form of `--params_override`."""
    trainer = experiment.trainer
    steps = _scaled(trainer.train_steps, warm.share, trainer.steps_per_execution)
    short = with_train_steps(experiment, steps)
    decoder = short.task.model.decoder
    listed = {f"task.model.decoder.{name}": getattr(decoder, name) for name in decoder.step_settings}
    listed["trainer.optimizer.drop_steps"] = short.trainer.optimizer.drop_steps
    settings = [
        f"task.init_checkpoint={initial}",
        "task.init_checkpoint_modules=all",
        f"trainer.train_steps={steps}",
        *(f"{name}=[{','.join(map(str, values))}]" for name, values in listed.items()),
    ]
    return ",".join(settings + ([warm.params_override] if warm.params_override else []))


def training_flags(run_args: Sequence[str], initial: str, warm: WarmStart) -> list[str]:
    """Returns a run's `--params_override`: the user's, and those of a warm start if there is a model to start from."""
    own = flags.parse_args(list(run_args)).params_override
    added = warm_overrides(experiment_of(run_args), initial, warm) if initial else ""
    return ["--params_override", ",".join(filter(None, [own, added]))]


def judging_flags(
    eval_counts: Mapping[str, int], fixed_drop: float, new_drop: float, kind: str = PANOPTIC
) -> list[str]:
    """Returns the flags of slices and rules that judge fixed and new photos separately.

    Args:
        eval_counts: The number of photos by folder.
        fixed_drop: How far PQ on the fixed photos may be below the last blessed model's (mIoU for a semantic task).
        new_drop: How far it may be below on the new span's photos.
        kind: The kind of the task; an instance task's slices are shown and not judged.
    """
    chosen = ["--slice", FOLDER_FEATURE]
    for folder, drop in ((FIXED, fixed_drop), (NEW, new_drop)):
        if eval_counts.get(folder) and kind != INSTANCE:  # Average precision is only computed over all images.
            chosen += ["--gate_rule", f"{SCORE_OF_TASK[kind]}[slice=folder={folder}] >= baseline - {drop}"]
    return chosen


def _scaled(steps: int, share: float, multiple_of: int) -> int:
    return max(1, round(steps * share / multiple_of)) * multiple_of
