"""A plain ViT: its tokens, its positions at other sizes, and the angles of rotary positions."""

import keras
import numpy as np
import pytest

from maskformer_model.config import VitConfig
from maskformer_model.modeling.backbones.vit import VisionTransformer

TINY = {"embed_dim": 8, "depth": 1, "num_heads": 2, "mlp_dim": 12, "patch_size": 4, "image_size_px": (8, 12)}


def backbone(**values):
    keras.utils.set_random_seed(0)
    built = VisionTransformer(VitConfig(**{**TINY, **values}))
    built.build()
    return built


def image(height_px, width_px):
    return np.random.default_rng(0).normal(size=(2, height_px, width_px, 3)).astype(np.float32)


def test_patches_are_a_map_and_five_tokens_stand_in_front():
    features = backbone()(image(8, 12))
    assert features["patches"].shape == (2, 2, 3, 8)
    assert features["prefix_tokens"].shape == (2, 5, 8)


def test_positions_are_added_to_patches_alone():
    built = backbone(num_registers=1)
    built.class_token.assign(np.full((1, 8), 2.0))
    built.registers.assign(np.full((1, 8), 3.0))
    built.position_embedding.assign(np.arange(6, dtype=np.float32)[:, None] * np.ones(8, np.float32))
    built.patch_embedding.kernel.assign(np.zeros((4, 4, 3, 8)))
    tokens = np.asarray(built.tokens(image(8, 12)))
    np.testing.assert_allclose(tokens[0, :, 0], [2, 3, 0, 1, 2, 3, 4, 5])


def test_a_larger_photo_gets_positions_in_between():
    built = backbone(image_size_px=(4, 8))
    built.position_embedding.assign(np.array([[0.0], [4.0]], np.float32) * np.ones(8, np.float32))
    built.patch_embedding.kernel.assign(np.zeros((4, 4, 3, 8)))
    tokens = np.asarray(built.tokens(image(4, 16)))
    # Four cells for two: half-pixel centres at -0.25, 0.25, 0.75 and 1.25 of the table, clamped at its ends.
    np.testing.assert_allclose(tokens[0, 5:, 0], [0, 1, 3, 4], atol=1e-6)


def test_a_photo_that_is_no_whole_patches_is_refused():
    with pytest.raises(ValueError, match="whole patches of 4 px"):
        backbone()(image(8, 10))


def test_rotary_positions_have_no_table_and_no_bias_of_keys_where_there_is_none():
    built = backbone(position_encoding="rotary", key_bias=False)
    names = {weight.path.rpartition("/")[2] for weight in built.weights}
    assert "position_embedding" not in names
    assert built.blocks.blocks[0].attention.key.bias is None
    assert built(image(12, 4))["patches"].shape == (2, 3, 1, 8)


def test_training_scales_rotary_positions_by_a_number_between_one_half_and_two():
    built = backbone(position_encoding="rotary", rope_rescale=2.0)
    drawn = [float(built(image(8, 8), training=True)["position_scale"]) for _ in range(20)]
    assert 0.5 <= min(drawn) < 0.9 and 1.1 < max(drawn) <= 2.0
    assert "position_scale" not in built(image(8, 8))
    assert "position_scale" not in backbone(position_encoding="rotary", rope_rescale=1.0)(image(8, 8), training=True)
