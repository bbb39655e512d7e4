"""The parts of a network by their settings: three tables, side by side.

Adding a part means a module for its layer, a class for its settings in `config/`, and one line here.

- A backbone maps a normalised image `[batch, height, width, 3]` to a dict of features "res2" to "res5" at strides 4, 8,
  16 and 32 (sizes rounded up). `output_channels` names the channels of each.
- A pixel decoder maps such a dict to `(mask features [batch, height / 4, width / 4, mask_dim], memory)`. `memory` holds
  what it gives to the decoder, by the names in its config's `gives`; `output_channels` names their channels.
  `hidden_features` stops in front of the last convolution, `mask_features`.
- A decoder maps a dict of all of these to predictions, one dict of `class_logits` and `mask_logits` a layer. It also
  has `last_queries`, `reads_mask_features` and `num_aux_outputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from maskformer_model.config import (
    BackboneConfig,
    DecoderConfig,
    DeformableConfig,
    EfficientNetLiteConfig,
    FpnConfig,
    MaskedAttentionConfig,
    ModelConfig,
    PixelDecoderConfig,
    ResNetConfig,
    SwinConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
)
from maskformer_model.modeling.backbones.efficientnet_lite import EfficientNetLite0
from maskformer_model.modeling.backbones.resnet import ResNet
from maskformer_model.modeling.backbones.swin import SwinTransformer
from maskformer_model.modeling.decoders.masked_attention import MaskedAttentionDecoder
from maskformer_model.modeling.decoders.transformer import TransformerPredictor
from maskformer_model.modeling.pixel_decoders.deformable import DeformablePixelDecoder
from maskformer_model.modeling.pixel_decoders.fpn import PixelDecoder

BACKBONES: dict[type[BackboneConfig], Any] = {
    ResNetConfig: ResNet,
    SwinConfig: SwinTransformer,
    EfficientNetLiteConfig: EfficientNetLite0,
}
PIXEL_DECODERS: dict[type[PixelDecoderConfig], Any] = {
    FpnConfig: PixelDecoder,
    TransformerFpnConfig: PixelDecoder,
    DeformableConfig: DeformablePixelDecoder,
}
DECODERS: dict[type[DecoderConfig], Any] = {
    TransformerDecoderConfig: TransformerPredictor,
    MaskedAttentionConfig: MaskedAttentionDecoder,
}


def build_backbone(config: BackboneConfig, name: str = "backbone") -> keras.layers.Layer:
    """Returns the backbone with these settings."""
    return BACKBONES[type(config)](config, name=name)


def build_pixel_decoder(config: ModelConfig, name: str = "pixel_decoder") -> keras.layers.Layer:
    """Returns the pixel decoder of a network."""
    return PIXEL_DECODERS[type(config.pixel_decoder)](config, name=name)


def build_decoder(config: ModelConfig, channels: Mapping[str, int], name: str = "predictor") -> keras.layers.Layer:
    """Returns the decoder of a network.

    Args:
        config: The network.
        channels: Channels of every feature that the decoder may attend to, by its name.
        name: The layer's name.
    """
    return DECODERS[type(config.decoder)](config, channels, name=name)
