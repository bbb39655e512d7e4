"""Which variable of ours holds which weight of the official EoMT.

Names are those of the reference's state dict without `network.`; its ViT is timm's (DINOv2) or Hugging Face's (DINOv3).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from maskformer_model.pretrained.tables.weight_table import (
    CONVOLUTION,
    DEPTHWISE,
    GATED_LINEAR,
    GATED_VECTOR,
    LINEAR,
    QKV_LINEAR,
    QKV_VECTOR,
    TABLE,
    TOKENS,
    VECTOR,
    Weight,
    norm_weights_of,
    weights_of,
)

BACKBONE = "encoder.backbone"


@dataclasses.dataclass(frozen=True)
class _Dialect:
    """What the two libraries call the same part."""

    class_token: str
    registers: str
    patch_embedding: str
    layer_scale: str
    attention_output: str
    linear1: str
    linear2: str


_TIMM = _Dialect(
    "cls_token", "reg_token", "patch_embed.proj", "ls{}.gamma", "attn.proj", linear1="mlp.fc1", linear2="mlp.fc2"
)
_HUGGING_FACE = _Dialect(
    "patch_embed.cls_token",
    "patch_embed.register_tokens",
    "patch_embed.patch_embeddings",
    "layer_scale{}.lambda1",
    "attention.o_proj",
    linear1="mlp.up_proj",
    linear2="mlp.down_proj",
)


def vit_weights(backbone: Any) -> list[Weight]:
    """Every weight of a built `VisionTransformer`."""
    is_learned = backbone.config.position_encoding == "learned"
    dialect = _TIMM if is_learned else _HUGGING_FACE
    found = [
        Weight(f"{BACKBONE}.{dialect.class_token}", (backbone.class_token,), TOKENS),
        Weight(f"{BACKBONE}.{dialect.registers}", (backbone.registers,), TOKENS),
    ]
    if is_learned:
        found.append(Weight(f"{BACKBONE}.pos_embed", (backbone.position_embedding,), TOKENS))
    found += weights_of(f"{BACKBONE}.{dialect.patch_embedding}", backbone.patch_embedding, CONVOLUTION)
    return found + _blocks_weights(backbone.blocks)


def decoder_weights(prefix: str, decoder: Any) -> list[Weight]:
    """Every weight of a built `EomtDecoder`, the ViT's last blocks among them; `prefix` is not used."""
    found = _blocks_weights(decoder.backbone)
    found.append(Weight("q.weight", (decoder.queries,), TABLE))
    found.append(Weight("attn_mask_probs", (decoder.mask_probability,), VECTOR))
    found += weights_of("class_head", decoder.class_head, LINEAR)
    for index, layer in enumerate(decoder.mask_head):
        found += weights_of(f"mask_head.{2 * index}", layer, LINEAR)
    for index, layer in enumerate(decoder.upscalings):
        found += weights_of(f"upscale.{index}.conv1", layer, CONVOLUTION)
        found.append(Weight(f"upscale.{index}.conv2.weight", (layer.depthwise.kernel,), DEPTHWISE))
        found += norm_weights_of(f"upscale.{index}.norm", layer.norm)
    return found


def _blocks_weights(run: Any) -> list[Weight]:
    is_timm = run.config.position_encoding == "learned"
    found = []
    for block in run.blocks:
        prefix = f"{BACKBONE}.blocks.{block.name.rpartition('_')[2]}"
        found += _block_weights(prefix, block, _TIMM if is_timm else _HUGGING_FACE)
        found += _timm_projections(prefix, block) if is_timm else _hugging_face_projections(prefix, block)
    return found + (norm_weights_of(f"{BACKBONE}.norm", run.norm) if run.norm is not None else [])


def _block_weights(prefix: str, block: Any, dialect: _Dialect) -> list[Weight]:
    scales = (block.layer_scale1, block.layer_scale2)
    return [
        *norm_weights_of(f"{prefix}.norm1", block.norm1),
        *weights_of(f"{prefix}.{dialect.attention_output}", block.attention.output_projection, LINEAR),
        *norm_weights_of(f"{prefix}.norm2", block.norm2),
        *weights_of(f"{prefix}.{dialect.linear2}", block.linear2, LINEAR),
        *(
            Weight(f"{prefix}.{dialect.layer_scale.format(number)}", (scale,), VECTOR)
            for number, scale in enumerate(scales, start=1)
        ),
    ]


def _timm_projections(prefix: str, block: Any) -> list[Weight]:
    """Query, key and value in one; a gate and what it gates in one."""
    layers = (block.attention.query, block.attention.key, block.attention.value)
    found = [
        Weight(f"{prefix}.attn.qkv.weight", tuple(layer.kernel for layer in layers), QKV_LINEAR),
        Weight(f"{prefix}.attn.qkv.bias", tuple(layer.bias for layer in layers), QKV_VECTOR),
    ]
    if block.gate is None:
        return found + weights_of(f"{prefix}.mlp.fc1", block.linear1, LINEAR)
    return [
        *found,
        Weight(f"{prefix}.mlp.fc1.weight", (block.gate.kernel, block.linear1.kernel), GATED_LINEAR),
        Weight(f"{prefix}.mlp.fc1.bias", (block.gate.bias, block.linear1.bias), GATED_VECTOR),
    ]


def _hugging_face_projections(prefix: str, block: Any) -> list[Weight]:
    attention = block.attention
    found = []
    for name, layer in (("q_proj", attention.query), ("k_proj", attention.key), ("v_proj", attention.value)):
        found += weights_of(f"{prefix}.attention.{name}", layer, LINEAR)
    if block.gate is not None:
        found += weights_of(f"{prefix}.mlp.gate_proj", block.gate, LINEAR)
    return found + weights_of(f"{prefix}.mlp.up_proj", block.linear1, LINEAR)
