"""The settings of each backbone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from maskformer_model.config.rules import require, require_heads
from maskformer_model.config.variant import Variant

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NORMS = ("frozen_batch", "batch", "group")


class BackboneConfig(Variant):
    """A feature extractor: photo -> features.

    Attributes:
        gives: Names of its features.
        size_multiple: Heights and widths that it reads are multiples of this many px.
    """

    gives: ClassVar[tuple[str, ...]] = ("res2", "res3", "res4", "res5")

    @property
    def size_multiple(self) -> int:
        """Returns 1: any size will do."""
        return 1


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
        _require_drop_path_rate(self.drop_path_rate)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class VitConfig(BackboneConfig):
    """A plain vision transformer (arXiv:2010.11929) as DINOv2 and DINOv3 train it, or its first blocks.

    Attributes:
        patch_size: Edge of a patch in px.
        embed_dim: Width of its tokens.
        depth: Blocks that run before queries join; those behind belong to the decoder (`task.model.decoder`).
        num_heads: Attention heads of a block.
        mlp_dim: Hidden width of a block's feed-forward layers.
        mlp_kind: "gelu", or "swiglu" (DINOv2's giant): two branches of that width, multiplied.
        num_registers: Register tokens (arXiv:2309.16588), besides the class token.
        position_encoding: "learned" (DINOv2): one vector for each patch of a photo of `image_size_px`, resized for
            other sizes; "rotary" (DINOv3).
        image_size_px: "learned": height and width that the positions are for.
        rope_base: "rotary": the longest period, in units of 2 pi.
        rope_rescale: "rotary": in training, positions are scaled by a random factor between its inverse and this;
            1: never.
        key_bias: Whether keys have a bias; DINOv3's have none.
        norm_epsilon: Of its layer norms.
        layer_scale: Where the factors of each block's outputs start.
    """

    gives: ClassVar[tuple[str, ...]] = ("prefix_tokens", "patches")

    type: str = "vit"
    patch_size: int = 16
    embed_dim: int = 384
    depth: int = 9
    num_heads: int = 6
    mlp_dim: int = 1536
    mlp_kind: str = "gelu"
    num_registers: int = 4
    position_encoding: str = "learned"
    image_size_px: tuple[int, int] = (640, 640)
    rope_base: float = 100.0
    rope_rescale: float = 2.0
    key_bias: bool = True
    norm_epsilon: float = 1e-6
    layer_scale: float = 1e-5

    def __post_init__(self):
        super().__post_init__()
        for name in ("patch_size", "embed_dim", "num_heads", "mlp_dim", "rope_base", "norm_epsilon"):
            require(getattr(self, name) > 0, f"`task.model.backbone.{name}` must be positive.", getattr(self, name))
        for name in ("depth", "num_registers"):
            value = getattr(self, name)
            require(value >= 0, f"`task.model.backbone.{name}` must not be negative.", value)
        require_heads(self.embed_dim, self.num_heads, "task.model.backbone", width="embed_dim")
        for name, kinds in (("mlp_kind", ("gelu", "swiglu")), ("position_encoding", ("learned", "rotary"))):
            value = getattr(self, name)
            require(value in kinds, f"`task.model.backbone.{name}` must be one of {kinds}.", value)
        require(
            self.position_encoding != "rotary" or (self.embed_dim // self.num_heads) % 4 == 0,
            "`task.model.backbone.embed_dim` must be a multiple of 4 times `num_heads` for rotary positions.",
            (self.embed_dim, self.num_heads),
        )
        require(
            len(self.image_size_px) == 2
            and min(self.image_size_px) > 0
            and all(edge % self.patch_size == 0 for edge in self.image_size_px),
            "`task.model.backbone.image_size_px` must be a height and a width in whole patches.",
            (self.image_size_px, self.patch_size),
        )
        require(self.rope_rescale >= 1, "`task.model.backbone.rope_rescale` must be at least 1.", self.rope_rescale)

    @property
    def size_multiple(self) -> int:
        """Returns the patch size: what is no whole patch cannot be read."""
        return self.patch_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig(BackboneConfig):
    """ConvNeXt (arXiv:2201.03545); the defaults are those of ConvNeXt-Tiny.

    Attributes:
        dims: Channels of each stage.
        depths: Blocks of each stage.
        layer_scale: What the scale of each block's channels starts at.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0.
    """

    type: str = "convnext"
    dims: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    layer_scale: float = 1e-6
    drop_path_rate: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        require(
            len(self.dims) == len(self.depths) == 4 and min(*self.dims, *self.depths) > 0,
            "`task.model.backbone.dims` and `.depths` must name four stages, with positive numbers.",
            (self.dims, self.depths),
        )
        _require_drop_path_rate(self.drop_path_rate)


def _require_drop_path_rate(rate: float) -> None:
    require(0 <= rate < 1, "`task.model.backbone.drop_path_rate` must be in [0, 1).", rate)


def _require_norm(norm: str) -> None:
    require(norm in NORMS, f"`task.model.backbone.norm` must be one of {NORMS}.", norm)
