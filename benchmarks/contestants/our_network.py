"""This project's side of `network_forward`, `forward_stages`, `training_step` and `families`.

`python -m benchmarks.contestants.our_network forward|forward_bfloat16|stages|step[:EXPERIMENT]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contestants.scene import SIZE_PX, scene
from benchmarks.contestants.stages import STAGES
from benchmarks.contestants.turns import serve

FORWARD, FORWARD_BFLOAT16 = "forward", "forward_bfloat16"


def _stages(network: Any, pixels: Any) -> dict[str, Callable[[], Any]]:
    """Returns each stage compiled alone, over what the stage before it gives for these pixels."""
    import tensorflow as tf

    from maskformer_model.modeling.layers.mask_product import mask_product

    decoder = network.pixel_decoder

    def fuse(features, top):
        return decoder.mask_features(decoder.fuse(features, top))

    functions = (lambda image: network.backbone(image, training=False), decoder.encode, fuse)
    backbone, encode, fuse, predict, product = [
        tf.function(function, autograph=False)
        for function in (*functions, network.predictor.last_queries, mask_product)
    ]
    features = backbone(pixels)
    top = encode(features["res5"])
    mask_features = fuse(features, top)
    sources = {network.predictor.source: top}
    embeddings = predict(sources)[1]
    calls = (
        lambda: backbone(pixels),
        lambda: encode(features["res5"]),
        lambda: fuse(features, top),
        lambda: predict(sources),
        lambda: product(embeddings, mask_features),
    )
    return dict(zip(STAGES, calls, strict=True))


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import keras
    import tensorflow as tf

    from maskformer_model import experiments
    from maskformer_model.config import merge
    from maskformer_model.export import assets
    from maskformer_model.inference import folded_norms
    from maskformer_model.modeling.maskformer import MaskFormer
    from maskformer_model.training import loop

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    name = f"TensorFlow {tf.__version__}"
    work, _, experiment = task.partition(":")
    # Weights are drawn: no time depends on them.
    config = merge(experiments.get(experiment or "maskformer_coco_panoptic"), {"task": {"init_checkpoint": ""}})
    image, segment_map, segment_classes = scene()
    if work in (FORWARD, FORWARD_BFLOAT16, "stages"):
        assets.keep_packed_weights({assets.CONSTANT_FILTERS: True})  # As the server does.
        network = MaskFormer(config.task.model)
        network.build()
        network = network.computing_in("bfloat16" if work == FORWARD_BFLOAT16 else "float32")

        @tf.function(input_signature=[tf.TensorSpec([1, SIZE_PX, SIZE_PX, 3])])
        def forward(pixels):
            outputs = network(pixels, training=False)
            return outputs["class_logits"], outputs["mask_logits"]

        pixels = tf.constant(image, tf.float32) / 64.0 - 2.0
        with folded_norms.frozen_norms_folded(network):  # As `export` does.
            parts = _stages(network, pixels) if work == "stages" else None
            return serve(name, lambda: [value.numpy() for value in forward(pixels)], parts=parts)
    model: Any = loop.build_for_training(config)
    model.optimizer.build(model.trainable_variables)
    x = {"image": tf.constant(image), "valid_size_px": tf.constant([[SIZE_PX, SIZE_PX]])}
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant(segment_classes)}
    step = tf.function(model.train_step)
    return serve(name, lambda: step((x, y))["loss"].numpy())


if __name__ == "__main__":
    main(sys.argv[1])
