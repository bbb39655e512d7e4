"""EoMT's decoder: what queries may look at, how masks are given up, and what inference leaves out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import EomtConfig, ModelConfig, NoPixelDecoderConfig, VitConfig
from maskformer_model.modeling.decoders.eomt import visible_patches
from maskformer_model.modeling.maskformer import MaskFormer

BACKBONE = VitConfig(embed_dim=8, depth=1, num_heads=2, mlp_dim=12, layer_scale=1.0, image_size_px=(32, 48))
IMAGE = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32)


def network(backbone=BACKBONE, **values):
    keras.utils.set_random_seed(0)
    decoder = EomtConfig(**{"num_blocks": 2, **values})
    built = MaskFormer(
        ModelConfig(
            backbone=backbone,
            pixel_decoder=NoPixelDecoderConfig(),
            decoder=decoder,
            num_classes=3,
            num_queries=4,
            mask_dim=8,
        )
    )
    built.build()
    return built


def test_a_patch_is_seen_where_the_mean_of_its_middle_is_positive():
    # One query, one channel, a patch of 4 x 4 pixels: resized without antialiasing, the four in the middle count.
    pixels = np.full((1, 4, 8, 1), -1.0, np.float32)
    pixels[0, 1:3, 1:3] = [[[5.0], [-1.0]], [[-1.0], [-1.0]]]  # Mean 0.5.
    pixels[0, 0, 4:] = 100.0  # At the second patch's edge.
    seen = np.asarray(visible_patches(np.ones((1, 1, 1), np.float32), pixels, (1, 2)))
    assert seen.tolist() == [[[True, False]]]


def test_training_predicts_in_front_of_each_block_and_inference_once():
    built = network()
    trained, served = built(IMAGE, training=True), built(IMAGE, training=False)
    assert len(trained["aux_outputs"]) == built.predictor.num_aux_outputs == 2
    assert trained["mask_logits"].shape == served["mask_logits"].shape == (2, 4, 8, 12)
    assert served["aux_outputs"] == []


def test_without_any_mask_training_predicts_as_inference_does():
    built = network()
    built.predictor.mask_probability.assign([0.0, 0.0])
    trained, served = built(IMAGE, training=True), built(IMAGE, training=False)
    np.testing.assert_allclose(trained["class_logits"], served["class_logits"], atol=1e-5)
    built.predictor.mask_probability.assign([1.0, 1.0])
    assert np.abs(np.asarray(built(IMAGE, training=True)["class_logits"]) - served["class_logits"]).max() > 1e-4


def test_a_network_that_was_never_without_masks_keeps_them_at_inference():
    built, masked = network(), network(masks_at_inference=True)
    trained = built(IMAGE, training=True)
    np.testing.assert_allclose(masked(IMAGE)["class_logits"], trained["class_logits"], atol=1e-5)


def test_a_query_gives_up_its_mask_where_the_drawn_number_exceeds_the_probability():
    built = network()
    built.predictor.mask_probability.assign([0.5, 0.5])
    features = built.backbone(IMAGE, training=True)
    uniform = np.array([[0.4, 0.6, 0.5, 0.9]] * 2, np.float32)
    _, seen = built.predictor.decode(features, True, [uniform, uniform])
    _, masked = built.predictor.decode(features, True, [np.zeros_like(uniform)] * 2)
    everything = np.asarray(seen[0]).all(axis=2)
    assert everything[:, [1, 3]].all()
    np.testing.assert_array_equal(np.asarray(seen[0])[:, [0, 2]], np.asarray(masked[0])[:, [0, 2]])


def test_each_block_lets_go_of_its_masks_between_its_steps():
    built = network(mask_annealing_starts=(0, 2), mask_annealing_ends=(4, 2))
    probabilities = []
    for step in (0, 1, 2, 4):
        built.predictor.after_step(step)
        probabilities.append(built.predictor.mask_probability.numpy().tolist())
    first = [1.0, 0.75**0.9, 0.5**0.9, 0.0]
    assert [row[0] for row in probabilities] == pytest.approx(first)
    assert [row[1] for row in probabilities] == [1.0, 1.0, 0.0, 0.0]


def test_without_annealing_masks_stay():
    built = network()
    built.predictor.after_step(10_000)
    assert built.predictor.mask_probability.numpy().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("probability", "masks_at_inference", "annealing", "cure"),
    [
        (1.0, False, {}, "`mask_annealing_starts` and `mask_annealing_ends`.*`masks_at_inference` to true"),
        (0.5, False, {}, "`masks_at_inference` to true.*0.5"),
        (0.5, True, {}, "`masks_at_inference` to false"),
        (0.0, True, {}, "`masks_at_inference` to false"),
        (1.0, True, {}, ""),
        (0.0, False, {}, ""),  # A published checkpoint, whose masks were given up.
        (1.0, False, {"mask_annealing_starts": (0, 0), "mask_annealing_ends": (0, 0)}, ""),
    ],
)
def test_a_training_without_annealing_masks_attention_as_inference_does(
    probability, masks_at_inference, annealing, cure
):
    built = network(masks_at_inference=masks_at_inference, **annealing)
    built.predictor.mask_probability.assign([probability] * 2)
    if not cure:
        built.predictor.check_masks()
        return
    with pytest.raises(ValueError, match=f"mask_annealing_starts` is empty.*masks_at_inference` is [tf].*{cure}"):
        built.predictor.check_masks()


def test_a_proposal_and_its_masks_are_those_of_the_whole_answer():
    built = network()
    proposed, whole = built.propose(IMAGE), built(IMAGE)
    np.testing.assert_allclose(proposed["class_logits"], whole["class_logits"], atol=1e-6)
    masks = built.mask_logits_of(proposed["mask_embeddings"][1], proposed["pixels"][1])
    np.testing.assert_allclose(masks, whole["mask_logits"][1], atol=1e-5)


def test_the_number_of_queries_is_known_where_the_photo_s_size_is_not():
    built = network(masks_at_inference=True)
    photos = tf.TensorSpec([None, None, None, 3])
    graph = tf.function(built, autograph=False).get_concrete_function(photos)
    for layer in (graph.structured_outputs, *graph.structured_outputs["aux_outputs"]):
        assert layer["class_logits"].shape.as_list() == [None, 4, 4]
        assert layer["mask_logits"].shape[1] == 4


def test_rotary_positions_reach_the_blocks_with_queries():
    rotary = VitConfig(
        embed_dim=8, depth=1, num_heads=2, mlp_dim=12, layer_scale=1.0, position_encoding="rotary", key_bias=False
    )
    built = network(rotary)
    for block in built.predictor.backbone.blocks:  # Weights that are not nearly zero: attention is not nearly even.
        for layer in (block.attention.query, block.attention.key):
            layer.kernel.assign(100 * layer.kernel)
    turned, rotation = built(IMAGE)["class_logits"], built.predictor.backbone.rotation
    built.predictor.backbone.rotation = lambda grid, scale=None: rotation(grid, 0.0)
    assert np.abs(np.asarray(built(IMAGE)["class_logits"]) - turned).max() > 1e-4
