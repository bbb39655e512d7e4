"""Defines the network (arXiv:2107.06278, section 3 and appendix): a backbone, a pixel decoder and a decoder."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.backbones import BackboneConfig, ResNetConfig
from maskformer_model.config.decoders import DecoderConfig, TransformerDecoderConfig
from maskformer_model.config.pixel_decoders import PixelDecoderConfig, TransformerFpnConfig
from maskformer_model.config.rules import require

MOST_CLASSES = 65_534  # A semantic PNG has 16 bits.
MOST_QUERIES = 10_000


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
        self._require_features("pixel_decoder", self.backbone.gives)
        pixel_embedding = ("pixel_embedding",) if self.pixel_decoder.embeds_pixels else ()
        self._require_features("decoder", (*self.backbone.gives, *self.pixel_decoder.gives, *pixel_embedding))
        self.decoder.require_fit(self)

    def _require_features(self, part: str, given: tuple[str, ...]) -> None:
        missing = [name for name in getattr(self, part).reads if name not in given]
        kinds = f'`task.model.backbone.type` "{self.backbone.type}"'
        if part == "decoder":
            kinds += f' with `task.model.pixel_decoder.type` "{self.pixel_decoder.type}"'
        require(not missing, f"`task.model.{part}` needs {missing}, which {kinds} does not give.", given)
