"""The official MaskFormer with a ResNet, as a function of its configuration (`golden.json`) and its state dict."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.nn import functional

from tests.reference.layers import State, convolve, decode, encode, linear, sine_position

PIXEL_DECODER, PREDICTOR = "sem_seg_head.pixel_decoder", "sem_seg_head.predictor"
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def normalize(photos: list[Any], size_divisibility: int, dtype) -> torch.Tensor:
    """`[height, width, 3]` uint8 photos -> one normalised batch, zero-padded to a multiple, channels first."""
    height, width = (max(photo.shape[axis] for photo in photos) for axis in (0, 1))
    step = max(1, size_divisibility)
    batch = torch.zeros((len(photos), 3, height + -height % step, width + -width % step), dtype=dtype)
    for index, photo in enumerate(photos):
        pixels = torch.as_tensor(photo).permute(2, 0, 1).to(dtype)
        normalized = (pixels - torch.tensor(MEAN, dtype=dtype)[:, None, None]) / torch.tensor(STD, dtype=dtype)[
            :, None, None
        ]
        batch[index, :, : photo.shape[0], : photo.shape[1]] = normalized
    return batch


def forward(settings: dict[str, Any], state: State, images) -> dict[str, torch.Tensor]:
    """Every tensor of the forward pass under the golden folders' names; `aux_k.` for the decoder's earlier layers."""
    options = settings["mask_former"]
    features = backbone(settings, state, images)
    encoded, mask_features = pixel_decoder(settings, state, features)
    source = {**features, "transformer_encoder": encoded, "pixel_embedding": mask_features}
    queries = predictor(settings, state, source[options["TRANSFORMER_IN_FEATURE"]])
    outputs = {"padded_images": images} | {f"features.{name}": value for name, value in features.items()}
    if encoded is not None:
        outputs["transformer_encoder_features"] = encoded
    outputs["mask_features"] = mask_features
    if not options["DEEP_SUPERVISION"]:
        queries = queries[-1:]
    for index, tokens in enumerate(queries):
        prefix = "" if index == len(queries) - 1 else f"aux_{index}."
        embeddings = tokens
        for layer in range(3):
            embeddings = linear(state, f"{PREDICTOR}.mask_embed.layers.{layer}", embeddings)
            embeddings = embeddings.relu() if layer < 2 else embeddings
        outputs[f"{prefix}pred_logits"] = linear(state, f"{PREDICTOR}.class_embed", tokens)
        outputs[f"{prefix}pred_masks"] = torch.einsum("bqc,bchw->bqhw", embeddings, mask_features)
    return outputs


def backbone(settings: dict[str, Any], state: State, images) -> dict[str, torch.Tensor]:
    """ResNet with bottlenecks: the stride is on the 3x3, the dilations of the last stage are the multi-grid."""
    is_deeplab = settings["backbone"] == "build_resnet_deeplab_backbone"
    if settings["resnet"]["STEM_TYPE"] == "deeplab":
        hidden = convolve(state, "backbone.stem.conv1", images, stride=2, padding=1).relu()
        hidden = convolve(state, "backbone.stem.conv2", hidden, padding=1).relu()
        hidden = convolve(state, "backbone.stem.conv3", hidden, padding=1).relu()
    else:
        hidden = convolve(state, "backbone.stem.conv1", images, stride=2, padding=3).relu()
    hidden = functional.max_pool2d(hidden, kernel_size=3, stride=2, padding=1)
    features = {}
    for stage in ("res2", "res3", "res4", "res5"):
        for block in range(count(state, rf"backbone\.{stage}\.(\d+)\.")):
            name = f"backbone.{stage}.{block}"
            stride = 2 if stage != "res2" and block == 0 else 1
            grid = settings["resnet"]["RES5_MULTI_GRID"] if is_deeplab and stage == "res5" else [1] * 99
            inner = convolve(state, f"{name}.conv1", hidden).relu()
            dilation = grid[block]
            inner = convolve(state, f"{name}.conv2", inner, stride=stride, padding=dilation, dilation=dilation).relu()
            inner = convolve(state, f"{name}.conv3", inner)
            if f"{name}.shortcut.weight" in state:
                hidden = convolve(state, f"{name}.shortcut", hidden, stride=stride)
            hidden = (inner + hidden).relu()
        features[stage] = hidden
    return features


def pixel_decoder(settings: dict[str, Any], state: State, features: dict[str, Any]):
    """The feature pyramid, with transformer layers over the coarsest map where the configuration says so."""
    options, encoded, top = settings["mask_former"], None, features["res5"]
    if settings["sem_seg_head"]["PIXEL_DECODER_NAME"] == "TransformerEncoderPixelDecoder":
        projected = convolve(state, f"{PIXEL_DECODER}.input_proj", top)
        batch, dim, height, width = projected.shape
        tokens = encode(
            state,
            f"{PIXEL_DECODER}.transformer.encoder",
            settings["sem_seg_head"]["TRANSFORMER_ENC_LAYERS"],
            options["NHEADS"],
            options["PRE_NORM"],
            projected.flatten(2).transpose(1, 2),
            sine_position(height, width, dim, projected),
        )
        top = encoded = tokens.transpose(1, 2).reshape(batch, dim, height, width)
    hidden = convolve(state, f"{PIXEL_DECODER}.layer_4", top, padding=1).relu()
    for level in (3, 2, 1):
        lateral = convolve(state, f"{PIXEL_DECODER}.adapter_{level}", features[f"res{level + 1}"])
        enlarged = functional.interpolate(hidden, size=lateral.shape[2:], mode="nearest")
        hidden = convolve(state, f"{PIXEL_DECODER}.layer_{level}", lateral + enlarged, padding=1).relu()
    return encoded, convolve(state, f"{PIXEL_DECODER}.mask_features", hidden, padding=1)


def predictor(settings: dict[str, Any], state: State, feature) -> list[torch.Tensor]:
    """What leaves each layer of the transformer decoder, `[batch, queries, dim]`."""
    options = settings["mask_former"]
    if f"{PREDICTOR}.input_proj.weight" in state:
        feature = convolve(state, f"{PREDICTOR}.input_proj", feature)
    dim, height, width = feature.shape[1:]
    memory, position = feature.flatten(2).transpose(1, 2), sine_position(height, width, dim, feature)
    heads, pre_norm = options["NHEADS"], options["PRE_NORM"]
    name = f"{PREDICTOR}.transformer"
    memory = encode(state, f"{name}.encoder", options["ENC_LAYERS"], heads, pre_norm, memory, position)
    queries = state[f"{PREDICTOR}.query_embed.weight"].expand(len(memory), -1, -1)
    return decode(state, f"{name}.decoder", options["DEC_LAYERS"], heads, pre_norm, queries, memory, position)


def count(state: State, pattern: str) -> int:
    """One more than the largest number that the pattern's group takes among the names; 0 without any."""
    matches = (re.match(pattern, name) for name in state)
    return max((int(match[1]) + 1 for match in matches if match), default=0)
