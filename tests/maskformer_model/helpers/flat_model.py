"""Networks by the flat names of their settings, in which a small one is quickly said."""

from __future__ import annotations

import dataclasses
from typing import Any

from maskformer_model.config import BackboneConfig, ModelConfig, merge


def model_config(
    base: ModelConfig = ModelConfig(), *, backbone: BackboneConfig | None = None, **flat: Any
) -> ModelConfig:
    """The network `base` with other settings, by tf-maskformer's flat names."""
    return merge(dataclasses.replace(base, backbone=backbone or base.backbone), flat)
