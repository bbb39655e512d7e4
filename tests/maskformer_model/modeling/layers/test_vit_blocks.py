"""A ViT's block: its parts, its mask, and rotary angles by hand."""

import keras
import numpy as np

from maskformer_model.config import VitConfig
from maskformer_model.modeling.layers.vit_blocks import VitAttention, VitBlocks, rotary_angles, turned

TINY = {"embed_dim": 8, "num_heads": 2, "mlp_dim": 12, "layer_scale": 1.0}


def tokens(count=4, dim=8):
    return np.random.default_rng(0).normal(size=(1, count, dim)).astype(np.float32)


def test_angles_are_those_of_patch_centres_between_minus_one_and_one():
    # Two rows and one column: y is -0.5 and 0.5, x is 0. Periods of a head of 8 channels: 1 and sqrt(100) = 10.
    angles = np.asarray(rotary_angles((2, 1), 8, 100.0))
    np.testing.assert_allclose(angles[0], [-np.pi, -np.pi / 10, 0, 0] * 2, atol=1e-6)
    np.testing.assert_allclose(angles[1], [np.pi, np.pi / 10, 0, 0] * 2, atol=1e-6)
    np.testing.assert_allclose(rotary_angles((2, 1), 8, 100.0, scale=0.5)[1], angles[1] / 2, atol=1e-6)


def test_a_quarter_turn_swaps_the_halves_of_a_head_and_leaves_other_tokens():
    given = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)  # One head, two tokens of two channels.
    quarter = (np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    np.testing.assert_allclose(np.asarray(turned(given, quarter))[0, 0], [[1, 2], [-4, 3]])


def test_a_query_does_not_see_a_blocked_patch():
    keras.utils.set_random_seed(0)
    layer = VitAttention(VitConfig(**TINY), name="attention")
    layer.build()
    given = tokens()
    blocked = np.array([[[False, True], [False, False]]])  # The first of two queries must not see the last patch.
    other = given.copy()
    other[0, 3] += 1.0
    one, two = (np.asarray(layer(values, blocked=blocked))[0] for values in (given, other))
    np.testing.assert_array_equal(one[0], two[0])
    assert (np.abs(one[1] - two[1]) > 1e-6).any()
    np.testing.assert_allclose(layer(given, blocked=np.zeros((1, 2, 2), bool)), layer(given), atol=1e-6)


def test_blocks_are_numbered_through_the_network_and_the_norm_stands_behind_them():
    run = VitBlocks(VitConfig(**TINY), first=9, count=2, has_norm=True, name="backbone")
    run.build()
    paths = {weight.path for weight in run.weights}
    assert {"backbone/vit_block_9/norm1/gamma", "backbone/vit_block_10/layer_scale2", "backbone/norm/beta"} <= paths


def test_a_layer_scale_of_zero_leaves_the_tokens_alone():
    run = VitBlocks(VitConfig(**{**TINY, "layer_scale": 0.0}, mlp_kind="swiglu"), first=0, count=1)
    run.build()
    np.testing.assert_array_equal(run(tokens()), tokens())
    run.blocks[0].layer_scale2.assign(np.ones(8))
    assert (np.asarray(run(tokens())) != tokens()).any()
