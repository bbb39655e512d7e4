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
from maskformer_model.pretrained.eomt import architecture as eomt_architecture
from maskformer_model.pretrained.tables.shown_sizes import count_of, require_matrices, shape_of

Arrays = Mapping[str, np.ndarray]

_ENCODER = "sem_seg_head.pixel_decoder.transformer.encoder"
_PREDICTOR = "sem_seg_head.predictor"
_BASIC_DEPTHS = (18, 34)


def infer_model_config(
    arrays: Arrays, settings: Mapping[str, Any] = {}, base: ModelConfig | None = None
) -> ModelConfig:
    """Returns the config of the model that the arrays belong to.

    Args:
        arrays: Official name -> array, of a whole MaskFormer or Mask2Former.
        settings: Nested values of `ModelConfig` that the source states; they win over `base`, and must be those of
            the arrays where arrays show them.
        base: What neither arrays nor settings show is taken from here; by default the published models'.

    Raises:
        ValueError: if the arrays fit no architecture that can be configured, or not the settings.
    """
    if eomt_architecture.is_eomt(arrays):
        shown = eomt_architecture.values(arrays)
        _require_shown(settings, {name: value for name, value in shown.items() if name != "backbone"})
        defaults = eomt_architecture.defaults(arrays)
        if base is not None:  # Which does not know whether these weights were ever without masks.
            defaults = {"decoder": defaults["decoder"]}
        stated = _united(_united(defaults, settings), shown)
        return merge(base or ModelConfig(), stated)
    backbone = _backbone_values(arrays)
    if base is None and backbone.get("stem_type") == "deeplab":
        backbone["res5_multi_grid"] = [1, 2, 4]
    is_mask2former = mask2former_architecture.is_mask2former(arrays)
    head = mask2former_architecture.head_values(arrays) if is_mask2former else _head_values(arrays)
    require_matrices(arrays, [*_head_matrices(head), *_backbone_matrices(backbone)])
    _require_shown(settings, head)
    # In one piece, because rules hold between the settings and what the arrays show.
    values = _united(settings, {**head, "backbone": {**backbone, **settings.get("backbone", {})}})
    return merge(base or ModelConfig(), values)


def _head_matrices(head: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Returns the largest matrices of the pixel decoder and the decoder, which grow with the product of two sizes."""
    parts = [head, *(part for part in head.values() if isinstance(part, Mapping))]
    hidden = max(part["hidden_dim"] for part in parts if "hidden_dim" in part)
    found = [("an attention", hidden, hidden), ("masks", hidden, head["mask_dim"])]
    found += [("classes", hidden, head["num_classes"]), ("queries", hidden, head["num_queries"])]
    for part in parts:
        found += [
            (f"`{name}`", part[name], hidden) for name in ("feedforward_dim", "pixel_decoder_dim") if name in part
        ]
    return found


def _backbone_matrices(backbone: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    if backbone["type"] == "swin":
        last = backbone["embed_dim"] * 8
        return [("a backbone", last, last), ("a window", backbone["window_size"] ** 2, max(backbone["num_heads"]))]
    channels = backbone["stage_channels"] or [backbone["res2_channels"] * 8]
    return [("a backbone", max(channels), backbone["bottleneck_channels"])]


def is_other_family(config: ModelConfig, arrays: Arrays) -> bool:
    """Returns whether a whole model's arrays are of another family than a network with these settings."""
    if eomt_architecture.is_eomt(arrays):
        return config.decoder.type != "eomt"
    kind = "masked_attention" if mask2former_architecture.is_mask2former(arrays) else "transformer"
    return any(name.startswith("sem_seg_head.") for name in arrays) and config.decoder.type != kind


def _require_shown(settings: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    differing = _differing(settings, shown)
    if differing:
        raise ValueError(f"The settings must be those that the arrays show. Received: {', '.join(differing)}")


def _differing(settings: Mapping[str, Any], shown: Mapping[str, Any], path: str = "") -> list[str]:
    """Lists where the settings contradict the arrays, one text each."""
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
    num_queries, hidden_dim = shape_of(arrays, f"{_PREDICTOR}.query_embed.weight")
    encoder_layers = count_of(arrays, rf"{re.escape(_ENCODER)}\.layers\.(\d+)\.")
    detr_layers = count_of(arrays, rf"{re.escape(_PREDICTOR)}\.transformer\.encoder\.layers\.(\d+)\.")
    feedforward = f"{_PREDICTOR}.transformer.decoder.layers.0.linear1.weight"
    values = {
        "num_classes": shape_of(arrays, f"{_PREDICTOR}.class_embed.weight")[0] - 1,
        "num_queries": num_queries,
        "hidden_dim": hidden_dim,
        "pixel_decoder_dim": shape_of(arrays, "sem_seg_head.pixel_decoder.layer_1.weight")[0],
        "mask_dim": shape_of(arrays, "sem_seg_head.pixel_decoder.mask_features.weight")[0],
        "feedforward_dim": shape_of(arrays, feedforward)[0],
        "num_decoder_layers": count_of(arrays, rf"{re.escape(_PREDICTOR)}\.transformer\.decoder\.layers\.(\d+)\."),
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
    blocks = tuple(count_of(arrays, rf"backbone\.res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5))
    is_basic = "backbone.res2.0.conv3.weight" not in arrays
    known: dict[tuple[int, ...], int] = {
        stages: depth for depth, stages in RESNET_BLOCKS.items() if (depth in _BASIC_DEPTHS) == is_basic
    }
    is_deeplab = "backbone.stem.conv2.weight" in arrays
    last_conv = "conv2" if is_basic else "conv3"
    channels = [shape_of(arrays, f"backbone.res{stage}.0.{last_conv}.weight")[0] for stage in (2, 3, 4, 5)]
    return {
        "type": "resnet",
        "depth": known.get(blocks, 18 if is_basic else 50),
        "stage_blocks": [] if blocks in known else blocks,
        "stage_channels": [] if channels == [channels[0] * 2**stage for stage in range(4)] else channels,
        "stem_type": "deeplab" if is_deeplab else "basic",
        "stem_channels": shape_of(arrays, f"backbone.stem.conv{3 if is_deeplab else 1}.weight")[0],
        "res2_channels": channels[0],
        "bottleneck_channels": shape_of(arrays, "backbone.res2.0.conv1.weight")[0],
    }


def _swin_values(arrays: Arrays) -> dict[str, Any]:
    tables = [
        shape_of(arrays, f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table") for stage in range(4)
    ]
    hidden_dim, embed_dim = shape_of(arrays, "backbone.layers.0.blocks.0.mlp.fc1.weight")
    return {
        "type": "swin",
        "embed_dim": embed_dim,
        "depths": [count_of(arrays, rf"backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4)],
        "num_heads": [heads for _, heads in tables],
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
        "mlp_ratio": hidden_dim / embed_dim,
    }
