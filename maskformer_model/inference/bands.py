"""A photo's full-size work, a band of rows at a time, so that memory does not grow with the photo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any

BAND_PIXELS = 1 << 17  # 20 masks of a band are 10 MB: they stay in the processor's cache from step to step.
_BAND_SCORES = 1 << 23  # Of all classes together: 32 MB.


def mask_band_height_px(photo_size_px: Tensor) -> Tensor:
    """Rows of a band of masks."""
    return tf.maximum(BAND_PIXELS // photo_size_px[1], 1)


def score_band_height_px(photo_size_px: Tensor, input_size_px: Tensor, num_classes: int) -> Tensor:
    """Rows of a band of class scores that are resized from an input of that size, which may be the larger one."""
    (photo_height_px, photo_width_px), (input_height_px, input_width_px) = map(
        tf.unstack, (photo_size_px, input_size_px)
    )
    width_px = tf.maximum(photo_width_px, input_width_px)
    rows = tf.minimum(BAND_PIXELS, _BAND_SCORES // num_classes) // width_px
    return tf.maximum(rows * photo_height_px // tf.maximum(photo_height_px, input_height_px), 1)


def fold(
    photo_size_px: Tensor,
    band_height_px: Tensor,
    band_at: Callable[[Tensor, Tensor], Tensor],
    step: Callable[..., tuple],
    state: tuple,
) -> tuple:
    """Folds `step(band_at(top, height), *state) -> state` over the photo, top to bottom.

    Args:
        photo_size_px: `[2]` int32.
        band_height_px: Rows of a band; the last one may have fewer.
        band_at: What the step gets of a band.
        step: Gets it and the state.
        state: What the first step gets.
    """

    def body(top, state):
        height = tf.minimum(band_height_px, photo_size_px[0] - top)
        return top + band_height_px, step(band_at(top, height), *state)

    loop_variables = (0, state)
    _, state = tf.while_loop(lambda top, state: top < photo_size_px[0], body, loop_variables, parallel_iterations=1)
    return state


def enlarged(mask_logits: Tensor, rows: Tensor, columns: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns `[queries, band height, width]` of masks, by the matrices of `postprocessing.resize_weights`."""

    def band_at(top, height):
        band = rows[top : top + height]
        # The few rows of the masks that this band lies on: widened first, they make the lesser work.
        first, end = used_columns(band)
        return tf.matmul(band[:, first:end], tf.matmul(mask_logits[:, first:end], columns, transpose_b=True))

    return band_at


def used_columns(weights: Tensor) -> tuple[Tensor, Tensor]:
    """First and end of the columns that hold a weight: the old rows on which some new rows depend."""
    is_used = tf.reduce_max(weights, axis=0) > 0
    first = tf.argmax(is_used, output_type=tf.int32)
    return first, tf.size(is_used) - tf.argmax(is_used[::-1], output_type=tf.int32)
