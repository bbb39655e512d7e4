"""What the present Keras backend computes from given weights; `test_backends` runs it with another backend.

`python -m tests.maskformer_model.helpers.backend_answers OUTPUT` writes one npz with every answer.
"""

from __future__ import annotations

import sys

NUM_CLASSES = 6


def model_configs() -> dict:
    """A small network of each kind.

    A ResNet with an encoder, the same with placed queries, a Swin with shifted windows, a Mask2Former, an EoMT.
    """
    import dataclasses

    from maskformer_model.config import ExperimentConfig, PlacedQueriesConfig, SwinConfig, override
    from tests.maskformer_model.helpers.families import FAMILIES
    from tests.maskformer_model.helpers.flat_model import SMALL_RESNET, SMALL_SIZES, model_config

    swin = SwinConfig(embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4)
    resnet = model_config(backbone=SMALL_RESNET, which_pixel_decoder="transformer_fpn", **SMALL_SIZES)
    placed = PlacedQueriesConfig(hidden_dim=16, num_layers=1, num_learned_queries=2, num_heads=2, feedforward_dim=24)
    # Patches of the test's photos, and masked attention where EoMT has it in training alone.
    eomt = (
        "task.model.backbone.patch_size=8,task.model.backbone.image_size_px=[48,48],"
        "task.model.decoder.masks_at_inference=true,task.inference.size_divisibility=8"
    )
    families = {
        name: override(ExperimentConfig(), ",".join([family, *([eomt] if name == "eomt" else [])])).task.model
        for name, family in FAMILIES.items()
    }
    sizes = {"num_classes": NUM_CLASSES, "num_queries": SMALL_SIZES["num_queries"]}
    return {
        "resnet": resnet,
        "placed": dataclasses.replace(resnet, decoder=placed),
        "swin": model_config(backbone=swin, which_pixel_decoder="fpn", **SMALL_SIZES),
        **{name: dataclasses.replace(model, **sizes) for name, model in families.items()},
    }


def answers() -> dict:
    """Networks, matcher, losses and inference on one batch: name -> numpy array."""
    import keras
    import numpy as np

    from maskformer_model.data.normalization import normalize

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 48, 72, 3), dtype=np.uint8)
    valid_size_px = np.array([[48, 72], [40, 56]], np.int32)
    segment_map = np.kron(rng.integers(0, 5, (2, 3, 3)), np.ones((16, 24), int)).astype(np.int32)
    segment_classes = np.array([[1, 5, 1, 3], [0, 2, -1, -1]], np.int32)
    segment_map[1][segment_map[1] > 2] = 0
    found = {}
    for seed, (name, config) in enumerate(model_configs().items()):
        network = _network(config, np.random.default_rng(seed))
        run = _whole(lambda pixels, size_px, network=network: network(normalize(pixels, size_px)))
        outputs = run(image, valid_size_px)
        layers = [*outputs["aux_outputs"], {key: outputs[key] for key in ("class_logits", "mask_logits")}]
        for index, layer in enumerate(layers):
            found |= {f"{name}.layer_{index}.{key}": value for key, value in layer.items()}
    targets = [keras.ops.convert_to_tensor(value) for value in (segment_map, segment_classes)]
    found |= _whole(_compare)(layers, *targets)
    # An untrained network sees nothing, so what becomes segments is drawn.
    drawn = (rng.normal(0, 3, (2, 7, NUM_CLASSES + 1)), rng.normal(0, 4, (2, 7, 12, 18)))
    found |= _whole(_interpret)(*(keras.ops.convert_to_tensor(logits, "float32") for logits in drawn))
    return {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}


def _network(config, rng):
    """The network, with weights that every backend draws alike."""
    import numpy as np

    from maskformer_model.modeling.maskformer import MaskFormer

    network = MaskFormer(config)
    network.build()
    for weight in network.weights:
        value = rng.normal(0.0, 1.0 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)
        is_scale = weight.path.endswith(("gamma", "moving_variance"))
        weight.assign((1.0 + 0.2 * np.tanh(value) if is_scale else value).astype(np.float32))
    return network


def _compare(layers, segment_map, segment_classes):
    from keras import ops

    from maskformer_model.losses import criterion

    queries, finite = criterion.match_layers(layers, segment_map, segment_classes)
    found = {f"queries_{index}": query for index, query in enumerate(queries)}
    found["finite"] = ops.stack(finite)
    outputs = {**layers[-1], "aux_outputs": layers[:-1]}
    return found | criterion.maskformer_losses(outputs, segment_map, segment_classes, matched=(queries, finite))


def _interpret(class_logits, mask_logits):
    import numpy as np

    from maskformer_model.inference import postprocessing

    masks = postprocessing.resize_logits(mask_logits, (48, 72))
    semantic = postprocessing.semantic_inference(class_logits, masks)
    isthing = np.arange(NUM_CLASSES) < 4
    panoptic = postprocessing.panoptic_inference(class_logits, masks, isthing, 0.1, 0.1)
    instance = postprocessing.instance_inference(class_logits, masks, isthing=isthing, max_instances=20)
    found = {"semantic": semantic, "semantic_map": postprocessing.semantic_map(semantic)}
    found |= {f"panoptic.{name}": value for name, value in panoptic.items()}
    return found | {f"instance.{name}": value for name, value in instance.items()}


def _whole(function):
    """The function, in one piece where the backend would otherwise compile every operation on its own."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import torch

    return torch.no_grad()(function)


if __name__ == "__main__":
    import numpy as np

    np.savez(sys.argv[1], **answers())
