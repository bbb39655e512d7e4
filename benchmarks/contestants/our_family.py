"""This project's side of `families`: `python -m benchmarks.contestants.our_family forward|step:EXPERIMENT`."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.contestants.scene import SIZE_PX, scene
from benchmarks.contestants.turns import serve


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import keras
    import tensorflow as tf

    from maskformer_model import experiments
    from maskformer_model.config import merge
    from maskformer_model.export import assets
    from maskformer_model.modeling.maskformer import MaskFormer
    from maskformer_model.training import loop

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    work, _, name = task.partition(":")
    # Weights are drawn: the time does not depend on them.
    config = merge(experiments.get(name), {"task": {"init_checkpoint": ""}})
    image, segment_map, segment_classes = scene()
    program = f"TensorFlow {tf.__version__}"
    if work == "forward":
        assets.keep_packed_weights({assets.CONSTANT_FILTERS: True})  # As the server does.
        network = MaskFormer(config.task.model)
        network.build()

        @tf.function(input_signature=[tf.TensorSpec([1, SIZE_PX, SIZE_PX, 3])])
        def forward(pixels):
            outputs = network(pixels, training=False)
            return outputs["class_logits"], outputs["mask_logits"]

        pixels = tf.constant(image, tf.float32) / 64.0 - 2.0
        return serve(program, lambda: [value.numpy() for value in forward(pixels)])
    model: Any = loop.build_for_training(config)
    model.optimizer.build(model.trainable_variables)
    x = {"image": tf.constant(image), "valid_size_px": tf.constant([[SIZE_PX, SIZE_PX]])}
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant(segment_classes)}
    step = tf.function(model.train_step)
    return serve(program, lambda: step((x, y))["loss"].numpy())


if __name__ == "__main__":
    main(sys.argv[1])
