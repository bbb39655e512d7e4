"""Hugging Face's names of a Mask2Former's pixel decoder and decoder -> the official ones, as a table of patterns."""

from __future__ import annotations

from typing import Any

_DECODER = r"model\.pixel_level_module\.decoder\."
_ENCODER_LAYER = _DECODER + r"encoder\.layers\.(\d+)\."
_MODULE = r"model\.transformer_module\."
_LAYER = _MODULE + r"decoder\.layers\.(\d+)\."
_TO_ENCODER_LAYER = r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1."
_PREDICTOR = "sem_seg_head.predictor."
_PARTS = {"q": "0", "k": "1", "v": "2"}

MASK2FORMER: list[tuple[str, Any]] = [
    (_DECODER + r"input_projections\.", "sem_seg_head.pixel_decoder.input_proj."),
    (_DECODER + r"level_embed$", "sem_seg_head.pixel_decoder.transformer.level_embed"),
    (_ENCODER_LAYER + r"self_attn\.", _TO_ENCODER_LAYER + "self_attn."),
    (_ENCODER_LAYER + r"self_attn_layer_norm\.", _TO_ENCODER_LAYER + "norm1."),
    (_ENCODER_LAYER + r"final_layer_norm\.", _TO_ENCODER_LAYER + "norm2."),
    (_ENCODER_LAYER + r"fc([12])\.", _TO_ENCODER_LAYER + r"linear\2."),
    (_DECODER + r"(adapter|layer)_(\d)\.0\.", r"sem_seg_head.pixel_decoder.\1_\2."),
    (_DECODER + r"(adapter|layer)_(\d)\.1\.", r"sem_seg_head.pixel_decoder.\1_\2.norm."),
    (_DECODER + r"mask_projection\.", "sem_seg_head.pixel_decoder.mask_features."),
    (_MODULE + r"queries_features\.", _PREDICTOR + "query_feat."),
    (_MODULE + r"queries_embedder\.", _PREDICTOR + "query_embed."),
    (_MODULE + r"level_embed\.", _PREDICTOR + "level_embed."),
    (_MODULE + r"input_projections\.(\d)\.", _PREDICTOR + r"input_proj.\1."),
    (
        _LAYER + r"self_attn\.([qkv])_proj\.(weight|bias)",
        lambda match: (
            f"{_PREDICTOR}transformer_self_attention_layers.{match[1]}.self_attn.in_proj_{match[3]}#{_PARTS[match[2]]}"
        ),
    ),
    (_LAYER + r"self_attn\.out_proj\.", _PREDICTOR + r"transformer_self_attention_layers.\1.self_attn.out_proj."),
    (_LAYER + r"self_attn_layer_norm\.", _PREDICTOR + r"transformer_self_attention_layers.\1.norm."),
    (_LAYER + r"cross_attn\.", _PREDICTOR + r"transformer_cross_attention_layers.\1.multihead_attn."),
    (_LAYER + r"cross_attn_layer_norm\.", _PREDICTOR + r"transformer_cross_attention_layers.\1.norm."),
    (_LAYER + r"fc([12])\.", _PREDICTOR + r"transformer_ffn_layers.\1.linear\2."),
    (_LAYER + r"final_layer_norm\.", _PREDICTOR + r"transformer_ffn_layers.\1.norm."),
    (_MODULE + r"decoder\.layernorm\.", _PREDICTOR + "decoder_norm."),
    (_MODULE + r"decoder\.mask_predictor\.mask_embedder\.(\d+)\.0\.", _PREDICTOR + r"mask_embed.layers.\1."),
    (r"class_predictor\.", _PREDICTOR + "class_embed."),
]
