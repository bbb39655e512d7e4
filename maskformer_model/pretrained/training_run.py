"""Reads the weights that a training run left in its folder, finished or not. Training itself is not needed for it.

`training.checkpoints` writes what is read here, by the same names.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskformer_model.config.files import WEIGHTS_FILE

# `network_00002` is the third of `MaskFormer.variables`, `average_00002` its average, where there is one.
NETWORK, AVERAGE, TRAINING = "network_", "average_", "training_"
PREFIX = "ckpt"


def saved_checkpoints(model_dir: str) -> list[str]:
    """Returns the paths, without suffix, of a folder's checkpoints, from the oldest to the newest.

    What counts are the files. TensorFlow also keeps a list of them, `checkpoint`; without it, or when it is damaged,
    nothing is lost.
    """
    import tensorflow as tf

    steps = {}
    for path in tf.io.gfile.glob(os.path.join(glob.escape(model_dir), f"{PREFIX}-*.index")):
        if found := re.search(rf"{PREFIX}-(\d+)\.index$", path):
            steps[int(found[1])] = path.removesuffix(".index")
    return [steps[step] for step in sorted(steps)]


def latest_checkpoint(model_dir: str) -> str:
    """Returns the newest checkpoint of a folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = saved_checkpoints(model_dir)
    if not paths:
        raise FileNotFoundError(f"A `model_dir` must hold a checkpoint `{PREFIX}-<step>`. Received: {model_dir}")
    return paths[-1]


def trained_weights(model_dir: str) -> str:
    """Returns the path of the weights that were trained in a folder: the finished ones, or the newest checkpoint.

    Returns:
        An empty string if nothing was trained there.
    """
    import tensorflow as tf

    path = os.path.join(model_dir, WEIGHTS_FILE)
    if not tf.io.gfile.exists(path):
        path = next(reversed(saved_checkpoints(model_dir)), "")
    return path


def require_values_in_files(path: str, shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuses a TensorFlow checkpoint whose index announces more numbers than its files have bytes.

    Args:
        path: The checkpoint without suffix, or a folder whose newest one is meant.
        shapes: The shape of each variable, as the index has it.

    Raises:
        ValueError: if it does.
    """
    import tensorflow as tf

    path = tf.train.latest_checkpoint(path) or path
    size = sum(tf.io.gfile.stat(part).length for part in tf.io.gfile.glob(f"{glob.escape(path)}.data-*"))
    announced = sum(math.prod(shape) for shape in shapes.values())
    if announced > size:
        raise ValueError(f"The checkpoint {path} announces {announced} numbers and has {size} bytes. Copy it again.")


def read_network_values(path: str) -> list[np.ndarray]:
    """The values of `MaskFormer.variables` in a checkpoint: of the average of the weights, where it keeps one."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(path)
    require_values_in_files(path, reader.get_variable_to_shape_map())
    keys = {name.partition("/")[0]: name for name in sorted(reader.get_variable_to_shape_map())}
    positions = [name.removeprefix(NETWORK) for name in keys if name.startswith(NETWORK)]
    return [reader.get_tensor(keys.get(AVERAGE + position, keys[NETWORK + position])) for position in positions]


def set_network_values(network: Any, path: str) -> None:
    """Gives a network of the same architecture the weights of a checkpoint, averaged ones where it keeps an average."""
    for variable, value in zip(network.variables, read_network_values(path), strict=True):
        variable.assign(value)
