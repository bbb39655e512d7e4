"""The network that an EoMT's arrays were made for, and what its settings say of it; and a ViT's alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.pretrained.eomt.names import BACKBONE
from maskformer_model.pretrained.tables.shown_sizes import count_of, require_matrices, shape_of

Arrays = Mapping[str, np.ndarray]

_HEAD_DIM = 64  # Of every published ViT; arrays do not show it.
_DINOV3_NORM_EPSILON = 1e-5  # Hugging Face's default.
_MASK_PROBABILITIES = "attn_mask_probs"


def is_eomt(arrays: Arrays) -> bool:
    """Returns whether the arrays, under official names, are those of an EoMT."""
    return "q.weight" in arrays


def values(arrays: Arrays) -> dict[str, Any]:
    """Nested values of `ModelConfig` that the arrays of an EoMT show.

    Raises:
        ValueError: if an array is missing.
    """
    num_queries, dim = shape_of(arrays, "q.weight")
    (num_blocks,) = shape_of(arrays, _MASK_PROBABILITIES)
    require_matrices(arrays, [("queries", dim, dim), ("blocks", num_blocks, 1)])
    num_blocks_in_all = count_of(arrays, rf"{re.escape(BACKBONE)}\.blocks\.(\d+)\.")
    return {
        "num_classes": shape_of(arrays, "class_head.bias")[0] - 1,
        "num_queries": num_queries,
        "mask_dim": dim,
        "backbone": {**_vit_values(arrays), "depth": num_blocks_in_all - num_blocks},
        "pixel_decoder": {"type": "none"},
        "decoder": {"type": "eomt", "num_blocks": num_blocks},
    }


def _vit_values(arrays: Arrays) -> dict[str, Any]:
    """The settings of the ViT, without its depth."""
    is_learned = f"{BACKBONE}.pos_embed" in arrays
    names = ("patch_embed.proj", "reg_token", "mlp.fc1", "mlp.fc2")
    if not is_learned:
        names = ("patch_embed.patch_embeddings", "patch_embed.register_tokens", "mlp.up_proj", "mlp.down_proj")
    embedding, registers, linear1, linear2 = names
    dim, _, patch_size, _ = shape_of(arrays, f"{BACKBONE}.{embedding}.weight")
    mlp_dim = shape_of(arrays, f"{BACKBONE}.blocks.0.{linear2}.weight")[1]
    is_packed = shape_of(arrays, f"{BACKBONE}.blocks.0.{linear1}.weight")[0] == 2 * mlp_dim
    is_gated = is_packed or f"{BACKBONE}.blocks.0.mlp.gate_proj.weight" in arrays
    return {
        "type": "vit",
        "patch_size": patch_size,
        "embed_dim": dim,
        "mlp_dim": mlp_dim,
        "mlp_kind": "swiglu" if is_gated else "gelu",
        "num_registers": shape_of(arrays, f"{BACKBONE}.{registers}")[1],
        "position_encoding": "learned" if is_learned else "rotary",
        "key_bias": is_learned or f"{BACKBONE}.blocks.0.attention.k_proj.bias" in arrays,
    }


def defaults(arrays: Arrays) -> dict[str, Any]:
    """What arrays do not show and no settings say: the published networks' heads, and a square photo."""
    backbone: dict[str, Any] = {"num_heads": max(1, shape_of(arrays, "q.weight")[1] // _HEAD_DIM)}
    name = f"{BACKBONE}.pos_embed"
    if name in arrays:
        patch_size = shape_of(arrays, f"{BACKBONE}.patch_embed.proj.weight")[-1]
        backbone["image_size_px"] = [math.isqrt(shape_of(arrays, name)[1]) * patch_size] * 2
    else:
        backbone |= {"norm_epsilon": _DINOV3_NORM_EPSILON, "layer_scale": 1.0}
    # Where no block ever gave up its masks, the network was never without them.
    never_annealed = bool((arrays[_MASK_PROBABILITIES] == 1).all())
    return {"backbone": backbone, "decoder": {"masks_at_inference": never_annealed}}


def golden_settings(golden: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `ModelConfig` from an EoMT's `golden.json`."""
    network = golden["network"]
    sizes = {**(network.get("vit") or {}), **(network.get("dinov3") or {})}
    backbone: dict[str, Any] = {"image_size_px": list(network["img_size"]), "rope_rescale": 1.0}
    heads = sizes.get("num_attention_heads", sizes.get("num_heads"))
    if heads:
        backbone["num_heads"] = heads
    for key, setting in (("layer_norm_eps", "norm_epsilon"), ("rope_theta", "rope_base")):
        if key in sizes:
            backbone[setting] = sizes[key]
    train, decoder = golden.get("train", {}), {"masks_at_inference": False}
    if train.get("attn_mask_annealing_enabled"):
        for edge in ("start", "end"):
            decoder[f"mask_annealing_{edge}s"] = train[f"attn_mask_annealing_{edge}_steps"]
        decoder["mask_annealing_power"] = train.get("poly_power", 0.9)
    return {
        "num_classes": network["num_classes"],
        "num_queries": network["num_q"],
        "backbone": backbone,
        "decoder": decoder,
    }


def hugging_face_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `ModelConfig` from a Hugging Face `config.json` of an `eomt` or `eomt_dinov3`."""
    # Hugging Face leaves settings out that have their default values.
    size, rope = config.get("image_size", 640), config.get("rope_parameters") or {}
    backbone: dict[str, Any] = {
        "image_size_px": [size, size] if isinstance(size, int) else list(size),
        "num_heads": config.get("num_attention_heads", 16),
        "norm_epsilon": config.get("layer_norm_eps", 1e-6),
    }
    if config["model_type"] == "eomt_dinov3":
        backbone["rope_base"] = rope.get("rope_theta", config.get("rope_theta", 100.0))
        backbone["rope_rescale"] = config.get("pos_embed_rescale", 2.0) or 1.0
    return {"backbone": backbone, "decoder": {}}
