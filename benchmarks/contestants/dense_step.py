"""A training step on photos with few or many segments, for `dense_training`.

`python -m benchmarks.contestants.dense_step exact-150`: which mask loss, and how many targets. The network has 150
queries in any case.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from benchmarks.contestants.turns import serve

BATCH_SIZE, SIZE_PX, NUM_QUERIES, NUM_POINTS = 4, 256, 150, 3000
CIRCLE_RADIUS = 0.42  # Of a cell's width.


def segment_map(num_targets: int) -> np.ndarray:
    """Draws as many circles as there are targets into a square of cells, `[SIZE_PX, SIZE_PX]` uint8."""
    cells = math.ceil(math.sqrt(num_targets))
    width_px = SIZE_PX // cells
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
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
    mask_loss, _, count = task.partition("-")
    num_targets = int(count)
    model_settings = f"task.model.num_classes=2,task.model.num_queries={NUM_QUERIES}"
    loss_settings = f"task.losses.mask_loss={mask_loss},task.losses.num_points={NUM_POINTS}"
    model = loop.build_for_training(override(experiments.get("coco_small"), f"{model_settings},{loss_settings}"))
    random = np.random.default_rng(0)
    maps = np.repeat(segment_map(num_targets)[None], BATCH_SIZE, axis=0)
    photos = random.integers(0, 128, (BATCH_SIZE, SIZE_PX, SIZE_PX, 3)) + 100 * (maps > 0)[..., None]
    x = {"image": tf.constant(photos, tf.uint8), "valid_size_px": tf.constant([[SIZE_PX, SIZE_PX]] * BATCH_SIZE)}
    classes = random.integers(0, 2, (BATCH_SIZE, num_targets))
    y = {"segment_map": tf.constant(maps), "segment_classes": tf.constant(classes, tf.int32)}
    step = tf.function(model.train_step)
    serve(task, lambda: step((x, y))["loss"].numpy())


if __name__ == "__main__":
    main(sys.argv[1])
