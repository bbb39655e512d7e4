"""The settings of each decoder: what turns queries into predictions."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from maskformer_model.config.rules import require, require_heads
from maskformer_model.config.variant import Variant

_PATH = "task.model.decoder"


class DecoderConfig(Variant):
    """A decoder: queries attend to features and predict classes and masks, layer by layer.

    Attributes:
        step_settings: Names of the settings that are lists of training steps.
    """

    step_settings: ClassVar[tuple[str, ...]] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Returns the names of the features that it needs."""
        return ()

    def require_fit(self, model: Any) -> None:
        """Checks what must hold between it and the rest of the network, a `ModelConfig`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(DecoderConfig):
    """MaskFormer's decoder over one feature map (arXiv:2107.06278, section 3.3).

    Attributes:
        hidden_dim: Width of the decoder.
        num_layers: Decoder layers.
        encoder_layers: Encoder layers in front of the decoder (0 in every published model).
        num_heads: Attention heads of each layer.
        feedforward_dim: Hidden width of each layer's feed-forward layers.
        dropout: On attention weights, attention outputs and feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer.
        deep_supervision: Predict (and take a loss) after every decoder layer, not only the last.
        enforce_input_projection: Project the decoder's input even where its width already fits.
        input_feature: What the decoder attends to (reference `TRANSFORMER_IN_FEATURE`): "auto" (the encoder's output
            of "transformer_fpn", else "res5"), "transformer_encoder", "res2" to "res5", or "pixel_embedding" (the
            mask features at stride 4: expensive for large photos, sharp for small ones).
    """

    type: str = "transformer"
    hidden_dim: int = 256
    num_layers: int = 6
    encoder_layers: int = 0
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False
    deep_supervision: bool = True
    enforce_input_projection: bool = False
    input_feature: str = "auto"

    def __post_init__(self):
        super().__post_init__()
        for name in ("hidden_dim", "num_layers"):
            require(getattr(self, name) > 0, f"`{_PATH}.{name}` must be positive.", getattr(self, name))
        require_heads(self.hidden_dim, self.num_heads, _PATH)
        require(0 <= self.dropout < 1, f"`{_PATH}.dropout` must be in [0, 1).", self.dropout)
        features = ("auto", "transformer_encoder", "res2", "res3", "res4", "res5", "pixel_embedding")
        require(
            self.input_feature in features, f"`{_PATH}.input_feature` must be one of {features}.", self.input_feature
        )

    @property
    def reads(self) -> tuple[str, ...]:
        return ("res5" if self.input_feature == "auto" else self.input_feature, "pixel_embedding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedAttentionConfig(DecoderConfig):
    """Mask2Former's decoder over three scales in turn (arXiv:2112.01527, section 3.2).

    Attributes:
        hidden_dim: Width of the decoder.
        num_layers: Decoder layers; there is one prediction more (reference `DEC_LAYERS`, which counts predictions).
        num_heads: Attention heads of each layer.
        feedforward_dim: Hidden width of each layer's feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer.
        deep_supervision: Predict (and take a loss) after every decoder layer, not only the last.
        enforce_input_projection: Project the decoder's input even where its width already fits.
        pooled_features: Names of features, such as "res4" and "res5", whose mean under a query's mask a linear layer
            classifies too; empty: none (reference). For many classes and few photos, with a backbone that hardly moves.
        pooled_dropout: On these means.
    """

    type: str = "masked_attention"
    hidden_dim: int = 256
    num_layers: int = 9
    num_heads: int = 8
    feedforward_dim: int = 2048
    pre_norm: bool = False
    deep_supervision: bool = True
    enforce_input_projection: bool = False
    pooled_features: tuple[str, ...] = ()
    pooled_dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        require(self.hidden_dim > 0, f"`{_PATH}.hidden_dim` must be positive.", self.hidden_dim)
        require(self.num_layers >= 0, f"`{_PATH}.num_layers` must not be negative.", self.num_layers)
        require_heads(self.hidden_dim, self.num_heads, _PATH)
        require(0 <= self.pooled_dropout < 1, f"`{_PATH}.pooled_dropout` must be in [0, 1).", self.pooled_dropout)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("scale_0", "scale_1", "scale_2", "pixel_embedding", *self.pooled_features)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedQueriesConfig(DecoderConfig):
    """A decoder whose queries begin at cells of the photo, for many small objects (`decoders/placed_queries.py`).

    Attributes:
        hidden_dim: Width of the decoder.
        num_layers: Decoder layers; there is one prediction more.
        num_learned_queries: So many of the queries belong to no cell: for stuff.
        num_heads: Attention heads of each layer.
        feedforward_dim: Hidden width of each layer's feed-forward layers.
        dropout: On attention weights, attention outputs and feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer.
        deep_supervision: Predict (and take a loss) before and after every decoder layer, not only after the last.
    """

    type: str = "placed_queries"
    hidden_dim: int = 256
    num_layers: int = 3
    num_learned_queries: int = 8
    num_heads: int = 8
    feedforward_dim: int = 1024
    dropout: float = 0.0
    pre_norm: bool = False
    deep_supervision: bool = True

    def __post_init__(self):
        super().__post_init__()
        require(self.hidden_dim > 0, f"`{_PATH}.hidden_dim` must be positive.", self.hidden_dim)
        require(self.num_layers >= 0, f"`{_PATH}.num_layers` must not be negative.", self.num_layers)
        require(
            self.num_learned_queries > 0, f"`{_PATH}.num_learned_queries` must be positive.", self.num_learned_queries
        )
        require_heads(self.hidden_dim, self.num_heads, _PATH)
        require(0 <= self.dropout < 1, f"`{_PATH}.dropout` must be in [0, 1).", self.dropout)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("pixel_embedding",)

    def require_fit(self, model: Any) -> None:
        require(
            model.num_queries > self.num_learned_queries,
            f"`task.model.num_queries` must be above `{_PATH}.num_learned_queries`.",
            (model.num_queries, self.num_learned_queries),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EomtConfig(DecoderConfig):
    """EoMT's: a plain ViT's last blocks, in which queries join the patches (arXiv:2503.19108).

    Attributes:
        num_blocks: Blocks with queries; there is one prediction more in training.
        mask_annealing_starts: The step from which each of these blocks lets go of its attention mask; empty: a training
            goes on as its starting weights left off, with masks where they have never been given up.
        mask_annealing_ends: The step from which each block has none.
        mask_annealing_power: In between, a query keeps its mask with probability `(1 - progress) ** power`.
        masks_at_inference: Whether attention is masked at inference too, for a network whose masks were never annealed.
    """

    step_settings: ClassVar[tuple[str, ...]] = ("mask_annealing_starts", "mask_annealing_ends")

    type: str = "eomt"
    num_blocks: int = 3
    mask_annealing_starts: tuple[int, ...] = ()
    mask_annealing_ends: tuple[int, ...] = ()
    mask_annealing_power: float = 0.9
    masks_at_inference: bool = False

    def __post_init__(self):
        super().__post_init__()
        require(self.num_blocks > 0, f"`{_PATH}.num_blocks` must be positive.", self.num_blocks)
        starts, ends = self.mask_annealing_starts, self.mask_annealing_ends
        require(
            len(starts) == len(ends) in (0, self.num_blocks)
            and all(0 <= start <= end for start, end in zip(starts, ends, strict=True)),
            f"`{_PATH}.mask_annealing_starts` and `_ends` must be empty or name a step for each of `num_blocks`, the "
            "end not before the start.",
            (starts, ends, self.num_blocks),
        )
        power = self.mask_annealing_power
        require(power > 0, f"`{_PATH}.mask_annealing_power` must be positive.", power)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("prefix_tokens", "patches")

    def require_fit(self, model: Any) -> None:
        require(
            model.mask_dim == model.backbone.embed_dim,
            f'`task.model.mask_dim` must be `task.model.backbone.embed_dim` for `{_PATH}.type` "{self.type}".',
            (model.mask_dim, model.backbone.embed_dim),
        )
