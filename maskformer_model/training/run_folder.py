"""What a training run notes in its folder, and whether another run may continue there.

Everything is compared before anything in the folder is changed.
"""

from __future__ import annotations

import json
import os
from typing import Any

from maskformer_model.categories import CategoryTable, compare_categories
from maskformer_model.config import ExperimentConfig, differing_settings, from_dict, to_dict
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE
from maskformer_model.config.rules import require_no_pattern


def note_run(config: ExperimentConfig, categories: CategoryTable, model_dir: str, *, writes: bool) -> None:
    """Writes the experiment and the categories beside the checkpoints, if the folder's run is the same.

    Args:
        config: The experiment, with its number of classes.
        categories: The categories of the data set.
        model_dir: The folder; it is made if it does not exist.
        writes: Whether this process is the one that writes.

    Raises:
        ValueError: if the folder holds a run of another network, task, optimizer or other classes, or checkpoints that
            nothing says the experiment of.
    """
    import tensorflow as tf

    from maskformer_model.pretrained.training_run import saved_checkpoints

    require_no_pattern(model_dir, "model_dir")
    earlier = _read_json(os.path.join(model_dir, EXPERIMENT_FILE))
    if earlier is not None:
        _require_same_settings(from_dict(earlier), config, model_dir)
        if (of_folder := _read_json(os.path.join(model_dir, CATEGORIES_FILE))) is not None:
            _require_same_classes(CategoryTable.from_coco(of_folder), categories, model_dir)
    elif saved_checkpoints(model_dir):
        raise ValueError(
            f"`model_dir` {model_dir} holds checkpoints and no {EXPERIMENT_FILE}, so nothing says what they are of. "
            "Choose another folder, and name this one as `task.init_checkpoint` to start from its weights."
        )
    if writes:
        tf.io.gfile.makedirs(model_dir)
        _write_json(os.path.join(model_dir, EXPERIMENT_FILE), to_dict(config))
        _write_json(os.path.join(model_dir, CATEGORIES_FILE), categories.to_coco())


def _require_same_settings(earlier: ExperimentConfig, config: ExperimentConfig, model_dir: str) -> None:
    """Returns the settings that give the state of a training run its form, and the scores of its curves their names."""
    if differing := differing_settings(config.task.model, earlier.task.model):
        listing = ", ".join(f"{name} {here}, there {value}" for name, (here, value) in differing.items())
        raise ValueError(
            f"`model_dir` {model_dir} holds a run of another network; choose another folder. Received: {listing}"
        )
    for name, there, here in (
        ("task.kind", earlier.task.kind, config.task.kind),
        ("task.freeze_backbone", earlier.task.freeze_backbone, config.task.freeze_backbone),
        ("task.losses.mask_loss", earlier.task.losses.mask_loss, config.task.losses.mask_loss),
    ):
        if there != here:
            raise ValueError(
                f"`model_dir` {model_dir} holds a run with another `{name}`; choose another folder. "
                f"Received: {here}, there: {there}"
            )
    momenta = [each.trainer.optimizer.ema_momentum for each in (config, earlier)]
    if (momenta[0] > 0) != (momenta[1] > 0):
        raise ValueError(
            f"`model_dir` {model_dir} holds a run {'with' if momenta[1] else 'without'} an average of the weights "
            "(`trainer.optimizer.ema_momentum`); choose another folder. "
            f"Received: {momenta[0]}, there: {momenta[1]}"
        )


def _require_same_classes(of_folder: CategoryTable, categories: CategoryTable, model_dir: str) -> None:
    if words := compare_categories(of_folder, categories, "in the folder", "in the data").words:
        raise ValueError(f"`model_dir` {model_dir} holds a run of other classes; choose another folder: {words}.")


def _read_json(path: str) -> Any:
    """Returns the content of a file, or None if there is none.

    Raises:
        ValueError: if it is damaged.
    """
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged, so this run cannot be continued: {error}. Choose another `model_dir`."
            ) from error


def _write_json(path: str, document: Any) -> None:
    """Replaces a file in one step, so that a run that is killed does not leave half of it."""
    import tensorflow as tf

    with tf.io.gfile.GFile(f"{path}.part", "w") as file:
        json.dump(document, file, indent=1)
    tf.io.gfile.rename(f"{path}.part", path, overwrite=True)
