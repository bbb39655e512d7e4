"""The settings of each pixel decoder."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from maskformer_model.config.rules import require, require_heads
from maskformer_model.config.variant import Variant

_PATH = "task.model.pixel_decoder"


class PixelDecoderConfig(Variant):
    """A pixel decoder: features res2 to res5 -> per-pixel embeddings and what the decoder attends to.

    Attributes:
        reads: Names of the backbone's features that it needs.
        gives: Names of the features that it gives to the decoder, besides the backbone's and "pixel_embedding".
        embeds_pixels: Whether it gives "pixel_embedding", the per-pixel mask embeddings.
    """

    reads: ClassVar[tuple[str, ...]] = ("res2", "res3", "res4", "res5")
    gives: ClassVar[tuple[str, ...]] = ()
    embeds_pixels: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class FpnConfig(PixelDecoderConfig):
    """A plain feature pyramid (reference `BasePixelDecoder`).

    Attributes:
        hidden_dim: Width of its convolutions.
    """

    type: str = "fpn"
    hidden_dim: int = 256

    def __post_init__(self):
        super().__post_init__()
        _require_group_norm(self.hidden_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerFpnConfig(PixelDecoderConfig):
    """Encoder layers over the stride-32 feature, then the pyramid (reference `TransformerEncoderPixelDecoder`).

    Attributes:
        hidden_dim: Width of its convolutions and of its encoder.
        encoder_layers: Transformer encoder layers.
        num_heads: Attention heads of each layer.
        feedforward_dim: Hidden width of each layer's feed-forward layers.
        dropout: On attention weights, attention outputs and feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer.
    """

    gives: ClassVar[tuple[str, ...]] = ("transformer_encoder",)

    type: str = "transformer_fpn"
    hidden_dim: int = 256
    encoder_layers: int = 6
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False

    def __post_init__(self):
        super().__post_init__()
        _require_group_norm(self.hidden_dim)
        require_heads(self.hidden_dim, self.num_heads, _PATH)
        require(0 <= self.dropout < 1, f"`{_PATH}.dropout` must be in [0, 1).", self.dropout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeformableConfig(PixelDecoderConfig):
    """Mask2Former's: a deformable encoder over several stages at once (reference `MSDeformAttnPixelDecoder`).

    Attributes:
        hidden_dim: Width of its convolutions and of its encoder.
        encoder_stages: Backbone stages that the encoder runs over; the finer ones join by a feature pyramid.
        encoder_layers: Encoder layers.
        num_heads: Attention heads of each layer.
        num_points: Points that a head reads on each stage.
        feedforward_dim: Hidden width of each layer's feed-forward layers (the reference fixes 1024).
        dropout: After attention and feed-forward layers.
    """

    gives: ClassVar[tuple[str, ...]] = ("scale_0", "scale_1", "scale_2")

    type: str = "deformable"
    hidden_dim: int = 256
    encoder_stages: tuple[str, ...] = ("res3", "res4", "res5")
    encoder_layers: int = 6
    num_heads: int = 8
    num_points: int = 4
    feedforward_dim: int = 1024
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        _require_group_norm(self.hidden_dim)
        require_heads(self.hidden_dim, self.num_heads, _PATH)
        stages = ("res2", "res3", "res4", "res5")
        require(
            self.encoder_stages in [stages[first:] for first in range(4)],
            f"`{_PATH}.encoder_stages` must be the last ones of {stages}, in this order.",
            self.encoder_stages,
        )
        for name in ("encoder_layers", "num_points", "feedforward_dim"):
            require(getattr(self, name) > 0, f"`{_PATH}.{name}` must be positive.", getattr(self, name))
        require(0 <= self.dropout < 1, f"`{_PATH}.dropout` must be in [0, 1).", self.dropout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPixelDecoderConfig(PixelDecoderConfig):
    """No pixel decoder: the decoder makes its own per-pixel embeddings (EoMT)."""

    reads: ClassVar[tuple[str, ...]] = ()
    embeds_pixels: ClassVar[bool] = False

    type: str = "none"


def _require_group_norm(hidden_dim: int) -> None:
    require(
        hidden_dim > 0 and hidden_dim % 32 == 0,
        f"`{_PATH}.hidden_dim` must be a positive multiple of 32 (group norm).",
        hidden_dim,
    )
