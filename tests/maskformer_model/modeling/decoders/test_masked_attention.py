"""What queries may look at, and which parts the masked-attention decoder has."""

from __future__ import annotations

import numpy as np

from maskformer_model.config import DeformableConfig, MaskedAttentionConfig, ModelConfig
from maskformer_model.modeling.decoders.heads import MaskPooledClassHead
from maskformer_model.modeling.decoders.masked_attention import SCALES, MaskedAttentionDecoder, blocked_cells


def test_a_query_looks_where_its_mask_is_not_negative():
    cells = np.array([[[1.0], [-1.0], [0.0]]], np.float32)
    blocked = np.asarray(blocked_cells(np.array([[[2.0], [-3.0]]], np.float32), cells))
    assert blocked.tolist() == [[[False, True, False], [True, False, False]]]


def test_a_query_whose_mask_is_negative_everywhere_looks_everywhere():
    cells = np.array([[[1.0], [2.0]]], np.float32)
    blocked = np.asarray(blocked_cells(np.array([[[-1.0], [1.0]]], np.float32), cells))
    assert not blocked.any()


def test_a_logit_whose_probability_rounds_to_one_half_is_not_blocked():
    cells = np.array([[[-1e-9], [-1e-3]]], np.float32)
    blocked = np.asarray(blocked_cells(np.ones((1, 1, 1), np.float32), cells))
    assert blocked.tolist() == [[[False, True]]]


def decoder(**values):
    settings = MaskedAttentionConfig(hidden_dim=16, num_heads=2, feedforward_dim=24, **values)
    config = ModelConfig(pixel_decoder=DeformableConfig(), decoder=settings, num_classes=3, num_queries=5, mask_dim=8)
    built = MaskedAttentionDecoder(config, dict.fromkeys(SCALES, 16))
    built.build()
    return built


def inputs():
    rng = np.random.default_rng(0)
    sizes = dict(zip(SCALES, ((1, 2), (2, 3), (4, 5)), strict=True))
    features = {scale: rng.normal(size=(1, *size, 16)).astype(np.float32) for scale, size in sizes.items()}
    return {**features, "pixel_embedding": rng.normal(size=(1, 8, 10, 8)).astype(np.float32)}


def test_there_is_one_prediction_more_than_layers_and_scales_take_turns():
    built = decoder(num_layers=4)
    features = inputs()
    predictions = built(features)
    assert [prediction["mask_logits"].shape for prediction in predictions] == [(1, 5, 8, 10)] * 5
    _, _, blocked = built.decode(features)
    assert [layer.shape[2] for layer in blocked] == [2, 6, 20, 2]


def test_training_predicts_the_same_and_one_prediction_is_enough_without_deep_supervision():
    built, last_only = decoder(num_layers=2), decoder(num_layers=2, deep_supervision=False)
    for ours, theirs in zip(last_only.weights, built.weights, strict=True):
        ours.assign(theirs)
    features = inputs()
    trained, served = (built(features, training=training) for training in (True, False))
    for one, other in zip(trained, served, strict=True):
        np.testing.assert_allclose(one["mask_logits"], other["mask_logits"], atol=1e-5)
    (last,) = last_only(features)
    np.testing.assert_allclose(last["class_logits"], served[-1]["class_logits"], atol=1e-6)
    class_logits, embeddings = built.last_queries(features)
    np.testing.assert_allclose(class_logits, served[-1]["class_logits"], atol=1e-6)
    assert embeddings.shape == (1, 5, 8)


def test_pre_norm_leaves_the_sum_of_all_sub_layers_unnormed():
    built = decoder(num_layers=1, pre_norm=True)
    layer = built.decoder_layers[0]
    for sublayer in (layer.cross_attention.output_projection, layer.self_attention.output_projection):
        sublayer.kernel.assign(np.zeros(sublayer.kernel.shape))
    layer.feed_forward.linear2.kernel.assign(np.zeros((24, 16)))
    layer.feed_forward.linear2.bias.assign(np.ones(16))
    queries = np.random.default_rng(0).normal(size=(1, 5, 16)).astype(np.float32)
    after = layer(queries, queries, queries, queries, np.zeros((1, 5, 5), bool))
    np.testing.assert_allclose(after, queries + 1, atol=1e-6)


def test_features_under_a_mask_are_classified_by_their_mean():
    head = MaskPooledClassHead(num_classes=1, dropout=0.5)
    head.build(2)
    head.linear.kernel.assign([[1.0, 0.0], [0.0, 10.0]])
    # Two cells; the first query is sure of the first one, the second sees both alike, the third sees none.
    cells = np.array([[[60.0, 0.0, -60.0], [-60.0, 0.0, -60.0]]], np.float32)
    values = np.array([[[3.0, 5.0], [1.0, 7.0]]], np.float32)
    found = np.asarray(head(np.eye(3, dtype=np.float32)[None], [(cells, values)]))
    # Normed over two channels, whichever is larger becomes 1 and the other one -1.
    np.testing.assert_allclose(found[0], [[-1, 10], [-1, 10], [0, 0]], atol=1e-2)


def test_a_pooled_class_head_begins_as_nothing_and_answers_alike_in_one_step_and_in_two():
    config = {"num_layers": 2, "pooled_features": ("scale_0", "scale_2"), "pooled_dropout": 0.5}
    built, plain = decoder(**config), decoder(num_layers=2)
    for ours, theirs in zip(plain.weights, built.weights, strict=False):
        assert ours.path.split("/")[1:] == theirs.path.split("/")[1:]
        ours.assign(theirs)
    features = inputs()
    for one, other in zip(built(features), plain(features), strict=True):
        np.testing.assert_allclose(one["class_logits"], other["class_logits"], atol=1e-6)
    built.pooled_class_head.linear.kernel.assign(np.random.default_rng(1).normal(size=(32, 4)))
    changed = built(features)
    assert np.abs(changed[0]["class_logits"] - plain(features)[0]["class_logits"]).max() > 0.1
    np.testing.assert_allclose(built.last_queries(features)[0], changed[-1]["class_logits"], atol=1e-5)
    trained = built(features, training=True)[-1]["class_logits"]
    assert np.abs(trained - changed[-1]["class_logits"]).max() > 0.1
