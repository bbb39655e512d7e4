"""Every backbone keeps to the one interface."""

import pytest

from maskformer_model.config import BackboneConfig
from maskformer_model.modeling.registry import build_backbone


@pytest.mark.parametrize(
    ("config", "channels"),
    [
        (BackboneConfig(), [256, 512, 1024, 2048]),
        (BackboneConfig(depth=18, res2_channels=64), [64, 128, 256, 512]),
        (BackboneConfig(type="swin"), [96, 192, 384, 768]),
        (BackboneConfig(type="efficientnet_lite0"), [24, 40, 112, 320]),
    ],
)
def test_a_backbone_names_the_channels_of_its_four_outputs(config, channels):
    backbone = build_backbone(config)
    assert backbone.name == "backbone"
    assert backbone.output_channels == dict(zip(["res2", "res3", "res4", "res5"], channels, strict=True))


def test_a_type_without_a_builder_is_refused():
    config = BackboneConfig()
    object.__setattr__(config, "type", "vgg")
    with pytest.raises(ValueError, match="no builder. Received: 'vgg'"):
        build_backbone(config)
