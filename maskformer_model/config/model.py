"""What the network is made of (arXiv:2107.06278, section 3 and appendix)."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.rules import require

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The feature extractor; `type` chooses which of the other fields are read.

    Attributes:
        type: "resnet", "swin" or "efficientnet_lite0".
        depth: ResNet: 18 and 34 stack basic blocks, 50, 101 and 152 bottlenecks.
        stem_type: ResNet: "basic" (one 7x7) or "deeplab" (three 3x3, as in R101c).
        stem_channels: ResNet.
        res2_channels: ResNet: output channels of the first stage; doubled by each later one.
        bottleneck_channels: ResNet: width of the first stage's 3x3 convolutions; doubled by each later one.
        res5_multi_grid: ResNet: dilation of each block of the last stage, in turn; 1 for the first, which strides.
        stage_blocks: ResNet: blocks of each stage; empty: those of `depth`, which then only names the kind of block.
        stage_channels: ResNet: output channels of each stage, whose bottlenecks keep the first stage's ratio; empty:
            `res2_channels`, doubled by each later stage.
        norm: ResNet and EfficientNet: "frozen_batch" (the reference), "batch" or "group" (from scratch).
        embed_dim: Swin.
        depths: Swin: blocks per stage.
        num_heads: Swin: heads per stage.
        window_size: Swin.
        mlp_ratio: Swin.
        drop_path_rate: Swin: stochastic depth of the last block; grows linearly from 0.
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
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.3

    def __post_init__(self):
        backbones = ("resnet", "swin", "efficientnet_lite0")
        require(self.type in backbones, f"`task.model.backbone.type` must be one of {backbones}.", self.type)
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
        norms = ("frozen_batch", "batch", "group")
        require(self.norm in norms, f"`task.model.backbone.norm` must be one of {norms}.", self.norm)
        stems = ("basic", "deeplab")
        require(self.stem_type in stems, f"`task.model.backbone.stem_type` must be one of {stems}.", self.stem_type)
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
class ModelConfig:
    """The network (arXiv:2107.06278, section 3 and appendix).

    Attributes:
        num_classes: Without the no-object class; 0 takes the number from the data set's categories.
        num_queries: Segments that the decoder can propose.
        hidden_dim: Width of the transformer decoder.
        pixel_decoder_dim: Width of the pixel decoder's convolutions and of its transformer encoder.
        mask_dim: Width of the per-pixel and per-query mask embeddings.
        num_heads: Attention heads of encoder and decoder.
        feedforward_dim: Hidden width of their feed-forward layers.
        dropout: On attention weights, attention outputs and feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer of the decoder.
        which_pixel_decoder: "fpn" or "transformer_fpn" (an encoder over the stride-32 feature, then the FPN).
        fpn_encoder_layers: Encoder layers inside "transformer_fpn".
        detr_encoder_layers: Encoder layers in front of the transformer decoder (0 in every published model).
        num_decoder_layers: Layers of the transformer decoder.
        deep_supervision: Predict (and take a loss) after every decoder layer, not only the last.
        enforce_input_projection: Project the decoder's input even where its width already fits.
        transformer_in_feature: What the decoder attends to (reference `TRANSFORMER_IN_FEATURE`): "auto" (the
            encoder's output of "transformer_fpn", else "res5"), "transformer_encoder", "res2" to "res5", or
            "pixel_embedding" (the mask features, stride 4: dear for large photos, sharp for small ones).
    """

    backbone: BackboneConfig = BackboneConfig()
    num_classes: int = 0
    num_queries: int = 100
    hidden_dim: int = 256
    pixel_decoder_dim: int = 256
    mask_dim: int = 256
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False
    which_pixel_decoder: str = "transformer_fpn"
    fpn_encoder_layers: int = 6
    detr_encoder_layers: int = 0
    num_decoder_layers: int = 6
    deep_supervision: bool = True
    enforce_input_projection: bool = False
    transformer_in_feature: str = "auto"

    def __post_init__(self):
        for name in ("num_queries", "hidden_dim", "pixel_decoder_dim", "mask_dim", "num_heads", "num_decoder_layers"):
            require(getattr(self, name) > 0, f"`task.model.{name}` must be positive.", getattr(self, name))
        decoders = ("fpn", "transformer_fpn")
        require(
            self.which_pixel_decoder in decoders,
            f"`task.model.which_pixel_decoder` must be one of {decoders}.",
            self.which_pixel_decoder,
        )
        require(
            self.hidden_dim % self.num_heads == 0 and self.hidden_dim % 4 == 0,
            "`task.model.num_heads` must divide `task.model.hidden_dim`, which must be a multiple of 4.",
            (self.num_heads, self.hidden_dim),
        )
        require(
            self.pixel_decoder_dim % 32 == 0,
            "`task.model.pixel_decoder_dim` must be a multiple of 32 (group norm).",
            self.pixel_decoder_dim,
        )
        require(
            self.which_pixel_decoder == "fpn" or self.pixel_decoder_dim % self.num_heads == 0,
            "`task.model.num_heads` must divide `task.model.pixel_decoder_dim` where the pixel decoder has an encoder.",
            (self.num_heads, self.pixel_decoder_dim),
        )
        require(0 <= self.dropout < 1, "`task.model.dropout` must be in [0, 1).", self.dropout)
        features = ("auto", "transformer_encoder", "res2", "res3", "res4", "res5", "pixel_embedding")
        require(
            self.transformer_in_feature in features,
            f"`task.model.transformer_in_feature` must be one of {features}.",
            self.transformer_in_feature,
        )
        require(
            self.transformer_in_feature != "transformer_encoder" or self.which_pixel_decoder == "transformer_fpn",
            '`task.model.transformer_in_feature` "transformer_encoder" needs `which_pixel_decoder` "transformer_fpn".',
            self.which_pixel_decoder,
        )

    @property
    def decoder_input(self) -> str:
        """`transformer_in_feature` with "auto" resolved."""
        if self.transformer_in_feature != "auto":
            return self.transformer_in_feature
        return "transformer_encoder" if self.which_pixel_decoder == "transformer_fpn" else "res5"
