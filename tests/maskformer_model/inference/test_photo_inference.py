"""One photo to one answer, with a network whose answer is plain to see."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import InferenceConfig
from maskformer_model.inference import bands, postprocessing
from maskformer_model.inference.photo_inference import PhotoInference, pad_to_multiple
from maskformer_model.inference.test_time_augmentation import augmented_panoptic, augmented_semantic
from tests.maskformer_model.helpers.sees_all import SeesAll

PHOTO = np.zeros((40, 64, 3), np.uint8)
PHOTO[:, :16] = 255  # Bright on the left.
ISTHING = [True, False]
AS_IT_IS = {"shortest_edge_px": 40, "max_size_px": 64}


def answers(**settings):
    config = InferenceConfig(**{**AS_IT_IS, "overlap_threshold": 0.5, **settings})
    return PhotoInference(SeesAll(), config, ISTHING)


def test_pixels_go_to_the_query_that_sees_them():
    answer = answers().panoptic(tf.constant(PHOTO), 0.8, 0.5)
    assert answer["segment_map"].shape == (40, 64)
    assert int(answer["num_segments"]) == 2
    np.testing.assert_array_equal(answer["segment_classes"][:2], [0, 1])
    assert (answer["segment_map"].numpy()[:, :14] == 1).all()
    assert (answer["segment_map"].numpy()[:, 18:] == 2).all()


def test_a_photo_of_which_nothing_is_sure_is_all_void():
    answer = answers().panoptic(tf.constant(PHOTO), 0.99999, 0.5)
    assert int(answer["num_segments"]) == 0
    assert not answer["segment_map"].numpy().any()


def test_every_pixel_has_its_class():
    labels = answers().semantic(tf.constant(PHOTO)).numpy()
    assert (labels[:, :14] == 0).all()
    assert (labels[:, 18:] == 1).all()


def test_only_things_are_instances():
    signature = {"area": tf.TensorSpec([], tf.int32)}
    answer = answers().instances(
        tf.constant(PHOTO), lambda mask: {"area": tf.reduce_sum(tf.cast(mask, tf.int32))}, signature, 2
    )
    found = [
        (int(c), int(area))
        for c, score, area in zip(answer["classes"], answer["scores"], answer["area"], strict=True)
        if score > 0.5
    ]
    assert found == [(0, int(answer["area"][0]))]
    assert abs(found[0][1] - 40 * 16) <= 40 * 2


@pytest.mark.parametrize("size_px", [(40, 64), (37, 51), (1, 9), (200, 3)])
def test_padding_and_another_size_leave_the_answer_where_it_was(size_px):
    photo = tf.cast(tf.image.resize(PHOTO, size_px, method="nearest"), tf.uint8)
    answer = answers(size_divisibility=32, shortest_edge_px=80, max_size_px=300).panoptic(photo, 0.8, 0.0)
    assert answer["segment_map"].shape == size_px
    right = int(0.3 * size_px[1]) + 1
    assert (answer["segment_map"].numpy()[:, right:] == answer["segment_map"].numpy()[0, -1]).all()


def test_views_of_test_time_augmentation_are_answered_as_the_functions_answer_them():
    config = InferenceConfig(**AS_IT_IS, augmented_edges_px=(40, 60), size_divisibility=32, overlap_threshold=0.5)
    photos, photo = PhotoInference(SeesAll(), config, ISTHING), tf.constant(PHOTO)
    ours, expected = photos.panoptic(photo, 0.8, 0.5), augmented_panoptic(SeesAll(), photo, ISTHING, config)
    assert int(ours["num_segments"]) == 2
    np.testing.assert_array_equal(ours["segment_map"], expected["segment_map"])
    scores = augmented_semantic(SeesAll(), photo, config)
    np.testing.assert_array_equal(photos.semantic(photo), postprocessing.semantic_map(scores))
    # A mirrored view alone would put the lamp on the other side, a small one alone would blur its edge elsewhere.
    assert int(photos.panoptic(photo, 0.99999, 0.5)["num_segments"]) == 0


@pytest.mark.parametrize("fusion_size", ["input", "photo"])
@pytest.mark.parametrize("size_px", [(40, 64), (61, 90), (23, 31)])
def test_bands_of_a_row_give_the_answer_of_one_piece(monkeypatch, fusion_size, size_px):
    config = InferenceConfig(
        **AS_IT_IS, augmented_edges_px=(40, 60), size_divisibility=32, semantic_fusion_size=fusion_size
    )
    photo = tf.constant(np.random.default_rng(0).integers(0, 256, (*size_px, 3), dtype=np.uint8))
    scores = augmented_semantic(SeesAll(), photo, config)
    assert scores.shape == (2, *size_px)
    monkeypatch.setattr(bands, "BAND_PIXELS", 64)
    np.testing.assert_array_equal(
        PhotoInference(SeesAll(), config, ISTHING).semantic(photo), postprocessing.semantic_map(scores)
    )


@pytest.mark.parametrize("fusion_size", ["input", "photo"])
def test_a_graph_of_unknown_size_labels_every_pixel_as_eager_code_does(fusion_size):
    config = InferenceConfig(**AS_IT_IS, size_divisibility=32, semantic_fusion_size=fusion_size)
    photos = PhotoInference(SeesAll(), config, ISTHING)
    graph = tf.function(photos.semantic, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    for size_px in ((61, 90), (40, 64)):
        photo = tf.constant(np.random.default_rng(1).integers(0, 256, (*size_px, 3), dtype=np.uint8))
        np.testing.assert_array_equal(graph(photo), photos.semantic(photo))


@pytest.mark.parametrize(("divisor", "expected"), [(0, (5, 9)), (4, (8, 12)), (5, (5, 10))])
def test_padding_goes_up_to_the_next_multiple(divisor, expected):
    padded = pad_to_multiple(tf.ones((5, 9, 3)), divisor)
    assert tuple(padded.shape) == (*expected, 3)
    assert float(tf.reduce_sum(padded)) == 5 * 9 * 3
