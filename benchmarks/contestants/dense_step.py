"""A training step on photos with few or many segments, for `dense_training`.

`python -m benchmarks.contestants.dense_step exact-150-256`: which mask loss, how many targets, the edge of crops in px.
The network has 150 queries in any case. A batch has as many pixels as four crops of 256 px, or is one crop.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from benchmarks.contestants.turns import serve

NUM_PIXELS, NUM_QUERIES, NUM_POINTS = 4 * 256**2, 150, 3000
CIRCLE_RADIUS = 0.42  # Of a cell's width.


def segment_map(num_targets: int, size_px: int) -> np.ndarray:
    """Draws as many circles as there are targets into a square of cells, `[size_px, size_px]` uint8."""
    cells = math.ceil(math.sqrt(num_targets))
    width_px = size_px // cells
    rows, columns = np.mgrid[:size_px, :size_px]
    number = np.minimum(rows // width_px, cells - 1) * cells + np.minimum(columns // width_px, cells - 1) + 1
    distance_px = np.hypot(rows % width_px - width_px / 2, columns % width_px - width_px / 2)
    return np.where((distance_px < CIRCLE_RADIUS * width_px) & (number <= num_targets), number, 0).astype(np.uint8)


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import keras
    import tensorflow as tf

    from maskformer_model import experiments
    from maskformer_model.config import override
    from maskformer_model.training import loop

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    mask_loss, *numbers = task.split("-")
    num_targets, size_px = map(int, numbers)
    batch_size = max(NUM_PIXELS // size_px**2, 1)
    model_settings = f"task.model.num_classes=2,task.model.num_queries={NUM_QUERIES}"
    loss_settings = f"task.losses.mask_loss={mask_loss},task.losses.num_points={NUM_POINTS}"
    model = loop.build_for_training(override(experiments.get("coco_small"), f"{model_settings},{loss_settings}"))
    random = np.random.default_rng(0)
    maps = np.repeat(segment_map(num_targets, size_px)[None], batch_size, axis=0)
    photos = random.integers(0, 128, (batch_size, size_px, size_px, 3)) + 100 * (maps > 0)[..., None]
    x = {"image": tf.constant(photos, tf.uint8), "valid_size_px": tf.constant([[size_px, size_px]] * batch_size)}
    classes = random.integers(0, 2, (batch_size, num_targets))
    y = {"segment_map": tf.constant(maps), "segment_classes": tf.constant(classes, tf.int32)}
    step = tf.function(model.train_step)
    serve(task, lambda: step((x, y))["loss"].numpy())


if __name__ == "__main__":
    main(sys.argv[1])
