"""The pixel decoder and the decoder that a Mask2Former's arrays were made for, and what its settings say of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.pretrained.tables.shown_sizes import count_of, shape_of

Arrays = Mapping[str, np.ndarray]

_PIXEL_DECODER = "sem_seg_head.pixel_decoder"
_PREDICTOR = "sem_seg_head.predictor"
_STAGES = ("res2", "res3", "res4", "res5")
_POINTS = 4  # Of a head on a level: the reference has no setting for it.


def is_mask2former(arrays: Arrays) -> bool:
    """Returns whether the arrays, under official names, are those of a Mask2Former."""
    return f"{_PREDICTOR}.query_feat.weight" in arrays


def head_values(arrays: Arrays) -> dict[str, Any]:
    """Nested values of `ModelConfig`, without the backbone, that the arrays of a Mask2Former show.

    Raises:
        ValueError: if an array is missing.
    """
    num_queries, hidden_dim = shape_of(arrays, f"{_PREDICTOR}.query_feat.weight")
    num_levels, dim = shape_of(arrays, f"{_PIXEL_DECODER}.transformer.level_embed")
    encoder = f"{_PIXEL_DECODER}.transformer.encoder.layers"
    (weights,) = shape_of(arrays, f"{encoder}.0.self_attn.attention_weights.bias")
    num_heads = weights // (num_levels * _POINTS)
    return {
        "num_classes": shape_of(arrays, f"{_PREDICTOR}.class_embed.weight")[0] - 1,
        "num_queries": num_queries,
        "mask_dim": shape_of(arrays, f"{_PIXEL_DECODER}.mask_features.weight")[0],
        "pixel_decoder": {
            "type": "deformable",
            "hidden_dim": dim,
            "encoder_stages": list(_STAGES[-num_levels:]),
            "encoder_layers": count_of(arrays, rf"{re.escape(encoder)}\.(\d+)\."),
            "num_heads": num_heads,
            "num_points": _POINTS,
            "feedforward_dim": shape_of(arrays, f"{encoder}.0.linear1.weight")[0],
        },
        "decoder": {
            "type": "masked_attention",
            "hidden_dim": hidden_dim,
            "num_layers": count_of(arrays, rf"{re.escape(_PREDICTOR)}\.transformer_ffn_layers\.(\d+)\."),
            "num_heads": num_heads,  # The reference has one setting for both.
            "feedforward_dim": shape_of(arrays, f"{_PREDICTOR}.transformer_ffn_layers.0.linear1.weight")[0],
            "enforce_input_projection": f"{_PREDICTOR}.input_proj.0.weight" in arrays,
        },
    }


def golden_settings(golden: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `ModelConfig`, without the backbone, from the official configuration's names.

    Raises:
        ValueError: if it asks for something that this model does not have.
    """
    head, options = golden["sem_seg_head"], golden["mask_former"]
    for holder, key, only in (
        (options, "TRANSFORMER_IN_FEATURE", "multi_scale_pixel_decoder"),
        (options, "TRANSFORMER_DECODER_NAME", "MultiScaleMaskedTransformerDecoder"),
        (head, "COMMON_STRIDE", 4),
        (head, "IN_FEATURES", [*_STAGES]),
    ):
        if holder.get(key, only) != only:
            raise ValueError(f"golden.json: `{key}` must be {only!r}. Received: {holder[key]!r}")
    return {
        "num_classes": head["NUM_CLASSES"],
        "num_queries": options["NUM_OBJECT_QUERIES"],
        "mask_dim": head["MASK_DIM"],
        "pixel_decoder": {
            "type": "deformable",
            "hidden_dim": head["CONVS_DIM"],
            "encoder_stages": sorted(head["DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"]),
            "encoder_layers": head["TRANSFORMER_ENC_LAYERS"],
            "num_heads": options["NHEADS"],
            "feedforward_dim": head.get("ENCODER_DIM_FEEDFORWARD", 1024),
            "dropout": options["DROPOUT"],
        },
        "decoder": {
            "type": "masked_attention",
            "hidden_dim": options["HIDDEN_DIM"],
            "num_layers": options["DEC_LAYERS"] - 1,
            "num_heads": options["NHEADS"],
            "feedforward_dim": options["DIM_FEEDFORWARD"],
            "pre_norm": options["PRE_NORM"],
            "deep_supervision": options["DEEP_SUPERVISION"],
        },
    }
