"""Windows along the longer side: where they lie, and how their scores are averaged."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.data.preprocessing import scaled_size
from maskformer_model.inference.semantic_windows import class_map, mean_scores, window_starts


@pytest.mark.parametrize(
    ("length_px", "starts"),
    [
        (8, [0]),
        (9, [0, 1]),  # Two windows share 7 px.
        (16, [0, 8]),
        (20, [0, 6, 12]),  # Three windows of 24 px in all: two overlaps of 2 px each.
        (23, [0, 7, 15]),  # Half a pixel each; the second begins at 7.5, cut off.
    ],
)
def test_windows_are_spread_evenly(length_px, starts):
    assert window_starts(tf.constant(length_px), 8).numpy().tolist() == starts


def test_a_photo_covers_or_fits_a_square_and_halves_go_to_even():
    assert scaled_size(tf.constant([30, 45]), 10, fits=False).numpy().tolist() == [10, 15]
    assert scaled_size(tf.constant([45, 30]), 10, fits=True).numpy().tolist() == [10, 7]
    assert scaled_size(tf.constant([25, 100]), 50, fits=True).numpy().tolist() == [12, 50]  # 12.5
    assert scaled_size(tf.constant([27, 100]), 50, fits=True).numpy().tolist() == [14, 50]  # 13.5
    assert scaled_size(tf.constant([1, 1000]), 50, fits=True).numpy().tolist() == [1, 50]


def network_of(sees):
    """Two queries, for two classes for certain: the first one has the whole window, as strongly as `sees` says."""

    def network(image):
        strength = sees(image)
        return {
            "class_logits": tf.constant([[[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]]]),
            "mask_logits": tf.reshape(tf.stack([strength, 0.0]), (1, 2, 1, 1)) * tf.ones((1, 2, 2, 2)),
        }

    return network


@pytest.mark.parametrize("is_high", [False, True])
def test_scores_are_averaged_where_windows_overlap(is_high):
    strengths = iter([-100.0, 100.0])
    photo = np.zeros((12, 8, 3) if is_high else (8, 12, 3), np.uint8)
    scores = mean_scores(network_of(lambda image: next(strengths)), tf.constant(photo), 8).numpy()
    along = scores[:, 0] if is_high else scores[0]
    # Windows at 0..8 and 4..12: class 0 scores 0 in the first and 1 in the second.
    np.testing.assert_allclose(along[:, 0], [0] * 4 + [0.5] * 4 + [1] * 4, atol=1e-6)
    np.testing.assert_allclose(along[:, 1], 0.5, atol=1e-6)


def test_the_map_has_the_photo_s_size_in_a_graph_too():
    bright = network_of(lambda image: tf.reduce_mean(image))
    photo = np.zeros((10, 60, 3), np.uint8)
    photo[:, 30:] = 255
    in_graph = tf.function(
        lambda pixels: class_map(bright, pixels, 8), input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)]
    )
    labels = in_graph(tf.constant(photo)).numpy()
    assert labels.shape == (10, 60)
    assert (labels[:, :20] == 1).all() and (labels[:, 40:] == 0).all()
