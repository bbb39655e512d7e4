"""The one small interface between a feature extractor and MaskFormer.

A backbone is a Keras layer that maps a normalised image `[batch, height, width, 3]` to a dict of features
`{"res2", "res3", "res4", "res5"}` at strides 4, 8, 16, 32 (sizes rounded up), and that names the channels of each in
`output_channels`. Adding one is adding a line here.
"""

from __future__ import annotations

import keras

from maskformer_model.config import BackboneConfig


def build_backbone(config: BackboneConfig, name: str = "backbone") -> keras.layers.Layer:
    """The backbone that `config.type` names.

    Raises:
        ValueError: if there is no such type.
    """
    if config.type == "resnet":
        from maskformer_model.modeling.backbones.resnet import ResNet

        return ResNet(config, name=name)
    if config.type == "swin":
        from maskformer_model.modeling.backbones.swin import SwinTransformer

        return SwinTransformer(config, name=name)
    if config.type == "efficientnet_lite0":
        from maskformer_model.modeling.backbones.efficientnet_lite import EfficientNetLite0

        return EfficientNetLite0(config, name=name)
    raise ValueError(f"`task.model.backbone.type` has no builder. Received: {config.type!r}")
