"""Bands of rows come in order, cover the photo once, and are what the whole would be."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.inference import bands, postprocessing


@pytest.mark.parametrize(("band_height_px", "expected"), [(2, [(0, 2), (2, 2), (4, 1)]), (5, [(0, 5)]), (9, [(0, 5)])])
def test_bands_cover_the_photo_once_from_top_to_bottom(band_height_px, expected):
    def place(top, height):
        return tf.stack([top, height])

    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32)])
    def folded(size_px):
        rows = tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=[2])
        (rows,) = bands.fold(
            size_px, band_height_px, place, lambda band, rows: (rows.write(rows.size(), band),), (rows,)
        )
        return rows.stack()

    np.testing.assert_array_equal(folded([5, 7]), expected)


@pytest.mark.parametrize("top", [0, 3, 11])
def test_a_band_of_masks_is_that_part_of_the_masks(top):
    masks = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    weights = postprocessing.resize_weights((4, 6), (13, 9), padded_size_px=(16, 24), valid_size_px=(15, 20))
    whole = postprocessing.resize_logits(masks, (13, 9), padded_size_px=(16, 24), valid_size_px=(15, 20)).numpy()
    band = bands.enlarged(tf.constant(masks), *weights)(top, 2)
    np.testing.assert_allclose(band, whole[:, top : top + 2], atol=1e-5)


@pytest.mark.parametrize(
    ("photo_size_px", "input_size_px", "num_classes", "expected"),
    [
        # 2**17 px of a photo 1024 px wide are 128 rows; 2**23 scores of 847 classes are 9903 px, 9 rows.
        ((700, 1024), (700, 1024), 19, 128),
        ((700, 1024), (700, 1024), 847, 9),
        # Rows of an input that is four times as large: 2**23 / 150 are 55924 px, 54 rows, a quarter of which is 13.
        ((175, 256), (700, 1024), 150, 13),
        ((3, 20_000), (3, 20_000), 847, 1),
        ((4, 16), (512, 2048), 847, 1),
    ],
)
def test_bands_of_scores_are_lower_the_more_classes_and_the_larger_the_input(
    photo_size_px, input_size_px, num_classes, expected
):
    sizes_px = tf.constant(photo_size_px), tf.constant(input_size_px)
    assert int(bands.score_band_height_px(*sizes_px, num_classes)) == expected


def test_bands_of_masks_have_a_row_at_least():
    assert int(bands.mask_band_height_px(tf.constant([700, 1024]))) == 128
    assert int(bands.mask_band_height_px(tf.constant([3, 200_000]))) == 1
