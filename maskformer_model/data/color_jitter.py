"""EoMT's change of colours (reference `datasets/transforms.py`, torchvision's rules): gentler than that of SSD."""

from __future__ import annotations

import tensorflow as tf

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32 / 255, 0.5, 0.5, 18 / 360
_GREY_OF_RGB = (0.2989, 0.587, 0.114)


def gentle_color_jitter(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue, each half of the time.

    Brightness is multiplied by 1 plus or minus 32 / 255, contrast (about the mean grey level) and saturation by 0.5 to
    1.5, and hue turns by at most 18 degrees. Contrast comes before saturation and hue or behind them, half of the time
    each. Arguments and result are those of `augmentation.color_jitter`.
    """
    coin_seed, amount_seed = tf.unstack(tf.random.split(seed, 2))
    is_on = tf.random.stateless_uniform([5], coin_seed) < 0.5
    reach = tf.constant([_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE])
    amounts = tf.where(is_on[:4], tf.random.stateless_uniform([4], amount_seed, -1.0, 1.0) * reach, 0.0)
    brightness, contrast, saturation, hue = tf.unstack(amounts)
    pixels = tf.clip_by_value(tf.cast(image, tf.float32) / 255 * (1.0 + brightness), 0.0, 1.0)
    pixels = _with_contrast(pixels, tf.where(is_on[4], contrast, 0.0))
    pixels = _blended(pixels, _grey(pixels), saturation)
    pixels = tf.image.adjust_hue(pixels, hue)
    pixels = _with_contrast(pixels, tf.where(is_on[4], 0.0, contrast))
    return tf.cast(tf.round(pixels * 255), tf.uint8)


def _with_contrast(pixels: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    return _blended(pixels, tf.reduce_mean(_grey(pixels)), amount)


def _blended(pixels: tf.Tensor, other: tf.Tensor, amount: tf.Tensor) -> tf.Tensor:
    """Moves away from another image, or towards it where the amount is negative."""
    return tf.clip_by_value(pixels + amount * (pixels - other), 0.0, 1.0)


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(pixels * _GREY_OF_RGB, axis=-1, keepdims=True)
