"""The architecture that a checkpoint was made for, from the names and shapes of its arrays.

Arrays do not show the number of attention heads of the transformer, dropout, deep supervision, nor dilations: those
come from the source's own settings, from an experiment, or are the published models' (eight heads, dilations 1, 2, 4
with a deeplab stem).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.config import RESNET_BLOCKS, ModelConfig, merge
from maskformer_model.pretrained import mask2former_architecture

Arrays = Mapping[str, np.ndarray]

_ENCODER = "sem_seg_head.pixel_decoder.transformer.encoder"
_PREDICTOR = "sem_seg_head.predictor"
_BASIC_DEPTHS = (18, 34)


def infer_model_config(
    arrays: Arrays, settings: Mapping[str, Any] = {}, base: ModelConfig | None = None
) -> ModelConfig:
    """The config of the model that the arrays belong to.

    Args:
        arrays: Official name -> array, of a whole MaskFormer or Mask2Former.
        settings: Nested values of `ModelConfig` that the source states; they win over `base`, and must be those of
            the arrays where arrays show them.
        base: What neither arrays nor settings show is taken from here; by default the published models'.

    Raises:
        ValueError: if the arrays fit no architecture that can be configured, or not the settings.
    """
    backbone = _backbone_values(arrays)
    if base is None and backbone.get("stem_type") == "deeplab":
        backbone["res5_multi_grid"] = [1, 2, 4]
    is_mask2former = mask2former_architecture.is_mask2former(arrays)
    head = mask2former_architecture.head_values(arrays) if is_mask2former else _head_values(arrays)
    differing = _differing(settings, head)
    if differing:
        raise ValueError(f"The settings must be those that the arrays show. Received: {', '.join(differing)}")
    # In one piece, because rules hold between the settings and what the arrays show.
    values = _united(settings, {**head, "backbone": {**backbone, **settings.get("backbone", {})}})
    return merge(base or ModelConfig(), values)


def _differing(settings: Mapping[str, Any], shown: Mapping[str, Any], path: str = "") -> list[str]:
    """What settings say otherwise than arrays show, one text each."""
    found = []
    for key, value in shown.items():
        if isinstance(value, Mapping):
            found += _differing(settings.get(key, {}), value, f"{path}{key}.")
        elif settings.get(key, value) != value:
            found.append(f"{path}{key} {settings[key]} for {value}")
    return found


def _united(settings: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of both; what is shown wins."""
    inner = {key: _united(settings.get(key, {}), value) for key, value in shown.items() if isinstance(value, Mapping)}
    return {**settings, **shown, **inner}


def _head_values(arrays: Arrays) -> dict[str, Any]:
    num_queries, hidden_dim = _shape(arrays, f"{_PREDICTOR}.query_embed.weight")
    encoder_layers = _count(arrays, rf"{re.escape(_ENCODER)}\.layers\.(\d+)\.")
    detr_layers = _count(arrays, rf"{re.escape(_PREDICTOR)}\.transformer\.encoder\.layers\.(\d+)\.")
    feedforward = f"{_PREDICTOR}.transformer.decoder.layers.0.linear1.weight"
    values = {
        "num_classes": _shape(arrays, f"{_PREDICTOR}.class_embed.weight")[0] - 1,
        "num_queries": num_queries,
        "hidden_dim": hidden_dim,
        "pixel_decoder_dim": _shape(arrays, "sem_seg_head.pixel_decoder.layer_1.weight")[0],
        "mask_dim": _shape(arrays, "sem_seg_head.pixel_decoder.mask_features.weight")[0],
        "feedforward_dim": _shape(arrays, feedforward)[0],
        "num_decoder_layers": _count(arrays, rf"{re.escape(_PREDICTOR)}\.transformer\.decoder\.layers\.(\d+)\."),
        "detr_encoder_layers": detr_layers,
        "which_pixel_decoder": "transformer_fpn" if encoder_layers else "fpn",
        "enforce_input_projection": f"{_PREDICTOR}.input_proj.weight" in arrays,
        "pre_norm": f"{_PREDICTOR}.transformer.encoder.norm.weight" in arrays,  # There even without such layers.
    }
    if encoder_layers:
        values["fpn_encoder_layers"] = encoder_layers
    return values


def _backbone_values(arrays: Arrays) -> dict[str, Any]:
    if "backbone.patch_embed.proj.weight" in arrays:
        return _swin_values(arrays)
    if "backbone.stem.conv1.weight" in arrays:
        return _resnet_values(arrays)
    raise ValueError("A checkpoint must hold a ResNet (`backbone.stem`) or a Swin (`backbone.patch_embed`).")


def _resnet_values(arrays: Arrays) -> dict[str, Any]:
    blocks = tuple(_count(arrays, rf"backbone\.res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5))
    is_basic = "backbone.res2.0.conv3.weight" not in arrays
    known: dict[tuple[int, ...], int] = {
        stages: depth for depth, stages in RESNET_BLOCKS.items() if (depth in _BASIC_DEPTHS) == is_basic
    }
    is_deeplab = "backbone.stem.conv2.weight" in arrays
    last_conv = "conv2" if is_basic else "conv3"
    channels = [_shape(arrays, f"backbone.res{stage}.0.{last_conv}.weight")[0] for stage in (2, 3, 4, 5)]
    return {
        "type": "resnet",
        "depth": known.get(blocks, 18 if is_basic else 50),
        "stage_blocks": [] if blocks in known else blocks,
        "stage_channels": [] if channels == [channels[0] * 2**stage for stage in range(4)] else channels,
        "stem_type": "deeplab" if is_deeplab else "basic",
        "stem_channels": _shape(arrays, f"backbone.stem.conv{3 if is_deeplab else 1}.weight")[0],
        "res2_channels": channels[0],
        "bottleneck_channels": _shape(arrays, "backbone.res2.0.conv1.weight")[0],
    }


def _swin_values(arrays: Arrays) -> dict[str, Any]:
    tables = [
        _shape(arrays, f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table") for stage in range(4)
    ]
    hidden_dim, embed_dim = _shape(arrays, "backbone.layers.0.blocks.0.mlp.fc1.weight")
    return {
        "type": "swin",
        "embed_dim": embed_dim,
        "depths": [_count(arrays, rf"backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)],
        "num_heads": [heads for _, heads in tables],
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
        "mlp_ratio": hidden_dim / embed_dim,
    }


def _shape(arrays: Arrays, name: str) -> tuple[int, ...]:
    if name not in arrays:
        raise ValueError(f"A MaskFormer checkpoint must hold `{name}`.")
    return arrays[name].shape


def _count(arrays: Arrays, pattern: str) -> int:
    """One more than the largest number that the pattern's group takes among the names; 0 without any."""
    matches = (re.match(pattern, name) for name in arrays)
    return max((int(match[1]) + 1 for match in matches if match), default=0)
