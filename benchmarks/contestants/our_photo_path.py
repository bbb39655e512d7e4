"""This project's side of `end_to_end_latency`: the function behind the exported signature `serving_default`.

Two parts are timed alone. The network proper ends with the mask logits of the kept queries at a quarter of the size;
post-processing makes of them the map, areas, boxes and the PNG.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from benchmarks.contestants import busy_photo as busy
from benchmarks.contestants.turns import serve

KEPT_MASKS, POST_PROCESSING = "masks of the kept queries", "post-processing"


def build(dtype: str) -> Any:
    """Returns the signatures of a R50 + transformer_fpn with sharpened random weights, at 640 px.

    Its layers compute in `dtype`, as after `task.inference.mixed_precision_dtype`.
    """
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config import ExperimentConfig, TaskConfig
    from maskformer_model.data import preprocessing
    from maskformer_model.experiments import recipes
    from maskformer_model.export.signatures import ServingSignatures
    from maskformer_model.modeling.maskformer import MaskFormer

    model = recipes.transformer_fpn_model(recipes.RESNET_50, num_classes=busy.NUM_CLASSES)
    inference = recipes.inference(
        busy.SIZE_PX,
        1333,
        object_mask_threshold=busy.OBJECT_MASK_THRESHOLD,
        overlap_threshold=busy.OVERLAP_THRESHOLD,
    )
    categories = CategoryTable.from_coco(
        [
            {"id": number, "name": str(number), "isthing": int(number <= busy.NUM_THINGS)}
            for number in range(1, busy.NUM_CLASSES + 1)
        ]
    )
    network = MaskFormer(model)
    network.build()
    config = ExperimentConfig(task=TaskConfig(model=model, inference=inference))
    photo = preprocessing.decode_image(busy.photo_bytes())
    sharpen(network, ServingSignatures(network, categories, config).inference.propose(photo))
    return ServingSignatures(network.computing_in(dtype), categories, config)


def sharpen(network: Any, proposals: Any) -> None:
    """See `busy_photo`."""
    class_head, mask_head = network.predictor.class_head, network.predictor.mask_head[-1]
    pixels = network.pixel_decoder.mask_features(proposals.pixels[None])[0].numpy()
    for head, change in (
        (class_head, busy.class_change(proposals.class_logits.numpy())),
        (mask_head, busy.mask_change(proposals.mask_embeddings.numpy(), pixels.reshape(-1, pixels.shape[-1]))),
    ):
        head.kernel.assign(head.kernel.numpy() @ change.factor)
        head.bias.assign((head.bias.numpy() - change.shift) @ change.factor + change.gain)


def main(dtype: str) -> None:
    """Warms up, then runs as often as asked."""
    import keras
    import tensorflow as tf

    from maskformer_model.export import assets
    from maskformer_model.inference import folded_norms

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    assets.keep_packed_weights({assets.CONSTANT_FILTERS: True})  # As the server does.
    signatures = build(dtype)
    with folded_norms.frozen_norms_folded(signatures.network):  # As `export` does.
        _serve(signatures)


def _serve(signatures: Any) -> None:
    import tensorflow as tf

    from maskformer_model.data import preprocessing
    from maskformer_model.inference.photo_inference import Proposals

    jpeg = busy.photo_bytes()
    photo = preprocessing.decode_image(tf.constant(jpeg))
    path = signatures.inference
    proposals = path.propose(photo)
    tensors = dataclasses.asdict(proposals)
    masks = path.kept_masks(proposals, busy.OBJECT_MASK_THRESHOLD)
    answer = tf.function(signatures.serving_default, input_signature=[tf.TensorSpec([None], tf.string)])
    make_masks = tf.function(lambda tensors: path.kept_masks(Proposals(**tensors), busy.OBJECT_MASK_THRESHOLD))
    finish = tf.function(
        lambda tensors, kept, mask_logits: signatures.panoptic_row(
            path.merge(Proposals(**tensors), kept, mask_logits, busy.OVERLAP_THRESHOLD)
        )
    )
    parts = {
        KEPT_MASKS: lambda: make_masks(tensors)[1].numpy(),
        POST_PROCESSING: lambda: finish(tensors, *masks)["panoptic_png_bytes"].numpy(),
    }
    num_segments = int(finish(tensors, *masks)["num_segments"])
    name = f"{signatures.network.compute_dtype}, {num_segments} segments of {len(masks[0][0])} kept queries"
    serve(name, lambda: answer(tf.constant([jpeg]))["panoptic_png_bytes"].numpy(), warm_up=1, parts=parts)


if __name__ == "__main__":
    main(sys.argv[1])
