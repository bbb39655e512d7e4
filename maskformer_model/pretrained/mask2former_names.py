"""Which variable of ours holds which weight of the official Mask2Former's pixel decoder and transformer decoder."""

from __future__ import annotations

from typing import Any

from maskformer_model.pretrained.tables.weight_table import (
    LINEAR,
    TABLE,
    Weight,
    attention_weights_of,
    conv_norm_weights_of,
    norm_weights_of,
    weights_of,
)


def pixel_decoder_weights(prefix: str, decoder: Any) -> list[Weight]:
    """Every weight of a built `DeformablePixelDecoder` (reference `MSDeformAttnPixelDecoder`)."""
    found = []
    pairs = zip(decoder.input_projections, decoder.input_norms, strict=True)
    for level, (projection, norm) in enumerate(pairs):
        found += conv_norm_weights_of(f"{prefix}.input_proj.{level}.0", projection)
        found += norm_weights_of(f"{prefix}.input_proj.{level}.1", norm)
    found.append(Weight(f"{prefix}.transformer.level_embed", (decoder.encoder.level_position,), TABLE))
    for index, layer in enumerate(decoder.encoder.encoder_layers):
        found += _encoder_layer_weights(f"{prefix}.transformer.encoder.layers.{index}", layer)
    for stage, adapter, fusion in zip(decoder.pyramid_stages, decoder.adapters, decoder.fusions, strict=True):
        number = int(stage[-1]) - 1
        found += conv_norm_weights_of(f"{prefix}.adapter_{number}", adapter)
        found += conv_norm_weights_of(f"{prefix}.layer_{number}", fusion)
    return found + conv_norm_weights_of(f"{prefix}.mask_features", decoder.mask_features)


def _encoder_layer_weights(prefix: str, layer: Any) -> list[Weight]:
    attention = layer.attention
    return [
        *weights_of(f"{prefix}.self_attn.sampling_offsets", attention.offsets, LINEAR),
        *weights_of(f"{prefix}.self_attn.attention_weights", attention.weights_of_points, LINEAR),
        *weights_of(f"{prefix}.self_attn.value_proj", attention.value, LINEAR),
        *weights_of(f"{prefix}.self_attn.output_proj", attention.output_projection, LINEAR),
        *norm_weights_of(f"{prefix}.norm1", layer.norm1),
        *weights_of(f"{prefix}.linear1", layer.feed_forward.linear1, LINEAR),
        *weights_of(f"{prefix}.linear2", layer.feed_forward.linear2, LINEAR),
        *norm_weights_of(f"{prefix}.norm2", layer.norm2),
    ]


def decoder_weights(prefix: str, decoder: Any) -> list[Weight]:
    """Every weight of a built `MaskedAttentionDecoder` (reference `MultiScaleMaskedTransformerDecoder`)."""
    found = []
    for scale, projection in enumerate(decoder.input_projections):
        found += conv_norm_weights_of(f"{prefix}.input_proj.{scale}", projection)
    for index, layer in enumerate(decoder.decoder_layers):
        cross = f"{prefix}.transformer_cross_attention_layers.{index}"
        itself = f"{prefix}.transformer_self_attention_layers.{index}"
        fed = f"{prefix}.transformer_ffn_layers.{index}"
        found += attention_weights_of(f"{itself}.self_attn", layer.self_attention)
        found += norm_weights_of(f"{itself}.norm", layer.norm2)
        found += attention_weights_of(f"{cross}.multihead_attn", layer.cross_attention)
        found += norm_weights_of(f"{cross}.norm", layer.norm1)
        found += weights_of(f"{fed}.linear1", layer.feed_forward.linear1, LINEAR)
        found += weights_of(f"{fed}.linear2", layer.feed_forward.linear2, LINEAR)
        found += norm_weights_of(f"{fed}.norm", layer.norm3)
    found += norm_weights_of(f"{prefix}.decoder_norm", decoder.norm)
    found.append(Weight(f"{prefix}.query_feat.weight", (decoder.query_features,), TABLE))
    found.append(Weight(f"{prefix}.query_embed.weight", (decoder.query_embedding,), TABLE))
    found.append(Weight(f"{prefix}.level_embed.weight", (decoder.level_embedding,), TABLE))
    found += weights_of(f"{prefix}.class_embed", decoder.class_head, LINEAR)
    for index, layer in enumerate(decoder.mask_head):
        found += weights_of(f"{prefix}.mask_embed.layers.{index}", layer, LINEAR)
    return found
