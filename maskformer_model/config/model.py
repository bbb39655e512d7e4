"""Defines the network (arXiv:2107.06278, section 3 and appendix): a backbone, a pixel decoder and a decoder."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.backbones import BackboneConfig, ResNetConfig
from maskformer_model.config.decoders import DecoderConfig, TransformerDecoderConfig
from maskformer_model.config.pixel_decoders import PixelDecoderConfig, TransformerFpnConfig
from maskformer_model.config.rules import require

# Features that every network has: the backbone's, and the per-pixel mask embeddings.
MOST_CLASSES = 65_534  # A semantic PNG has 16 bits.
MOST_QUERIES = 10_000
COMMON_FEATURES = ("res2", "res3", "res4", "res5", "pixel_embedding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        backbone: Photo -> features.
        pixel_decoder: Features -> per-pixel embeddings and what the decoder attends to.
        decoder: Queries -> classes and mask embeddings.
        num_classes: Without the no-object class; 0 takes the number from the data set's categories.
        num_queries: Segments that the decoder can propose.
        mask_dim: Width of the per-pixel and per-query mask embeddings.
    """

    backbone: BackboneConfig = ResNetConfig()
    pixel_decoder: PixelDecoderConfig = TransformerFpnConfig()
    decoder: DecoderConfig = TransformerDecoderConfig()
    num_classes: int = 0
    num_queries: int = 100
    mask_dim: int = 256

    def __post_init__(self):
        require(0 <= self.num_classes <= MOST_CLASSES, f"`task.model.num_classes` must be in 0..{MOST_CLASSES}.", self)
        for name in ("num_queries", "mask_dim"):
            value = getattr(self, name)
            require(0 < value <= MOST_QUERIES, f"`task.model.{name}` must be in 1..{MOST_QUERIES}.", value)
        given = (*COMMON_FEATURES, *self.pixel_decoder.gives)
        missing = [name for name in self.decoder.reads if name not in given]
        require(
            not missing,
            f'`task.model.decoder` needs {missing}, which `task.model.pixel_decoder.type` "{self.pixel_decoder.type}" '
            "does not give.",
            given,
        )
