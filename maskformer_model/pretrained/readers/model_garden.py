"""ImageNet ResNets of the TensorFlow Model Garden (tf-maskformer's `RESNET_CKPT`), under the official names.

They are TensorFlow checkpoints of `official/vision/modeling/backbones/resnet.py`: layers in order of creation, each
block one layer. Its strided convolutions pad below and right only, ours on both sides as PyTorch's: weights fit, and
what they see moves by half a pixel at each of them, which training makes good.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from maskformer_model.pretrained.training_run import require_values_in_files

_KEY = re.compile(
    r"(?:^|.*/)layer_with_weights-(\d+)/(?:_(\w+)/)?(kernel|gamma|beta|moving_mean|moving_variance)/"
    r"\.ATTRIBUTES/VARIABLE_VALUE$"
)
_BACKBONE_PREFIXES = ("backbone/", "model/backbone/", "")
_SUFFIX = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_FIRST_BLOCK = 2  # Behind the stem's convolution and its norm.


def is_tensorflow_checkpoint(source: str) -> bool:
    """Returns whether a path names a TensorFlow checkpoint (`ckpt-28080`) or a folder of them."""
    import tensorflow as tf

    return tf.io.gfile.exists(f"{source}.index") or tf.train.latest_checkpoint(source) is not None


def read_model_garden_resnet(source: str) -> dict[str, np.ndarray]:
    """Returns the backbone of a Model Garden checkpoint, of an ImageNet classifier or of a whole model.

    Args:
        source: A checkpoint's path without `.index`, or a folder whose newest one is taken.

    Returns:
        Official name -> array, in PyTorch's layout.

    Raises:
        ValueError: if the checkpoint holds no such ResNet.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(source)
    require_values_in_files(source, reader.get_variable_to_shape_map())
    names = [name for name in reader.get_variable_to_shape_map() if "OPTIMIZER_SLOT" not in name]
    for prefix in _BACKBONE_PREFIXES:
        of_prefix = [name for name in names if name.startswith(prefix)]
        found = {(m[1], m[2], m[3]): name for name in of_prefix if (m := _KEY.match(name))}
        if found:
            return _official(found, reader)
    raise ValueError(
        "A Model Garden checkpoint must hold a ResNet backbone (`backbone/layer_with_weights-0/kernel`, ...). "
        f"Received: {source} with {sorted(names)[:3]}"
    )


def _official(found: dict[tuple[str, str | None, str], str], reader: Any) -> dict[str, np.ndarray]:
    with_shortcut = {int(layer) for layer, part, _ in found if part == "shortcut"}
    arrays = {}
    for (layer, part, variable), name in found.items():
        place = _place(int(layer), part, with_shortcut)
        array = reader.get_tensor(name)
        if variable == "kernel":
            arrays[f"{place}.weight"] = array.transpose(3, 2, 0, 1)
        else:
            arrays[f"{place}.norm.{_SUFFIX[variable]}"] = array
    return arrays


def _place(layer: int, part: str | None, with_shortcut: set[int]) -> str:
    if layer < _FIRST_BLOCK or part is None:
        return "backbone.stem.conv1"
    # A stage begins with the block that has a shortcut.
    first = max(block for block in with_shortcut if block <= layer)
    stage = 1 + sum(block <= layer for block in with_shortcut)
    conv = "shortcut" if part in ("shortcut", "norm0") else f"conv{part[-1]}"
    return f"backbone.res{stage}.{layer - first}.{conv}"
