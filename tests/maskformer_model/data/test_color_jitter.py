"""EoMT's change of colours."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.data import color_jitter


def jittered(image, seed):
    return color_jitter.gentle_color_jitter(tf.constant(image), tf.constant([0, seed], tf.int64)).numpy()


def test_the_same_seed_gives_the_same_photo_and_some_seeds_change_nothing():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    found = [jittered(image, seed) for seed in range(100)]
    assert found[0].dtype == np.uint8 and found[0].shape == image.shape
    np.testing.assert_array_equal(found[3], jittered(image, 3))
    # Each of four changes happens half of the time: one photo in sixteen stays as it is, but for rounding in hue.
    unchanged = sum(int(np.abs(one.astype(int) - image).max() <= 1) for one in found)
    assert 1 <= unchanged <= 15


def test_a_grey_photo_stays_grey_and_within_an_eighth_of_its_brightness():
    image = np.full((2, 2, 3), 100, np.uint8)
    levels = [jittered(image, seed)[0, 0] for seed in range(40)]
    assert all(len(set(level.tolist())) == 1 for level in levels)
    values = [int(level[0]) for level in levels]
    # 100 times 1 plus or minus 32 / 255; contrast is about the mean, which is the photo itself.
    assert 87 <= min(values) < 95 and 105 < max(values) <= 113


def test_contrast_moves_pixels_away_from_the_mean_grey_level():
    pixels = tf.constant([[[0.2, 0.2, 0.2], [0.4, 0.4, 0.4]]])
    found = color_jitter._with_contrast(pixels, tf.constant(0.5)).numpy()
    # The weights of the three colours add up to 0.9999.
    assert found[0, :, 0] == pytest.approx([0.15, 0.45], abs=1e-4)
