"""The parts of a network by their settings: three tables, side by side.

Adding a part means a module for its layer, a class for its settings in `config/`, and one line here.

- A backbone maps a normalised image `[batch, height, width, 3]` to a dict of features, those that its config's `gives`
  names: "res2" to "res5" at strides 4, 8, 16 and 32 (sizes rounded up), or the tokens of a plain ViT.
  `output_channels` names the channels of each.
- A pixel decoder maps such a dict to `(mask features [batch, height / 4, width / 4, mask_dim], memory)`. `memory` holds
  what it gives to the decoder, by the names in its config's `gives`; `output_channels` names their channels.
  `hidden_features` stops in front of the last convolution, `mask_features`. "none" gives None and nothing.
- A decoder maps a dict of all of these to predictions, one dict of `class_logits` and `mask_logits` a layer. It also
  has `last_queries`, `reads_mask_features` and `num_aux_outputs`. It may have `after_step`, which is called with the
  number of updates after each of them, and `check_masks`, which is called when a training starts. Where it makes its
  own per-pixel embeddings, `last_queries` returns them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from maskformer_model.config import (
    BackboneConfig,
    ConvNeXtConfig,
    DecoderConfig,
    DeformableConfig,
    EfficientNetLiteConfig,
    EomtConfig,
    FpnConfig,
    MaskedAttentionConfig,
    ModelConfig,
    NoPixelDecoderConfig,
    PixelDecoderConfig,
    PlacedQueriesConfig,
    ResNetConfig,
    SwinConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
    VitConfig,
)
from maskformer_model.modeling.backbones.convnext import ConvNeXt
from maskformer_model.modeling.backbones.efficientnet_lite import EfficientNetLite0
from maskformer_model.modeling.backbones.resnet import ResNet
from maskformer_model.modeling.backbones.swin import SwinTransformer
from maskformer_model.modeling.backbones.vit import VisionTransformer
from maskformer_model.modeling.decoders.eomt import EomtDecoder
from maskformer_model.modeling.decoders.masked_attention import MaskedAttentionDecoder
from maskformer_model.modeling.decoders.placed_queries import PlacedQueriesDecoder
from maskformer_model.modeling.decoders.transformer import TransformerPredictor
from maskformer_model.modeling.pixel_decoders.deformable import DeformablePixelDecoder
from maskformer_model.modeling.pixel_decoders.fpn import PixelDecoder
from maskformer_model.modeling.pixel_decoders.none import NoPixelDecoder

BACKBONES: dict[type[BackboneConfig], Any] = {
    ResNetConfig: ResNet,
    SwinConfig: SwinTransformer,
    EfficientNetLiteConfig: EfficientNetLite0,
    VitConfig: VisionTransformer,
    ConvNeXtConfig: ConvNeXt,
}
PIXEL_DECODERS: dict[type[PixelDecoderConfig], Any] = {
    FpnConfig: PixelDecoder,
    TransformerFpnConfig: PixelDecoder,
    DeformableConfig: DeformablePixelDecoder,
    NoPixelDecoderConfig: NoPixelDecoder,
}
DECODERS: dict[type[DecoderConfig], Any] = {
    TransformerDecoderConfig: TransformerPredictor,
    MaskedAttentionConfig: MaskedAttentionDecoder,
    EomtConfig: EomtDecoder,
    PlacedQueriesConfig: PlacedQueriesDecoder,
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
