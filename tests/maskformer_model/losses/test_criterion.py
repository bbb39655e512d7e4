"""The objective: class loss by hand, normalisers, deep supervision, padding, no targets, NaN, points."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import LossConfig
from maskformer_model.losses import criterion

QUERIES, CLASSES = 5, 3


def random_batch(num_layers=2, batch=2, targets=3, seed=0):
    """Outputs, a segment map with all targets in it, and classes; the second image has one target less."""
    rng = np.random.default_rng(seed)
    layers = [
        {
            "class_logits": tf.constant(rng.normal(size=(batch, QUERIES, CLASSES + 1)), tf.float32),
            "mask_logits": tf.constant(rng.normal(size=(batch, QUERIES, 4, 6)) * 3, tf.float32),
        }
        for _ in range(num_layers)
    ]
    segment_map = np.zeros((batch, 8, 12), np.uint8)
    segment_map[:, :4, :5], segment_map[:, 2:, 6:], segment_map[0, 6:, :4] = 1, 2, 3
    classes = rng.integers(0, CLASSES, (batch, targets)).astype(np.int32)
    classes[1, 2:] = -1
    return {**layers[-1], "aux_outputs": layers[:-1]}, segment_map, classes


def numbers(terms):
    return {name: float(value) for name, value in terms.items()}


def test_class_loss_by_hand():
    # Query 0 learns class 1, query 1 "no object"; all classes of query 1 are equally likely.
    logits = np.array([[[0.0, math.log(2), 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]], np.float32)
    total = criterion.class_loss_sum(logits, np.array([[0, -1]], np.int32), np.array([[1, -1]], np.int32), 0.1)
    assert float(total) == pytest.approx(-math.log(2 / 5) + 0.1 * math.log(4), rel=1e-6)


def test_normalizers_count_targets_and_weights():
    # Two targets and one in five queries each; a third image has none.
    num_masks, weights = criterion.loss_normalizers(np.array([[4, 0], [7, -1], [-1, -1]]), 5, 0.1)
    assert float(num_masks) == 3
    assert float(weights) == pytest.approx((2 + 0.1 * 3) + (1 + 0.1 * 4) + 0.1 * 5)


def test_normalizers_count_targets_that_no_query_is_left_for():
    # As in the reference: masks are divided by all targets, class weights follow from the matched ones.
    num_masks, weights = criterion.loss_normalizers(np.array([[0, 1, 2]]), 2, 0.1)
    assert (float(num_masks), float(weights)) == (3, 2)


def test_normalizers_never_divide_by_zero():
    num_masks, weights = criterion.loss_normalizers(np.array([[-1, -1]]), 4, 0.1)
    assert float(num_masks) == 1 and float(weights) == pytest.approx(0.4)


def test_terms_of_every_layer_are_named_and_weighted():
    outputs, segment_map, classes = random_batch()
    plain = numbers(criterion.maskformer_losses(outputs, segment_map, classes))
    assert set(plain) == {f"loss_{kind}{suffix}" for kind in ("ce", "mask", "dice") for suffix in ("", "_0")}
    matched = criterion.match_layers([*outputs["aux_outputs"], outputs], segment_map, classes)
    config = LossConfig(class_weight=2.0, mask_weight=5.0, dice_weight=3.0)
    heavy = numbers(criterion.maskformer_losses(outputs, segment_map, classes, config, matched=matched))
    for name, value in plain.items():
        factor = {"ce": 2.0, "mask": 5.0 / 20.0, "dice": 3.0}[name.split("_")[1]]
        assert heavy[name] == pytest.approx(factor * value, rel=1e-5)


def test_each_layer_is_matched_on_its_own():
    outputs, segment_map, classes = random_batch()
    (first, last), _ = criterion.match_layers([*outputs["aux_outputs"], outputs], segment_map, classes)
    alone, _ = criterion.match_layers([outputs], segment_map, classes)
    assert (np.asarray(first) != np.asarray(last)).any()
    np.testing.assert_array_equal(last, alone[0])


def test_without_deep_supervision_only_the_last_layer_counts():
    outputs, segment_map, classes = random_batch()
    every = numbers(criterion.maskformer_losses(outputs, segment_map, classes))
    last = numbers(criterion.maskformer_losses({**outputs, "aux_outputs": []}, segment_map, classes))
    assert last == pytest.approx({name: every[name] for name in ("loss_ce", "loss_mask", "loss_dice")}, rel=1e-6)


def test_padding_targets_changes_nothing():
    outputs, segment_map, classes = random_batch()
    padded = np.pad(classes, ((0, 0), (0, 1)), constant_values=-1)
    expected = numbers(criterion.maskformer_losses(outputs, segment_map, classes))
    assert numbers(criterion.maskformer_losses(outputs, segment_map, padded)) == pytest.approx(expected, rel=1e-6)


def test_halves_of_a_batch_add_up_to_the_batch(monkeypatch):
    outputs, segment_map, classes = random_batch(num_layers=1)
    whole = numbers(criterion.maskformer_losses(outputs, segment_map, classes))
    counts = criterion.loss_normalizers(classes, QUERIES, 0.1)
    monkeypatch.setattr(criterion, "sum_over_replicas", lambda local: counts)
    parts = [
        criterion.maskformer_losses(
            {"class_logits": outputs["class_logits"][i : i + 1], "mask_logits": outputs["mask_logits"][i : i + 1]}
            | {"aux_outputs": []},
            segment_map[i : i + 1],
            classes[i : i + 1],
        )
        for i in range(2)
    ]
    for name, value in whole.items():
        assert sum(float(part[name]) for part in parts) == pytest.approx(value, rel=1e-5)


def test_an_image_without_targets_learns_no_object_only():
    outputs, segment_map, _ = random_batch()
    terms = numbers(criterion.maskformer_losses(outputs, np.zeros_like(segment_map), np.full((2, 3), -1, np.int32)))
    assert terms["loss_mask"] == terms["loss_dice"] == 0
    expected = -np.mean(tf.nn.log_softmax(outputs["class_logits"])[:, :, -1])
    assert terms["loss_ce"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["class_logits", "mask_logits"])
def test_a_logit_that_is_not_finite_shows_in_its_layer(bad, where):
    outputs, segment_map, classes = random_batch()
    broken = outputs[where].numpy()
    broken[0].flat[:] = bad
    terms = numbers(criterion.maskformer_losses({**outputs, where: tf.constant(broken)}, segment_map, classes))
    assert all(math.isnan(terms[name]) for name in ("loss_ce", "loss_mask", "loss_dice"))
    assert all(math.isfinite(terms[f"{name}_0"]) for name in ("loss_ce", "loss_mask", "loss_dice"))


def test_half_precision_logits_are_computed_in_float32():
    outputs, segment_map, classes = random_batch(num_layers=1)
    half = {name: tf.cast(outputs[name], tf.bfloat16) for name in ("class_logits", "mask_logits")}
    rounded = {name: tf.cast(value, tf.float32) for name, value in half.items()}
    found = criterion.maskformer_losses({**half, "aux_outputs": []}, segment_map, classes)
    assert all(value.dtype == tf.float32 for value in found.values())
    expected = criterion.maskformer_losses({**rounded, "aux_outputs": []}, segment_map, classes)
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-6)


def test_eager_equals_graph_equals_xla():
    outputs, segment_map, classes = random_batch()

    def step(outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            total = sum(criterion.maskformer_losses(outputs, tf.constant(segment_map), tf.constant(classes)).values())
        return total, tape.gradient(total, [outputs["mask_logits"], outputs["class_logits"]])

    expected_total, expected_gradients = step(outputs)
    for function in (tf.function(step), tf.function(step, jit_compile=True)):
        total, gradients = function(outputs)
        assert float(total) == pytest.approx(float(expected_total), rel=1e-6)
        for gradient, expected in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_points_match_and_cost_about_as_pixels_do():
    _, segment_map, classes = random_batch(num_layers=1)
    small = segment_map[:, ::2, ::2]
    # Query k shows target k, fairly sure; the last two show nothing.
    shown = np.stack([np.where(small == k + 1, 4.0, -4.0) for k in range(QUERIES)], axis=1).astype(np.float32)
    masks = tf.Variable(shown)
    outputs = {"class_logits": tf.zeros((2, QUERIES, CLASSES + 1)), "mask_logits": masks, "aux_outputs": []}
    config = LossConfig(mask_loss="points", num_points=500)
    (matched,), _ = criterion.match_layers([outputs], segment_map, classes, config, keras.random.SeedGenerator(0))
    assert np.asarray(matched).tolist() == [[0, 1, 2], [0, 1, -1]]
    with tf.GradientTape() as tape:
        seed = keras.random.SeedGenerator(0)
        terms = criterion.maskformer_losses(outputs, segment_map, classes, config, seed_generator=seed)
    gradient = tape.gradient([terms["loss_mask"], terms["loss_dice"]], masks).numpy()
    moved = np.abs(gradient).sum(axis=(2, 3)) > 0
    assert moved.tolist() == [[True, True, True, False, False], [True, True, False, False, False]]
    exact = criterion.maskformer_losses(outputs, segment_map, classes)
    # Points lie where it is dear, so they cost more than pixels do, but of the same order.
    assert float(exact["loss_dice"]) < float(terms["loss_dice"]) < 5 * float(exact["loss_dice"])


def test_points_need_a_seed_generator():
    outputs, segment_map, classes = random_batch(num_layers=1)
    with pytest.raises(ValueError, match="seed_generator"):
        criterion.maskformer_losses(outputs, segment_map, classes, LossConfig(mask_loss="points"))
