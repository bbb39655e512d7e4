"""Views of one photo become one answer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import inference
from maskformer_model.augmented_inference import augmented_logits, merge_panoptic_views, merge_semantic_views

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
    answer = inference.panoptic_inference(classes, masks, ISTHING, 0.8, 0.8)
    return {name: np.asarray(value) for name, value in answer.items()}


def test_one_view_is_the_ordinary_answer():
    classes, masks = scene()
    merged_classes, merged_masks = merge_panoptic_views(classes[None], masks[None])
    np.testing.assert_allclose(merged_masks, masks, atol=1e-4)
    np.testing.assert_allclose(tf.nn.softmax(merged_classes), tf.nn.softmax(classes), atol=1e-5)
    np.testing.assert_allclose(
        merge_semantic_views(classes[None], masks[None]), inference.semantic_inference(classes, masks), atol=1e-6
    )


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


def test_semantic_scores_are_the_mean_over_views():
    classes, masks = scene()
    other_classes, other_masks = scene(seed=1)
    merged = merge_semantic_views(np.stack([classes, other_classes]), np.stack([masks, other_masks]))
    alone = [inference.semantic_inference(*view) for view in ((classes, masks), (other_classes, other_masks))]
    np.testing.assert_allclose(merged, (alone[0] + alone[1]) / 2, atol=1e-6)


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


def test_mirrored_and_resized_views_come_back_to_the_photos_side_and_size():
    photo = np.zeros((40, 64, 3), np.uint8)
    photo[:, :16] = 255  # Bright on the left.
    classes, masks = augmented_logits(
        bright_parts, tf.constant(photo), (40, 64), shortest_edges_px=(40, 80, 20), max_size_px=1000
    )
    assert classes.shape == (6, 2, 5)
    assert masks.shape == (6, 2, 40, 64)
    assert (masks.numpy()[:, 0, :, :10] > 0).all()
    assert (masks.numpy()[:, 0, :, 22:] < 0).all()
    answer = panoptic(*merge_panoptic_views(classes, masks))
    assert answer["num_segments"] == 2
    assert (answer["segment_map"][:, :12] == 1).all()
    assert (answer["segment_map"][:, 20:] == 2).all()


def test_there_is_at_least_one_view():
    with pytest.raises(ValueError, match="at least one view"):
        augmented_logits(bright_parts, tf.zeros((4, 4, 3), tf.uint8), (4, 4), shortest_edges_px=(), max_size_px=9)
