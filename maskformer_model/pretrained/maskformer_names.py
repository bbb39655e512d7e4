"""Which variable of ours holds which weight of the official MaskFormer, by the official state dict's names.

The official names (detectron2 modules under `backbone` and `sem_seg_head`) are the canonical ones: every reader of
another format first renames to them.
"""

from __future__ import annotations

from typing import Any

from maskformer_model.pretrained import mask2former_names
from maskformer_model.pretrained.eomt import names as eomt_names
from maskformer_model.pretrained.tables.weight_table import (
    CONVOLUTION,
    DEPTHWISE,
    LINEAR,
    TABLE,
    VECTOR,
    Weight,
    attention_weights_of,
    conv_norm_weights_of,
    norm_weights_of,
    weights_of,
)

_HEAD = "sem_seg_head"


def official_weights(network: Any) -> list[Weight]:
    """Every weight of a built `MaskFormer` under its official name.

    Raises:
        ValueError: if the network's backbone or decoder is none of the official ones.
    """
    pixel_decoder_tables: dict[str, Any] = {
        "deformable": mask2former_names.pixel_decoder_weights,
        "none": lambda prefix, decoder: [],
    }
    decoder_tables = {
        "transformer": _predictor_weights,
        "masked_attention": mask2former_names.decoder_weights,
        "eomt": eomt_names.decoder_weights,
    }
    decoder_type = network.config.decoder.type
    if decoder_type not in decoder_tables:
        raise ValueError(
            f"Official checkpoints exist for the decoders {', '.join(decoder_tables)} only; any other can take the "
            f"backbone's weights: `task.init_checkpoint_modules=backbone`. Received: {decoder_type}"
        )
    of_pixel_decoder = pixel_decoder_tables.get(network.config.pixel_decoder.type, _pixel_decoder_weights)
    return [
        *backbone_weights(network.backbone),
        *of_pixel_decoder(f"{_HEAD}.pixel_decoder", network.pixel_decoder),
        *decoder_tables[decoder_type](f"{_HEAD}.predictor", network.predictor),
    ]


def backbone_weights(backbone: Any) -> list[Weight]:
    """Every weight of a built `ResNet`, `SwinTransformer`, `ConvNeXt` or `VisionTransformer` under its official name.

    Raises:
        ValueError: if the backbone is none of these.
    """
    if hasattr(backbone, "class_token"):
        return eomt_names.vit_weights(backbone)
    if hasattr(backbone, "stem") and hasattr(backbone, "res2"):
        return _resnet_weights(backbone)
    if hasattr(backbone, "patch_embedding"):
        return _swin_weights(backbone)
    if hasattr(backbone, "stages"):
        return _convnext_weights(backbone)
    raise ValueError(
        "Official checkpoints exist for ResNet, Swin, ConvNeXt and ViT backbones only. "
        f"Received: {type(backbone).__name__}"
    )


def _resnet_weights(backbone: Any) -> list[Weight]:
    found = []
    for index, layer in enumerate(backbone.stem.convolutions, start=1):
        found += conv_norm_weights_of(f"backbone.stem.conv{index}", layer)
    for stage in ("res2", "res3", "res4", "res5"):
        for block_index, block in enumerate(getattr(backbone, stage)):
            prefix = f"backbone.{stage}.{block_index}"
            if block.shortcut is not None:
                found += conv_norm_weights_of(f"{prefix}.shortcut", block.shortcut)
            for index, layer in enumerate(block.convolutions, start=1):
                found += conv_norm_weights_of(f"{prefix}.conv{index}", layer)
    return found


def _swin_weights(backbone: Any) -> list[Weight]:
    found = weights_of("backbone.patch_embed.proj", backbone.patch_embedding, CONVOLUTION)
    found += norm_weights_of("backbone.patch_embed.norm", backbone.patch_norm)
    for stage_index, stage in enumerate(backbone.stages):
        for block_index, block in enumerate(stage.blocks):
            found += _swin_block_weights(f"backbone.layers.{stage_index}.blocks.{block_index}", block)
        if stage.downsample is not None:
            prefix = f"backbone.layers.{stage_index}.downsample"
            found += weights_of(f"{prefix}.reduction", stage.downsample.reduction, LINEAR)
            found += norm_weights_of(f"{prefix}.norm", stage.downsample.norm)
        found += norm_weights_of(f"backbone.norm{stage_index}", backbone.output_norms[stage_index])
    return found


