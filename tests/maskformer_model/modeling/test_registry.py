"""Every backbone keeps to the one interface."""

import pytest

from maskformer_model.config import ConvNeXtConfig, EfficientNetLiteConfig, ModelConfig, ResNetConfig, SwinConfig
from maskformer_model.config.variant import kinds_of
from maskformer_model.modeling.registry import BACKBONES, DECODERS, PIXEL_DECODERS, build_backbone


@pytest.mark.parametrize(
    ("config", "channels"),
    [
        (ResNetConfig(), [256, 512, 1024, 2048]),
        (ResNetConfig(depth=18, res2_channels=64), [64, 128, 256, 512]),
        (SwinConfig(), [96, 192, 384, 768]),
        (ConvNeXtConfig(), [96, 192, 384, 768]),
        (EfficientNetLiteConfig(), [24, 40, 112, 320]),
    ],
)
def test_a_backbone_names_the_channels_of_its_four_outputs(config, channels):
    backbone = build_backbone(config)
    assert backbone.name == "backbone"
    assert backbone.output_channels == dict(zip(["res2", "res3", "res4", "res5"], channels, strict=True))


@pytest.mark.parametrize(
    ("part", "table"), [("backbone", BACKBONES), ("pixel_decoder", PIXEL_DECODERS), ("decoder", DECODERS)]
)
def test_every_kind_of_a_part_has_a_layer(part, table):
    assert set(kinds_of(getattr(ModelConfig(), part)).values()) == set(table)
