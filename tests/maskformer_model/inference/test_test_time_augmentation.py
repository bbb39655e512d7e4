"""Views of one photo become one answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import InferenceConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.inference import postprocessing
from maskformer_model.inference.test_time_augmentation import (
    augmented_panoptic,
    augmented_semantic,
    merge_panoptic_views,
)

ISTHING = np.array([True, True, False, False])


def scene(num_queries=5, size=(8, 20), seed=0):
    """Class and mask logits of queries that each own a band of columns; the last one says "no object"."""
    random = np.random.default_rng(seed)
    classes = random.normal(size=(num_queries, 5)).astype(np.float32)
    classes[np.arange(num_queries), np.arange(num_queries) % 4] += 7
    classes[-1, 4] += 20
    masks = np.full((num_queries, *size), -4, np.float32)
    for query, columns in enumerate(np.array_split(np.arange(size[1]), num_queries)):
        masks[query][:, columns] = 4
    return classes, masks + random.normal(size=masks.shape).astype(np.float32) * 0.1


def panoptic(classes, masks):
    answer = postprocessing.panoptic_inference(classes, masks, ISTHING, 0.8, 0.8)
    return {name: np.asarray(value) for name, value in answer.items()}


def test_one_view_is_the_ordinary_answer():
    classes, masks = scene()
    merged_classes, merged_masks = merge_panoptic_views(classes[None], masks[None])
    np.testing.assert_allclose(merged_masks, masks, atol=1e-4)
    np.testing.assert_allclose(tf.nn.softmax(merged_classes), tf.nn.softmax(classes), atol=1e-5)


def test_queries_find_each_other_in_whatever_order_the_views_have_them():
    classes, masks = scene()
    other_order = np.array([3, 0, 4, 2, 1])
    views = np.stack([classes, classes[other_order]]), np.stack([masks, masks[other_order]])
    alone, merged = panoptic(classes, masks), panoptic(*merge_panoptic_views(*views))
    np.testing.assert_array_equal(merged["segment_map"], alone["segment_map"])
    np.testing.assert_array_equal(merged["segment_classes"], alone["segment_classes"])
    np.testing.assert_allclose(merged["segment_scores"], alone["segment_scores"], atol=1e-5)


def test_partners_are_averaged_as_probabilities():
    classes = np.log(np.array([[[0.9, 0.1]], [[0.7, 0.3]]], np.float32))
    masks = np.array([[[[2.0, 3.0]]], [[[1.0, 5.0]]]], np.float32)
    merged_classes, merged_masks = merge_panoptic_views(classes, masks)
    np.testing.assert_allclose(tf.nn.softmax(merged_classes), [[0.8, 0.2]], atol=1e-6)
    expected = (tf.sigmoid(masks[0]) + tf.sigmoid(masks[1])) / 2
    np.testing.assert_allclose(tf.sigmoid(merged_masks), expected, atol=1e-6)


@pytest.mark.parametrize(
    "other_mask",
    [[-4.0, -4.0, 4.0, 4.0], [-4.0, -4.0, -4.0, -4.0], [4.0, 4.0, 4.0, 4.0]],
    ids=["elsewhere", "empty", "exactly half"],
)
def test_a_query_without_a_partner_stays_as_it_is(other_mask):
    classes = np.log(np.array([[[0.9, 0.1]], [[0.7, 0.3]]], np.float32))
    masks = np.array([[[[4.0, 4.0, -4.0, -4.0]]], [[other_mask]]], np.float32)
    merged_classes, merged_masks = merge_panoptic_views(classes, masks)
    np.testing.assert_allclose(tf.nn.softmax(merged_classes), [[0.9, 0.1]], atol=1e-6)
    np.testing.assert_allclose(merged_masks, masks[0], atol=1e-4)


def test_two_queries_do_not_share_a_partner():
    # Both of the first view's queries fit the other view's only cat; the better one takes it.
    classes = np.log(np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.5, 0.5], [0.1, 0.9]]], np.float32))
    masks = np.array([[[[4.0, 4, 4, -4]], [[4.0, 4, 4, 4]]], [[[4.0, 4, 4, 4]], [[-4.0, -4, -4, -4]]]], np.float32)
    merged_classes, _ = merge_panoptic_views(classes, masks)
    np.testing.assert_allclose(tf.nn.softmax(merged_classes), [[0.9, 0.1], [0.7, 0.3]], atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_equal_eager(jit_compile):
    views = [np.stack(arrays) for arrays in zip(*(scene(seed=seed) for seed in range(3)), strict=True)]
    for eager, graph in zip(
        merge_panoptic_views(*views), tf.function(merge_panoptic_views, jit_compile=jit_compile)(*views), strict=True
    ):
        np.testing.assert_allclose(graph, eager, atol=1e-4)


def bright_parts(image):
    """A network that sees everything at once: query 0 is where the red is bright, query 1 where it is dark."""
    red = tf.nn.avg_pool2d(image[..., :1], 4, 4, "SAME")[..., 0]
    mask_logits = tf.stack([red * 5, -red * 5], axis=1)
    class_logits = tf.constant([[[9.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0, 0.0]]])
    return {"class_logits": class_logits, "mask_logits": mask_logits}


PHOTO = np.zeros((40, 64, 3), np.uint8)
PHOTO[:, :16] = 255  # Bright on the left.
AS_IT_IS = {"shortest_edge_px": 40, "max_size_px": 64}  # The size to which it is resized before views are made.


def test_mirrored_and_resized_views_come_back_to_the_photos_side_and_size():
    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40, 80, 20), augmented_max_size_px=1000)
    answer = augmented_panoptic(bright_parts, tf.constant(PHOTO), ISTHING, config)
    assert answer["segment_map"].shape == (40, 64)
    assert answer["num_segments"] == 2
    np.testing.assert_array_equal(answer["segment_classes"], [0, 2])
    assert (answer["segment_map"].numpy()[:, :12] == 1).all()
    assert (answer["segment_map"].numpy()[:, 20:] == 2).all()


def test_thresholds_of_a_call_win_over_the_config_s():
    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40,), object_mask_threshold=0.5)
    answer = augmented_panoptic(bright_parts, tf.constant(PHOTO), ISTHING, config, object_mask_threshold=0.9999)
    assert answer["num_segments"] == 0
    assert not answer["segment_map"].numpy().any()


def test_one_unflipped_view_gives_the_ordinary_semantic_scores():
    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40,), augmented_flip=False)
    outputs = bright_parts(normalize(tf.constant(PHOTO)[None]))
    masks = postprocessing.resize_logits(outputs["mask_logits"][0], (40, 64))
    expected = postprocessing.semantic_inference(outputs["class_logits"][0], masks)
    np.testing.assert_allclose(augmented_semantic(bright_parts, tf.constant(PHOTO), config), expected, atol=1e-6)


def test_semantic_scores_are_the_mean_over_views():
    photo = tf.constant(PHOTO)
    both = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40, 20), augmented_flip=False)
    alone = [dataclasses.replace(both, augmented_edges_px=(edge,)) for edge in both.augmented_edges_px]
    parts = [augmented_semantic(bright_parts, photo, config).numpy() for config in alone]
    assert np.abs(parts[0] - parts[1]).max() > 1e-3
    np.testing.assert_allclose(augmented_semantic(bright_parts, photo, both), np.mean(parts, axis=0), atol=1e-6)


def test_views_are_padded_as_the_model_was_trained():
    seen = []

    def watching(image):
        seen.append(image.numpy())
        return bright_parts(image)

    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(20,), size_divisibility=32)
    augmented_panoptic(watching, tf.constant(PHOTO), ISTHING, config)
    assert [image.shape for image in seen] == [(1, 32, 32, 3)] * 2
    for image in seen:
        assert not image[:, 20:].any()
        assert image[:, :20].all()
    np.testing.assert_array_equal(seen[0][:, :20], seen[1][:, :20, ::-1])


def test_views_are_made_of_the_resized_photo():
    # Columns of 0 and 255 in turn become one grey when two are joined: 128 in every view, however large, where views of
    # the photo itself would show them again.
    stripes = np.zeros((40, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = []

    def watching(image):
        seen.append(image.numpy())
        return bright_parts(image)

    config = InferenceConfig(
        shortest_edge_px=20, max_size_px=32, augmented_edges_px=(10, 20, 40), augmented_max_size_px=48
    )
    scores = augmented_semantic(watching, tf.constant(stripes), config)
    assert scores.shape == (4, 40, 64)
    # 40 px would make 64 of 32, which is beyond 48.
    sizes_px = [size for size in ((10, 16), (20, 32), (30, 48)) for _ in range(2)]
    assert [image.shape[1:3] for image in seen] == sizes_px
    grey = normalize(np.full((1, 1, 1, 3), 128, np.uint8)).numpy()
    for image in seen:
        inside = image[:, :, 4:-4]  # The filter's window is cut off at the photo's edge.
        np.testing.assert_allclose(inside, np.broadcast_to(grey, inside.shape), atol=2 / 57)


def test_a_graph_of_unknown_size_gives_the_eager_answer():
    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40, 30))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def graph(photo):
        return augmented_panoptic(bright_parts, photo, ISTHING, config)["segment_map"]

    eager = augmented_panoptic(bright_parts, tf.constant(PHOTO), ISTHING, config)["segment_map"]
    np.testing.assert_array_equal(graph(PHOTO), eager)


@pytest.mark.parametrize("function", [augmented_panoptic, augmented_semantic])
def test_there_is_at_least_one_view(function):
    arguments = (ISTHING,) if function is augmented_panoptic else ()
    with pytest.raises(ValueError, match="at least one view"):
        function(bright_parts, tf.zeros((4, 4, 3), tf.uint8), *arguments, InferenceConfig())


def test_a_view_larger_than_the_longest_edge_is_refused():
    with pytest.raises(ValueError, match="augmented_edges_px"):
        InferenceConfig(augmented_edges_px=(800, 5000))