def _convnext_weights(backbone: Any) -> list[Weight]:
    found = []
    for stage_index, stage in enumerate(backbone.stages):
        convolution, norm = (0, 1) if stage.downsampling.is_stem else (1, 0)
        prefix = f"backbone.downsample_layers.{stage_index}"
        found += weights_of(f"{prefix}.{convolution}", stage.downsampling.convolution, CONVOLUTION)
        found += norm_weights_of(f"{prefix}.{norm}", stage.downsampling.norm)
        for block_index, block in enumerate(stage.blocks):
            prefix = f"backbone.stages.{stage_index}.{block_index}"
            found += weights_of(f"{prefix}.dwconv", block.depthwise, DEPTHWISE)
            found += norm_weights_of(f"{prefix}.norm", block.norm)
            found += weights_of(f"{prefix}.pwconv1", block.expand, LINEAR)
            found += weights_of(f"{prefix}.pwconv2", block.project, LINEAR)
            found.append(Weight(f"{prefix}.gamma", (block.scale,), VECTOR))
        found += norm_weights_of(f"backbone.norm{stage_index}", backbone.output_norms[stage_index])
    return found


def _swin_block_weights(prefix: str, block: Any) -> list[Weight]:
    attention = block.attention
    return [
        *norm_weights_of(f"{prefix}.norm1", block.norm1),
        Weight(f"{prefix}.attn.relative_position_bias_table", (attention.relative_position_bias_table,), TABLE),
        *weights_of(f"{prefix}.attn.qkv", attention.qkv, LINEAR),
        *weights_of(f"{prefix}.attn.proj", attention.output_projection, LINEAR),
        *norm_weights_of(f"{prefix}.norm2", block.norm2),
        *weights_of(f"{prefix}.mlp.fc1", block.linear1, LINEAR),
        *weights_of(f"{prefix}.mlp.fc2", block.linear2, LINEAR),
    ]


def _pixel_decoder_weights(prefix: str, decoder: Any) -> list[Weight]:
    found = []
    if decoder.uses_encoder:
        found += conv_norm_weights_of(f"{prefix}.input_proj", decoder.input_projection)
        found += _encoder_weights(f"{prefix}.transformer.encoder", decoder.encoder)
    for level, layer in enumerate(decoder.adapters, start=1):
        found += conv_norm_weights_of(f"{prefix}.adapter_{level}", layer)
    for level, layer in enumerate(decoder.fusions, start=1):
        found += conv_norm_weights_of(f"{prefix}.layer_{level}", layer)
    return found + conv_norm_weights_of(f"{prefix}.mask_features", decoder.mask_features)


def _predictor_weights(prefix: str, predictor: Any) -> list[Weight]:
    found = []
    if predictor.input_projection is not None:
        found += conv_norm_weights_of(f"{prefix}.input_proj", predictor.input_projection)
    if predictor.encoder is not None:
        found += _encoder_weights(f"{prefix}.transformer.encoder", predictor.encoder)
    decoder = predictor.decoder
    for index, layer in enumerate(decoder.decoder_layers):
        layer_prefix = f"{prefix}.transformer.decoder.layers.{index}"
        found += attention_weights_of(f"{layer_prefix}.self_attn", layer.self_attention)
        found += attention_weights_of(f"{layer_prefix}.multihead_attn", layer.cross_attention)
        found += _feed_forward_weights(layer_prefix, layer)
        found += norm_weights_of(f"{layer_prefix}.norm3", layer.norm3)
    found += norm_weights_of(f"{prefix}.transformer.decoder.norm", decoder.norm)
    found.append(Weight(f"{prefix}.query_embed.weight", (decoder.query_embedding,), TABLE))
    found += weights_of(f"{prefix}.class_embed", predictor.class_head, LINEAR)
    for index, layer in enumerate(predictor.mask_head):
        found += weights_of(f"{prefix}.mask_embed.layers.{index}", layer, LINEAR)
    return found


def _encoder_weights(prefix: str, encoder: Any) -> list[Weight]:
    found = []
    for index, layer in enumerate(encoder.encoder_layers):
        layer_prefix = f"{prefix}.layers.{index}"
        found += attention_weights_of(f"{layer_prefix}.self_attn", layer.self_attention)
        found += _feed_forward_weights(layer_prefix, layer)
    if encoder.norm is not None:
        found += norm_weights_of(f"{prefix}.norm", encoder.norm)
    return found


def _feed_forward_weights(prefix: str, layer: Any) -> list[Weight]:
    return [
        *weights_of(f"{prefix}.linear1", layer.feed_forward.linear1, LINEAR),
        *weights_of(f"{prefix}.linear2", layer.feed_forward.linear2, LINEAR),
        *norm_weights_of(f"{prefix}.norm1", layer.norm1),
        *norm_weights_of(f"{prefix}.norm2", layer.norm2),
    ]
