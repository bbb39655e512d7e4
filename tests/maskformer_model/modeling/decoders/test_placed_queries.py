"""Where placed queries begin, which discs their masks are, and what happens in photos with few or many cells."""

from __future__ import annotations

import numpy as np
import pytest

from maskformer_model.config import EfficientNetLiteConfig, ModelConfig, PlacedQueriesConfig
from maskformer_model.modeling.decoders.placed_queries import PlacedQueriesDecoder, disc_embeddings, with_coordinates
from maskformer_model.modeling.layers.mask_product import mask_product

DIM = 8


def decoder(num_queries, **values):
    settings = PlacedQueriesConfig(hidden_dim=16, num_heads=2, feedforward_dim=24, num_learned_queries=2, **values)
    config = ModelConfig(decoder=settings, num_classes=3, num_queries=num_queries, mask_dim=DIM)
    built = PlacedQueriesDecoder(config, {"pixel_embedding": DIM})
    built.build()
    return built


def photo(height, width, batch=1):
    """Returns mask features of a photo; they are sizes in pixels of the masks."""
    rng = np.random.default_rng(height * width)
    return {"pixel_embedding": rng.normal(size=(batch, height, width, DIM)).astype(np.float32)}


def test_a_disc_is_its_offset_less_its_sharpness_times_the_squared_distance_in_cells():
    # One cell is four pixels; the pixel in row 5 and column 2 has its centre at (1.375, 0.625).
    pixels = with_coordinates(np.zeros((1, 8, 4, 0), np.float32))
    raw = np.array([[[0.5, -0.25, 0.0, 2.0]]], np.float32)  # Moved to (1.0, 1.25), a sharpness of 1, an offset of 3.
    logits = np.asarray(mask_product(disc_embeddings(raw, np.array([[[0.5, 1.5]]], np.float32)), pixels))
    assert logits.shape == (1, 1, 8, 4)
    assert logits[0, 0, 5, 2] == pytest.approx(3 - (0.375**2 + 0.625**2), abs=1e-3)


def test_an_untrained_disc_has_a_radius_of_one_cell():
    pixels = with_coordinates(np.zeros((1, 16, 16, 0), np.float32))
    disc = disc_embeddings(np.zeros((1, 1, 4), np.float32), np.array([[[2.0, 2.0]]], np.float32))
    inside = np.asarray(mask_product(disc, pixels))[0, 0] > 0
    rows, columns = (np.mgrid[:16, :16] + 0.5) / 4
    np.testing.assert_array_equal(inside, (rows - 2) ** 2 + (columns - 2) ** 2 < 1)


def test_a_disc_far_from_the_corner_keeps_its_shape():
    # At row 200 the terms are some 40,000 and cancel to about 1.
    pixels = with_coordinates(np.zeros((1, 800, 4, 0), np.float32))
    disc = disc_embeddings(np.zeros((1, 1, 4), np.float32), np.array([[[199.5, 0.5]]], np.float32))
    logits = np.asarray(mask_product(disc, pixels))[0, 0]
    assert logits[798, 1] == pytest.approx(1 - (0.125**2 + 0.125**2), abs=0.05)


def test_every_cell_has_a_query_where_there_are_as_many():
    built = decoder(num_queries=6 + 2)
    features = photo(8, 12)
    cells = np.zeros((1, 6, 16), np.float32)
    _, _, centers, is_placed = built._queries(cells, np.zeros((6, 16), np.float32), (2, 3))
    assert sorted(np.asarray(centers)[0, :6].tolist()) == [[y, x] for y in (0.5, 1.5) for x in (0.5, 1.5, 2.5)]
    assert np.asarray(is_placed)[0].tolist() == [1.0] * 6 + [0.0] * 2
    assert built(features)[-1]["mask_logits"].shape == (1, 8, 8, 12)


def test_the_likeliest_cells_are_chosen_where_there_are_more():
    built = decoder(num_queries=2 + 2)
    rng = np.random.default_rng(3)
    cells = rng.normal(size=(1, 6, 16)).astype(np.float32)
    logits = np.asarray(built.class_head(built.norm(cells)))[0]
    score = logits[:, :3].max(axis=1) - logits[:, 3]
    _, _, centers, _ = built._queries(cells, np.zeros((6, 16), np.float32), (2, 3))
    best = np.argsort(-score)[:2]
    np.testing.assert_array_equal(np.asarray(centers)[0, :2], np.stack([best // 3, best % 3], axis=1) + 0.5)


def test_queries_without_a_cell_are_sure_that_there_is_nothing():
    built = decoder(num_queries=9 + 2)
    for prediction in built(photo(6, 9)):  # Two rows of three cells, the outer ones of them smaller.
        logits = np.asarray(prediction["class_logits"])[0]
        is_nothing = (logits[:, :3] == -20).all(axis=1) & (logits[:, 3] == 0)
        assert is_nothing.tolist() == [False] * 6 + [True] * 3 + [False] * 2


def test_answers_of_a_photo_are_the_same_in_a_batch():
    built, pair = decoder(num_queries=5), photo(12, 16, batch=2)
    together = built(pair)[-1]
    for index in range(2):
        alone = built({"pixel_embedding": pair["pixel_embedding"][index : index + 1]})[-1]
        for name in ("class_logits", "mask_logits"):
            np.testing.assert_allclose(np.asarray(together[name])[index], np.asarray(alone[name])[0], atol=1e-4)


def test_training_predicts_the_same_and_one_prediction_is_enough_without_deep_supervision():
    built = decoder(num_queries=7, num_layers=2)
    last_only = decoder(num_queries=7, num_layers=2, deep_supervision=False)
    for ours, theirs in zip(last_only.weights, built.weights, strict=True):
        ours.assign(theirs)
    features = photo(8, 8)
    trained, served = (built(features, training=training) for training in (True, False))
    assert (len(served), built.num_aux_outputs, last_only.num_aux_outputs) == (3, 2, 0)
    for one, other in zip(trained, served, strict=True):
        np.testing.assert_allclose(one["mask_logits"], other["mask_logits"], atol=1e-4)
    (only,) = last_only(features)
    np.testing.assert_allclose(only["mask_logits"], served[-1]["mask_logits"], atol=1e-5)
    class_logits, embeddings, pixels = built.last_queries(features)
    np.testing.assert_allclose(class_logits, served[-1]["class_logits"], atol=1e-5)
    np.testing.assert_allclose(mask_product(embeddings, pixels), served[-1]["mask_logits"], atol=1e-4)


def test_more_learned_queries_than_queries_are_refused():
    with pytest.raises(ValueError, match="num_learned_queries"):
        ModelConfig(backbone=EfficientNetLiteConfig(), num_queries=8, decoder=PlacedQueriesConfig())
