"""This project's side of `end_to_end_latency`: the function behind the exported signature `serving_default`.

`python -m benchmarks.contestants.our_photo_path DTYPE:EXPERIMENT`. Two parts are timed alone. The network proper ends
with the mask logits of the kept queries at a quarter of the size; post-processing makes of them the map, areas, boxes
and the PNG.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.contestants import busy_photo as busy
from benchmarks.contestants.turns import serve

KEPT_MASKS, POST_PROCESSING = "masks of the kept queries", "post-processing"


def build(dtype: str, experiment: str) -> Any:
    """Returns the signatures of an experiment's network with sharpened random weights, at 640 px.

    Its layers compute in `dtype`, as after `task.inference.mixed_precision_dtype`.
    """
    from maskformer_model import experiments
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config import ExperimentConfig, TaskConfig
    from maskformer_model.data import preprocessing
    from maskformer_model.experiments import recipes
    from maskformer_model.export.signatures import ServingSignatures
    from maskformer_model.modeling.maskformer import MaskFormer

    task = experiments.get(experiment).task
    inference = recipes.inference(
        busy.SIZE_PX,
        1333,
        object_mask_threshold=busy.OBJECT_MASK_THRESHOLD,
        overlap_threshold=busy.OVERLAP_THRESHOLD,
        pixel_threshold=task.inference.pixel_threshold,
    )
    categories = CategoryTable.from_coco(
        [
            {"id": number, "name": str(number), "isthing": int(number <= busy.NUM_THINGS)}
            for number in range(1, busy.NUM_CLASSES + 1)
        ]
    )
    network = MaskFormer(task.model)
    network.build()
    network = network.computing_in(dtype)
    config = ExperimentConfig(task=TaskConfig(model=task.model, inference=inference))
    photo = preprocessing.decode_image(busy.photo_bytes())
    # The graphs that this leaves behind have read the weights from before.
    sharpen(network, lambda: ServingSignatures(network, categories, config).inference.propose(photo))
    return ServingSignatures(network, categories, config)


def sharpen(network: Any, propose: Callable[[], Any]) -> None:
    """See `busy_photo`. Masks come first: in Mask2Former classes depend on them."""
    import tensorflow as tf

    proposals, predictor = propose(), network.predictor
    pixels = proposals.pixels
    if not predictor.reads_mask_features:
        pixels = network.pixel_decoder.mask_features(pixels[None])[0]
    pixels = tf.cast(tf.reshape(pixels, (-1, pixels.shape[-1])), tf.float32).numpy()
    embeddings = tf.cast(proposals.mask_embeddings, tf.float32).numpy()
    _apply(busy.mask_change(embeddings, pixels), predictor.mask_head[-1])
    _apply(busy.class_change(propose().class_logits.numpy()), predictor.class_head)


def _apply(change: busy.Change, head: Any) -> None:
    head.kernel.assign(head.kernel.numpy() @ change.factor)
    head.bias.assign((head.bias.numpy() - change.shift) @ change.factor + change.gain)


def threshold_of(class_logits: Any) -> float:
    """Returns a threshold that keeps `busy.NUM_KEPT` queries, or more where scores are equal.

    In float32 that is what `busy.OBJECT_MASK_THRESHOLD` does. Sharpened heads magnify the rounding of half precision,
    and several times as many queries are above it.
    """
    from maskformer_model.inference import postprocessing

    is_object, _, scores = (one.numpy() for one in postprocessing.classify_queries(class_logits, 0.0))
    best = sorted(scores[is_object], reverse=True)
    return float(best[busy.NUM_KEPT - 1]) - 1e-6


def main(task: str) -> None:
    """Warms up, then runs as often as asked."""
    import keras
    import tensorflow as tf

    from maskformer_model.export import assets
    from maskformer_model.inference import folded_norms

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    assets.keep_packed_weights({assets.CONSTANT_FILTERS: True})  # As the server does.
    signatures = build(*task.split(":"))
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
    threshold = threshold_of(proposals.class_logits)
    masks = path.kept_masks(proposals, threshold)
    answer = tf.function(
        lambda image_bytes: signatures.panoptic(image_bytes, threshold, busy.OVERLAP_THRESHOLD),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    make_masks = tf.function(lambda tensors: path.kept_masks(Proposals(**tensors), threshold))
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
