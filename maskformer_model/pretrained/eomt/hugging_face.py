"""Hugging Face's and timm's names of an EoMT or of a ViT alone -> the official EoMT's, as tables of patterns."""

from __future__ import annotations

from typing import Any

from maskformer_model.pretrained.eomt.names import BACKBONE

_LAYER = r"(?:model\.|encoder\.)?layers?\.(\d+)\."
_TO_BLOCK = BACKBONE + r".blocks.\1."
_Q_K_V = {"q": "0", "k": "1", "v": "2", "query": "0", "key": "1", "value": "2"}

_HEADS: list[tuple[str, Any]] = [
    (r"query\.", "q."),
    (r"class_predictor\.", "class_head."),
    (r"mask_head\.fc([123])\.", lambda match: f"mask_head.{2 * int(match[1]) - 2}."),
    (r"upscale_block\.block\.(\d+)\.layernorm2d\.", r"upscale.\1.norm."),
    (r"upscale_block\.block\.(\d+)\.", r"upscale.\1."),
]


def _stacked(name: str) -> Any:
    return lambda match: f"{BACKBONE}.blocks.{match[1]}.{name}.{match[3]}#{_Q_K_V[match[2]]}"


def _gated(match: Any) -> str:
    return f"{BACKBONE}.blocks.{match[1]}.mlp.fc1.{match[3]}#{'0' if match[2] == 'gate' else '1'}of2"


# An `eomt`, and a `dinov2_with_registers` alone, whose positions begin with the class token's.
EOMT: list[tuple[str, Any]] = [
    *_HEADS,
    (r"embeddings\.cls_token$", f"{BACKBONE}.cls_token"),
    (r"embeddings\.register_tokens$", f"{BACKBONE}.reg_token"),
    (r"embeddings\.position_embeddings(?:\.weight)?$", f"{BACKBONE}.pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.", f"{BACKBONE}.patch_embed.proj."),
    (_LAYER + r"attention\.([qkv])_proj\.(weight|bias)", _stacked("attn.qkv")),
    (_LAYER + r"attention\.attention\.(query|key|value)\.(weight|bias)", _stacked("attn.qkv")),
    (_LAYER + r"attention\.(?:out_proj|output\.dense)\.", _TO_BLOCK + "attn.proj."),
    (_LAYER + r"layer_scale([12])\.lambda1$", _TO_BLOCK + r"ls\2.gamma"),
    (_LAYER + r"mlp\.weights_in\.", _TO_BLOCK + "mlp.fc1."),
    (_LAYER + r"mlp\.(?:weights_out|down_proj)\.", _TO_BLOCK + "mlp.fc2."),
    (_LAYER + r"mlp\.(gate|up)_proj\.(weight|bias)", _gated),
    (_LAYER, _TO_BLOCK),
    (r"layernorm\.", f"{BACKBONE}.norm."),
]

# An `eomt_dinov3`, and a `dinov3_vit` alone.
EOMT_DINOV3: list[tuple[str, Any]] = [
    *_HEADS,
    (r"embeddings\.", f"{BACKBONE}.patch_embed."),
    (_LAYER, _TO_BLOCK),
    (r"(?:layernorm|norm)\.", f"{BACKBONE}.norm."),
]

# A ViT of timm's; `head` classifies.
TIMM_VIT: list[tuple[str, Any]] = [
    (r"(cls_token|reg_token|pos_embed)$", rf"{BACKBONE}.\1"),
    (r"(patch_embed|blocks|norm)\.", rf"{BACKBONE}.\1."),
]
