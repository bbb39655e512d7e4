"""A state dict of random weights for a configuration: no norm is trivial, and numbers are short, so files are small."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.network import PIXEL_DECODER, PREDICTOR


def random_state(settings: dict[str, Any], stage_blocks: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    """Draws every weight of the network: kernels by their fan-in, scales around 1, biases around 0."""
    generator = np.random.default_rng(seed)
    return {name: _draw(generator, name, shape) for name, shape in _shapes(settings, stage_blocks).items()}


def _draw(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        values = generator.uniform(0.6, 1.4, shape)
    elif len(shape) == 1:
        values = generator.normal(0, 0.1, shape)
    elif name.endswith("query_embed.weight"):
        values = generator.normal(0, 1, shape)
    else:
        values = generator.normal(0, np.sqrt(1.5 / np.prod(shape[1:])), shape)
    # Eight bits of fraction, as bfloat16 has: the file is half as large.
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _shapes(settings: dict[str, Any], stage_blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes = _backbone_shapes(settings, stage_blocks)
    head, options = settings["sem_seg_head"], settings["mask_former"]
    conv, mask, hidden = head["CONVS_DIM"], head["MASK_DIM"], options["HIDDEN_DIM"]
    channels = [settings["resnet"]["RES2_OUT_CHANNELS"] * 2**stage for stage in range(4)]
    top = channels[3]
    if head["PIXEL_DECODER_NAME"] == "TransformerEncoderPixelDecoder":
        shapes |= _linear(f"{PIXEL_DECODER}.input_proj", conv, top, 1, 1)
        layers = head["TRANSFORMER_ENC_LAYERS"]
        shapes |= _encoder(f"{PIXEL_DECODER}.transformer.encoder", layers, conv, options)
        top = conv
    for level in (1, 2, 3):
        shapes |= _normed(f"{PIXEL_DECODER}.adapter_{level}", conv, channels[level - 1], 1)
        shapes |= _normed(f"{PIXEL_DECODER}.layer_{level}", conv, conv, 3)
    shapes |= _normed(f"{PIXEL_DECODER}.layer_4", conv, top, 3)
    shapes |= _linear(f"{PIXEL_DECODER}.mask_features", mask, conv, 3, 3)
    source = {"res5": channels[3], "transformer_encoder": conv}[options["TRANSFORMER_IN_FEATURE"]]
    if source != hidden or options["ENFORCE_INPUT_PROJ"]:
        shapes |= _linear(f"{PREDICTOR}.input_proj", hidden, source, 1, 1)
    shapes |= _encoder(f"{PREDICTOR}.transformer.encoder", options["ENC_LAYERS"], hidden, options)
    for layer in range(options["DEC_LAYERS"]):
        name = f"{PREDICTOR}.transformer.decoder.layers.{layer}"
        shapes |= _attention(f"{name}.self_attn", hidden) | _attention(f"{name}.multihead_attn", hidden)
        shapes |= _feed_forward(name, hidden, options) | _norm(f"{name}.norm3", hidden)
    shapes |= _norm(f"{PREDICTOR}.transformer.decoder.norm", hidden)
    shapes[f"{PREDICTOR}.query_embed.weight"] = (options["NUM_OBJECT_QUERIES"], hidden)
    shapes |= _linear(f"{PREDICTOR}.class_embed", head["NUM_CLASSES"] + 1, hidden)
    for layer in range(3):
        shapes |= _linear(f"{PREDICTOR}.mask_embed.layers.{layer}", mask if layer == 2 else hidden, hidden)
    return shapes


def _backbone_shapes(settings: dict[str, Any], stage_blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    resnet, shapes = settings["resnet"], {}
    stem = resnet["STEM_OUT_CHANNELS"]
    if resnet["STEM_TYPE"] == "deeplab":
        shapes |= _frozen("backbone.stem.conv1", stem // 2, 3, 3) | _frozen(
            "backbone.stem.conv2", stem // 2, stem // 2, 3
        )
        shapes |= _frozen("backbone.stem.conv3", stem, stem // 2, 3)
    else:
        shapes |= _frozen("backbone.stem.conv1", stem, 3, 7)
    inputs = stem
    for stage, num_blocks in enumerate(stage_blocks):
        outputs, middle = resnet["RES2_OUT_CHANNELS"] * 2**stage, resnet["WIDTH_PER_GROUP"] * 2**stage
        for block in range(num_blocks):
            name = f"backbone.res{stage + 2}.{block}"
            if block == 0 and inputs != outputs:
                shapes |= _frozen(f"{name}.shortcut", outputs, inputs, 1)
            shapes |= _frozen(f"{name}.conv1", middle, inputs, 1) | _frozen(f"{name}.conv2", middle, middle, 3)
            shapes |= _frozen(f"{name}.conv3", outputs, middle, 1)
            inputs = outputs
    return shapes


def _encoder(name: str, num_layers: int, dim: int, options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(num_layers):
        shapes |= _attention(f"{name}.layers.{layer}.self_attn", dim)
        shapes |= _feed_forward(f"{name}.layers.{layer}", dim, options)
    return shapes | (_norm(f"{name}.norm", dim) if options["PRE_NORM"] else {})


def _attention(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    stacked = {f"{name}.in_proj_weight": (3 * dim, dim), f"{name}.in_proj_bias": (3 * dim,)}
    return stacked | _linear(f"{name}.out_proj", dim, dim)


def _feed_forward(name: str, dim: int, options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width = options["DIM_FEEDFORWARD"]
    layers = _linear(f"{name}.linear1", width, dim) | _linear(f"{name}.linear2", dim, width)
    return layers | _norm(f"{name}.norm1", dim) | _norm(f"{name}.norm2", dim)


def _linear(name: str, outputs: int, inputs: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def _normed(name: str, outputs: int, inputs: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs, size, size)} | _norm(f"{name}.norm", outputs)


def _frozen(name: str, outputs: int, inputs: int, size: int) -> dict[str, tuple[int, ...]]:
    statistics = {f"{name}.norm.running_mean": (outputs,), f"{name}.norm.running_var": (outputs,)}
    return _normed(name, outputs, inputs, size) | statistics
