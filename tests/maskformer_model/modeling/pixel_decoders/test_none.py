"""A network without a pixel decoder."""

import pytest

from maskformer_model.config import (
    EomtConfig,
    MaskedAttentionConfig,
    ModelConfig,
    NoPixelDecoderConfig,
    TransformerFpnConfig,
    VitConfig,
)
from maskformer_model.modeling.pixel_decoders.none import NoPixelDecoder


def test_it_gives_nothing():
    layer = NoPixelDecoder(ModelConfig())
    layer.build()
    assert layer.weights == []
    assert layer({"patches": None}) == (None, {})


def test_a_vit_does_not_give_what_a_pyramid_needs():
    with pytest.raises(ValueError, match=r'pixel_decoder` needs .*res5.*, which `task.model.backbone.type` "vit"'):
        ModelConfig(backbone=VitConfig(), pixel_decoder=TransformerFpnConfig())


def test_other_decoders_need_the_embeddings_that_it_does_not_give():
    with pytest.raises(ValueError, match=r'decoder` needs .*pixel_embedding.* "vit" with .*pixel_decoder.type` "none"'):
        ModelConfig(backbone=VitConfig(), pixel_decoder=NoPixelDecoderConfig(), decoder=MaskedAttentionConfig())


def test_mask_embeddings_are_as_wide_as_tokens():
    parts = {"backbone": VitConfig(), "pixel_decoder": NoPixelDecoderConfig(), "decoder": EomtConfig()}
    with pytest.raises(ValueError, match=r"mask_dim` must be .*embed_dim.* \(256, 384\)"):
        ModelConfig(**parts)
    assert ModelConfig(**parts, mask_dim=384).mask_dim == 384
