"""The settings of each backbone."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.rules import require
from maskformer_model.config.variant import Variant

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NORMS = ("frozen_batch", "batch", "group")


class BackboneConfig(Variant):
    """A feature extractor: photo -> features res2 to res5."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig(BackboneConfig):
    """ResNet (detectron2's, as MaskFormer uses it).

    Attributes:
        depth: 18 and 34 stack basic blocks, 50, 101 and 152 bottlenecks.
        stem_type: "basic" (one 7x7) or "deeplab" (three 3x3, as in R101c).
        stem_channels: Output channels of the stem.
        res2_channels: Output channels of the first stage; each later stage doubles them.
        bottleneck_channels: Width of the first stage's 3x3 convolutions; each later stage doubles it.
        res5_multi_grid: Dilation of each block of the last stage, in turn; 1 for the first, which strides.
        stage_blocks: Blocks of each stage; empty: those of `depth`, which then only names the kind of block.
        stage_channels: Output channels of each stage, whose bottlenecks keep the first stage's ratio; empty:
            `res2_channels`, doubled by each later stage.
        norm: "frozen_batch" (the reference), "batch" or "group" (from scratch).
    """

    type: str = "resnet"
    depth: int = 50
    stem_type: str = "basic"
    stem_channels: int = 64
    res2_channels: int = 256
    bottleneck_channels: int = 64
    res5_multi_grid: tuple[int, ...] = (1, 1, 1)
    stage_blocks: tuple[int, ...] = ()
    stage_channels: tuple[int, ...] = ()
    norm: str = "frozen_batch"

    def __post_init__(self):
        super().__post_init__()
        require(
            self.depth in RESNET_BLOCKS, f"`task.model.backbone.depth` must be one of {[*RESNET_BLOCKS]}.", self.depth
        )
        for name in ("stage_blocks", "stage_channels"):
            values = getattr(self, name)
            require(
                not values or (len(values) == 4 and min(values) > 0),
                f"`task.model.backbone.{name}` must be empty or name four positive numbers.",
                values,
            )
        require(
            len(self.res5_multi_grid) > 0 and min(self.res5_multi_grid) > 0 and self.res5_multi_grid[0] == 1,
            "`task.model.backbone.res5_multi_grid` must begin with 1 and be positive.",
            self.res5_multi_grid,
        )
        _require_norm(self.norm)
        stems = ("basic", "deeplab")
        require(self.stem_type in stems, f"`task.model.backbone.stem_type` must be one of {stems}.", self.stem_type)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwinConfig(BackboneConfig):
    """Swin Transformer (arXiv:2103.14030).

    Attributes:
        embed_dim: Channels of the first stage; each later stage doubles them.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        window_size: Edge of a window, in patches.
        mlp_ratio: Hidden width of a block's feed-forward layers, in channels of its stage.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0.
    """

    type: str = "swin"
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.3

    def __post_init__(self):
        super().__post_init__()
        require(
            len(self.depths) == len(self.num_heads) == 4,
            "`task.model.backbone.depths` and `.num_heads` must name four stages.",
            (self.depths, self.num_heads),
        )
        require(
            0 <= self.drop_path_rate < 1,
            "`task.model.backbone.drop_path_rate` must be in [0, 1).",
            self.drop_path_rate,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetLiteConfig(BackboneConfig):
    """EfficientNet-Lite0, whose ImageNet weights a data package brings.

    Attributes:
        norm: "frozen_batch" (the reference), "batch" or "group" (from scratch).
    """

    type: str = "efficientnet_lite0"
    norm: str = "frozen_batch"

    def __post_init__(self):
        super().__post_init__()
        _require_norm(self.norm)


def _require_norm(norm: str) -> None:
    require(norm in NORMS, f"`task.model.backbone.norm` must be one of {NORMS}.", norm)
