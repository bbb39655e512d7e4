"""Reads the weights that a training run left in its folder, finished or not. Training itself is not needed for it.

`training.checkpoints` writes what is read here, by the same names.
"""

from __future__ import annotations

import numpy as np

# `network_00002` is the third of `MaskFormer.variables`, `average_00002` its average, where there is one.
NETWORK, AVERAGE, TRAINING = "network_", "average_", "training_"
PREFIX = "ckpt"


def latest_checkpoint(model_dir: str) -> str:
    """The newest checkpoint of a folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    import tensorflow as tf

    path = tf.train.latest_checkpoint(model_dir)
    if path is None:
        raise FileNotFoundError(f"A `model_dir` must hold a checkpoint `{PREFIX}-<step>`. Received: {model_dir}")
    return path


def read_network_values(path: str) -> list[np.ndarray]:
    """The values of `MaskFormer.variables` in a checkpoint: of the average of the weights, where it keeps one."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(path)
    keys = {name.partition("/")[0]: name for name in sorted(reader.get_variable_to_shape_map())}
    positions = [name.removeprefix(NETWORK) for name in keys if name.startswith(NETWORK)]
    return [reader.get_tensor(keys.get(AVERAGE + position, keys[NETWORK + position])) for position in positions]
