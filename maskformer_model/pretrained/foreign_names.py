"""Weights of other formats, renamed to the official MaskFormer's names and put together as there.

A format is a table of patterns. Whatever no pattern knows keeps its name and is reported as left over when it is
written into a model (see `weight_table`); only what follows from other values or is not used at all is dropped here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.pretrained.eomt.hugging_face import EOMT, EOMT_DINOV3, TIMM_VIT
from maskformer_model.pretrained.eomt.names import BACKBONE as EOMT_BACKBONE
from maskformer_model.pretrained.hugging_face_mask2former import MASK2FORMER

Arrays = Mapping[str, np.ndarray]

# Buffers that the architecture implies, and counters that nothing reads.
_NOT_WEIGHTS = re.compile(
    r"(^|\.)(num_batches_tracked|relative_position_index|attn_mask)$|(^|\.)criterion\.empty_weight$|(^|\.)pixel_(mean|std)$"
)
_PART = re.compile(r"(.*)#([012])(of2)?$")
_TOKENS = re.compile(rf"{re.escape(EOMT_BACKBONE)}\.(cls_token|reg_token|pos_embed)$")

_HF_BACKBONE = r"model\.pixel_level_module\.encoder\."
_HF_SWIN = _HF_BACKBONE + r"(?:(?:model|swin)\.)?"  # MaskFormer's; Mask2Former's has no wrapper but for one norm.
_HF_SWIN_BLOCK = _HF_SWIN + r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_HF_FPN = r"model\.pixel_level_module\.decoder\."
_HF_LAYER = r"model\.transformer_module\.decoder\.layers\.(\d+)\."
_BLOCK = r"backbone.layers.\1.blocks.\2."
_LAYER = r"sem_seg_head.predictor.transformer.decoder.layers.\1."
_Q_K_V = {"q": "0", "k": "1", "v": "2", "query": "0", "key": "1", "value": "2"}


def _hf_conv_norm(prefix: str, target: Any) -> list[tuple[str, Any]]:
    def norm_target(match: re.Match[str]) -> str:
        return (target(match) if callable(target) else match.expand(target)) + ".norm."

    def conv_target(match: re.Match[str]) -> str:
        return (target(match) if callable(target) else match.expand(target)) + "."

    return [(prefix + r"\.convolution\.", conv_target), (prefix + r"\.normalization\.", norm_target)]


_HUGGING_FACE_BACKBONE: list[tuple[str, Any]] = [
    *_hf_conv_norm(_HF_BACKBONE + r"embedder\.embedder", "backbone.stem.conv1"),
    *_hf_conv_norm(
        _HF_BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)",
        lambda match: f"backbone.res{int(match[1]) + 2}.{match[2]}.conv{int(match[3]) + 1}",
    ),
    *_hf_conv_norm(
        _HF_BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut",
        lambda match: f"backbone.res{int(match[1]) + 2}.{match[2]}.shortcut",
    ),
    (_HF_SWIN + r"embeddings\.patch_embeddings\.projection\.", "backbone.patch_embed.proj."),
    (_HF_SWIN + r"embeddings\.norm\.", "backbone.patch_embed.norm."),
    (_HF_BACKBONE + r"hidden_states_norms\.(\d+)\.", r"backbone.norm\1."),
    (_HF_BACKBONE + r"hidden_states_norms\.stage(\d)\.", lambda match: f"backbone.norm{int(match[1]) - 1}."),
    (_HF_SWIN + r"encoder\.layers\.(\d+)\.downsample\.", r"backbone.layers.\1.downsample."),
    (_HF_SWIN_BLOCK + r"attention\.self\.relative_position", _BLOCK + "attn.relative_position"),
    (
        _HF_SWIN_BLOCK + r"attention\.self\.(query|key|value)\.(weight|bias)",
        lambda match: f"backbone.layers.{match[1]}.blocks.{match[2]}.attn.qkv.{match[4]}#{_Q_K_V[match[3]]}",
    ),
    (_HF_SWIN_BLOCK + r"attention\.output\.dense\.", _BLOCK + "attn.proj."),
    (_HF_SWIN_BLOCK + r"layernorm_before\.", _BLOCK + "norm1."),
    (_HF_SWIN_BLOCK + r"layernorm_after\.", _BLOCK + "norm2."),
    (_HF_SWIN_BLOCK + r"intermediate\.dense\.", _BLOCK + "mlp.fc1."),
    (_HF_SWIN_BLOCK + r"output\.dense\.", _BLOCK + "mlp.fc2."),
]

_HUGGING_FACE: list[tuple[str, Any]] = [
    *_HUGGING_FACE_BACKBONE,
    (_HF_FPN + r"fpn\.stem\.0\.", "sem_seg_head.pixel_decoder.layer_4."),
    (_HF_FPN + r"fpn\.stem\.1\.", "sem_seg_head.pixel_decoder.layer_4.norm."),
    (
        _HF_FPN + r"fpn\.layers\.(\d+)\.(proj|block)\.([01])\.",
        lambda match: (
            f"sem_seg_head.pixel_decoder.{'adapter' if match[2] == 'proj' else 'layer'}_{3 - int(match[1])}."
            + ("norm." if match[3] == "1" else "")
        ),
    ),
    (_HF_FPN + r"mask_projection\.", "sem_seg_head.pixel_decoder.mask_features."),
    (
        _HF_LAYER + r"(self|encoder)_attn\.([qkv])_proj\.(weight|bias)",
        lambda match: match.expand(_LAYER) + f"{_hf_attention(match[2])}.in_proj_{match[4]}#{_Q_K_V[match[3]]}",
    ),
    (
        _HF_LAYER + r"(self|encoder)_attn\.out_proj\.",
        lambda match: match.expand(_LAYER) + f"{_hf_attention(match[2])}.out_proj.",
    ),
    (_HF_LAYER + r"self_attn_layer_norm\.", _LAYER + "norm1."),
    (_HF_LAYER + r"encoder_attn_layer_norm\.", _LAYER + "norm2."),
    (_HF_LAYER + r"final_layer_norm\.", _LAYER + "norm3."),
    (_HF_LAYER + r"fc([12])\.", _LAYER + r"linear\2."),
    (r"model\.transformer_module\.decoder\.layernorm\.", "sem_seg_head.predictor.transformer.decoder.norm."),
    (r"model\.transformer_module\.queries_embedder\.", "sem_seg_head.predictor.query_embed."),
    (r"model\.transformer_module\.input_projection\.", "sem_seg_head.predictor.input_proj."),
    (r"class_predictor\.", "sem_seg_head.predictor.class_embed."),
    (r"mask_embedder\.(\d+)\.0\.", r"sem_seg_head.predictor.mask_embed.layers.\1."),
]

_HUGGING_FACE_MASK2FORMER = [*_HUGGING_FACE_BACKBONE, *MASK2FORMER]

_TORCHVISION_RESNET: list[tuple[str, Any]] = [
    (r"conv1\.", "backbone.stem.conv1."),
    (r"bn1\.", "backbone.stem.conv1.norm."),
    (r"layer(\d)\.(\d+)\.conv(\d)\.", lambda m: f"backbone.res{int(m[1]) + 1}.{m[2]}.conv{m[3]}."),
    (r"layer(\d)\.(\d+)\.bn(\d)\.", lambda m: f"backbone.res{int(m[1]) + 1}.{m[2]}.conv{m[3]}.norm."),
    (r"layer(\d)\.(\d+)\.downsample\.0\.", lambda m: f"backbone.res{int(m[1]) + 1}.{m[2]}.shortcut."),
    (r"layer(\d)\.(\d+)\.downsample\.1\.", lambda m: f"backbone.res{int(m[1]) + 1}.{m[2]}.shortcut.norm."),
]

_DETECTRON2_BACKBONE: list[tuple[str, Any]] = [(r"(stem|res[2-5])\.", r"backbone.\1.")]
_SWIN_BACKBONE: list[tuple[str, Any]] = [(r"(patch_embed|layers|norm[0-3])\.", r"backbone.\1.")]
_CONVNEXT_BACKBONE: list[tuple[str, Any]] = [(r"(downsample_layers|stages|norm[0-3])\.", r"backbone.\1.")]
_TIMM_CONVNEXT: list[tuple[str, Any]] = [
    (r"stem\.", "backbone.downsample_layers.0."),
    (r"stages\.(\d)\.downsample\.", r"backbone.downsample_layers.\1."),
    (r"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.", r"backbone.stages.\1.\2.dwconv."),
    (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc([12])\.", r"backbone.stages.\1.\2.pwconv\3."),
    (r"stages\.(\d)\.blocks\.(\d+)\.", r"backbone.stages.\1.\2."),
]
_HF_CONVNEXT = r"(?:convnext\.)?"
_HUGGING_FACE_CONVNEXT: list[tuple[str, Any]] = [
    (_HF_CONVNEXT + r"embeddings\.patch_embeddings\.", "backbone.downsample_layers.0.0."),
    (_HF_CONVNEXT + r"embeddings\.layernorm\.", "backbone.downsample_layers.0.1."),
    (_HF_CONVNEXT + r"encoder\.stages\.(\d)\.downsampling_layer\.", r"backbone.downsample_layers.\1."),
    (_HF_CONVNEXT + r"encoder\.stages\.(\d)\.layers\.(\d+)\.layernorm\.", r"backbone.stages.\1.\2.norm."),
    (_HF_CONVNEXT + r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer_scale_parameter$", r"backbone.stages.\1.\2.gamma"),
    (_HF_CONVNEXT + r"encoder\.stages\.(\d)\.layers\.(\d+)\.", r"backbone.stages.\1.\2."),
    (r"hidden_states_norms\.stage(\d)\.", lambda match: f"backbone.norm{int(match[1]) - 1}."),
]
# Before its second version the head held the pixel decoder's layers itself (reference `mask_former_head.py`).
# The published Mask2Formers call their queries `static_query` (`mask2former_transformer_decoder.py`).
_OLD_OFFICIAL: list[tuple[str, Any]] = [
    (r"sem_seg_head\.predictor\.static_query\.", "sem_seg_head.predictor.query_feat."),
    (r"sem_seg_head\.(?!predictor\.|pixel_decoder\.)", "sem_seg_head.pixel_decoder."),
]

# What wrappers put before names, and by what names without a wrapper are known.
_WRAPPERS = ("module.", "model.", "net.", "network.")
_FIRST_NAMES = (
    "sem_seg_head.",
    "backbone.",
    "model.pixel_level_module.",
    "pixel_level_module.",
    f"{EOMT_BACKBONE}.",
    "embeddings.",
)
_HF_CONVNEXT_STEMS = ("convnext.embeddings.patch_embeddings.weight", "embeddings.patch_embeddings.weight")
_OF_BACKBONES = (
    *("layer1.0.conv1.weight", "res2.0.conv1.weight", "patch_embed.proj.weight"),
    *("downsample_layers.0.0.weight", "stages.0.blocks.0.conv_dw.weight", *_HF_CONVNEXT_STEMS),
)


def _hf_attention(kind: str) -> str:
    return "self_attn" if kind == "self" else "multihead_attn"


def official_names(arrays: Arrays) -> dict[str, np.ndarray]:
    """Returns a MaskFormer's or an ImageNet backbone's arrays under the official names, whatever wrote them.

    Known: the official MaskFormer (both versions of its names), Mask2Former and EoMT, Hugging Face's of all three, with
    or without heads, torchvision's and detectron2's ResNet, the Swin authors' ImageNet checkpoints, ConvNeXts of their
    authors, timm and Hugging Face, and ViTs with registers of timm and Hugging Face. Prefixes of wrappers (`module.`,
    `_orig_mod.`, Lightning's `model.`) are taken off. The classifier of an ImageNet checkpoint is dropped, and so is
    the norm that feeds it.

    Args:
        arrays: Name -> array.

    Returns:
        Official name -> array; arrays are stacked where the official model has one for several.

    Raises:
        ValueError: if the names look like none of these.
    """
    arrays = _unwrapped({name: array for name, array in arrays.items() if not _NOT_WEIGHTS.search(name)})
    if any(name.startswith(f"{EOMT_BACKBONE}.") for name in arrays):
        return arrays
    if "embeddings.register_tokens" in arrays:
        return _vit_of_hugging_face(arrays)
    if "patch_embed.proj.weight" in arrays and "cls_token" in arrays:
        return _rename(_without(arrays, r"(head|fc_norm)\."), TIMM_VIT)
    if any(name.startswith("sem_seg_head.") for name in arrays):
        return _rename(arrays, _OLD_OFFICIAL)
    if any(name.startswith("model.pixel_level_module.") for name in arrays):
        arrays = _without(arrays, _HF_SWIN + r"layernorm\.")
        is_mask2former = "model.transformer_module.queries_features.weight" in arrays
        return _stack_parts(_rename(arrays, _HUGGING_FACE_MASK2FORMER if is_mask2former else _HUGGING_FACE))
    if "layer1.0.conv1.weight" in arrays:
        return _rename(_without(arrays, r"fc\."), _TORCHVISION_RESNET)
    if "res2.0.conv1.weight" in arrays:
        return _rename(_without(arrays, r"(stem\.)?fc\."), _DETECTRON2_BACKBONE)
    if "patch_embed.proj.weight" in arrays:
        return _rename(_without(arrays, r"(norm|head)\."), _SWIN_BACKBONE)
    if "downsample_layers.0.0.weight" in arrays:
        return _rename(_without(arrays, r"(norm|head)\."), _CONVNEXT_BACKBONE)
    if "stages.0.blocks.0.conv_dw.weight" in arrays:
        return _rename(_without(arrays, r"head\."), _TIMM_CONVNEXT)
    if not arrays.keys().isdisjoint(_HF_CONVNEXT_STEMS):
        return _rename(_without(arrays, r"(convnext\.)?layernorm\.|classifier\."), _HUGGING_FACE_CONVNEXT)
    raise ValueError(
        "The names in a checkpoint must be those of MaskFormer, Mask2Former or EoMT (official or Hugging Face) or of "
        "an ImageNet ResNet, Swin or ConvNeXt (torchvision, detectron2, official, timm, Hugging Face) or a ViT with "
        "registers (timm, Hugging Face). "
        f"Received: {', '.join(sorted(arrays)[:5])}, ..."
    )


def _unwrapped(arrays: Arrays) -> dict[str, np.ndarray]:
    """Takes off what wrappers (parallel training, compilation, Lightning modules) put before every name."""
    arrays = {name.replace("_orig_mod.", ""): array for name, array in arrays.items()}
    while not any(name.startswith(_FIRST_NAMES) or name in _OF_BACKBONES for name in arrays):
        prefix = next((prefix for prefix in _WRAPPERS if any(name.startswith(prefix) for name in arrays)), None)
        if prefix is None:
            break
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    if any(name.startswith("pixel_level_module.") for name in arrays):  # Hugging Face's model without its heads.
        arrays = {f"model.{name}": array for name, array in arrays.items()}
    return dict(arrays)


def _vit_of_hugging_face(arrays: Arrays) -> dict[str, np.ndarray]:
    """An EoMT, or a ViT alone; the token that stood for hidden patches in its training is left out."""
    arrays = _without(arrays, r"embeddings\.mask_token$")
    is_dinov2 = "embeddings.patch_embeddings.projection.weight" in arrays
    renamed = _stack_parts(_rename(arrays, EOMT if is_dinov2 else EOMT_DINOV3))
    # Tables are batches of one officially.
    return {name: array[None] if _TOKENS.match(name) and array.ndim == 2 else array for name, array in renamed.items()}


def _without(arrays: Arrays, prefix: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not re.match(prefix, name)}


def _rename(arrays: Arrays, patterns: list[tuple[str, Any]]) -> dict[str, np.ndarray]:
    renamed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        new_name = name
        for pattern, replacement in patterns:
            new_name, count = re.subn(f"^(?:{pattern})", replacement, name)
            if count:
                break
        if new_name in renamed:
            raise ValueError(f"Two arrays of the checkpoint stand for `{new_name}`; one of them is `{name}`.")
        renamed[new_name] = array
    return renamed


def _stack_parts(arrays: Arrays) -> dict[str, np.ndarray]:
    stacked = {name: array for name, array in arrays.items() if not _PART.match(name)}
    parts = {(match[1], match[3] or "") for match in map(_PART.match, arrays) if match}
    for name, of_two in parts:
        count = 2 if of_two else 3
        pieces = [arrays[key] for part in range(count) if (key := f"{name}#{part}{of_two}") in arrays]
        if len(pieces) < count:
            what = "gate and value of a feed-forward layer" if of_two else "query, key and value of an attention"
            raise ValueError(f"A checkpoint must hold {what}. Missing for: `{name}`")
        stacked[name] = np.concatenate(pieces)
    return stacked
