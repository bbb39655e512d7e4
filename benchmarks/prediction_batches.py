"""Photos of one padded size through the network together and one by one: time per photo, and what it does to bits.

The network of `maskformer_coco_panoptic` with random weights, in float32 on this machine's processor or accelerator.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.row import Row, main

BATCH, SIZE_PX, REPEATS = 4, (320, 416), 5


def measure() -> Iterator[Row]:
    """Seconds per photo, and the largest difference of a class probability."""
    import keras
    import numpy as np
    import tensorflow as tf

    from maskformer_model import experiments
    from maskformer_model.modeling.maskformer import MaskFormer

    keras.utils.set_random_seed(0)
    network = MaskFormer(experiments.get("maskformer_coco_panoptic").task.model)
    network.build()
    propose = tf.function(network.propose, input_signature=[tf.TensorSpec([None, *SIZE_PX, 3])], autograph=False)
    photos = tf.constant(np.random.default_rng(0).normal(size=(BATCH, *SIZE_PX, 3)).astype(np.float32))
    alone, together = [], []
    for _ in range(1 + REPEATS):  # The first warms up.
        start = time.perf_counter()
        singles = [propose(photos[place : place + 1])["class_logits"].numpy() for place in range(BATCH)]
        alone.append((time.perf_counter() - start) / BATCH)
        start = time.perf_counter()
        batch = propose(photos)["class_logits"].numpy()
        together.append((time.perf_counter() - start) / BATCH)
    size = " x ".join(map(str, SIZE_PX))
    yield Row(
        name=f"network on {BATCH} photos of {size} px together, per photo",
        ours=statistics.median(together[1:]),
        unit="s",
        peer=statistics.median(alone[1:]),
        peer_name="one by one",
        remark=f"median of {REPEATS}, in turns",
    )
    difference = np.abs(_softmax(batch) - _softmax(np.concatenate(singles)))
    yield Row(
        name="largest change of a class probability through the other photos in a batch",
        ours=float(difference.max()),
        unit="of 1",
        remark=f"{100 * float((batch == np.concatenate(singles)).mean()):.1f} % of the logits keep every bit",
    )


def _softmax(logits):
    import numpy as np

    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


if __name__ == "__main__":
    main(measure)
