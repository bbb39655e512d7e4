"""Networks by the flat names of their settings, in which a small one is quickly said."""

from __future__ import annotations

import dataclasses
from typing import Any

from maskformer_model.config import BackboneConfig, ModelConfig, ResNetConfig, merge

# A network that a test runs in seconds.
SMALL_SIZES = {
    "num_classes": 6,
    "num_queries": 7,
    "hidden_dim": 32,
    "pixel_decoder_dim": 32,
    "mask_dim": 32,
    "num_heads": 4,
    "feedforward_dim": 48,
    "fpn_encoder_layers": 1,
    "num_decoder_layers": 2,
}
SMALL_RESNET = ResNetConfig(stage_blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=16, bottleneck_channels=4)


def model_config(
    base: ModelConfig = ModelConfig(), *, backbone: BackboneConfig | None = None, **flat: Any
) -> ModelConfig:
    """The network `base` with other settings, by tf-maskformer's flat names."""
    return merge(dataclasses.replace(base, backbone=backbone or base.backbone), flat)
