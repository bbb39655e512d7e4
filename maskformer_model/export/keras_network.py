"""The Keras network behind an exported model, rebuilt from its assets and the weights of the same training."""

from __future__ import annotations

import json
import os

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, from_dict
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE, EXTRA_ASSETS_FOLDER, WEIGHTS_FILE
from maskformer_model.export.versions import newest_model_dir
from maskformer_model.modeling.maskformer import MaskFormer


def load_network(
    model_dir: str | os.PathLike[str], weights_file: str | os.PathLike[str] | None = None
) -> tuple[MaskFormer, ExperimentConfig, CategoryTable]:
    """Builds and fills the network.

    Args:
        model_dir: An exported model, a folder of versions, or what a training left beside its weights.
        weights_file: `model.weights.h5` of the same training; None takes the one in `model_dir`.

    Raises:
        FileNotFoundError: if one of them is not there.
        ValueError: if the weights are of another architecture.
    """
    folder = _settings_folder(model_dir)
    with open(os.path.join(folder, EXPERIMENT_FILE), encoding="utf-8") as file:
        config = from_dict(json.load(file))
    network = MaskFormer(config.task.model)
    network.build()
    network.load_weights(weights_file or os.path.join(model_dir, WEIGHTS_FILE))
    return network, config, CategoryTable.load(os.path.join(folder, CATEGORIES_FILE))


def _settings_folder(model_dir: str | os.PathLike[str]) -> str:
    """Returns where experiment and categories lie: beside the weights, or in an exported model's assets."""
    if os.path.isfile(os.path.join(model_dir, EXPERIMENT_FILE)):
        return os.fspath(model_dir)
    folder = os.path.join(model_dir, EXTRA_ASSETS_FOLDER)
    if os.path.isdir(folder):
        return folder
    return os.path.join(newest_model_dir(model_dir), EXTRA_ASSETS_FOLDER)
