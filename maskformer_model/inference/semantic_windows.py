"""Semantic answers from square windows (EoMT; reference `lightning_module.py`, `window_imgs_semantic`).

The photo's shorter side is scaled to a window's edge. Windows stand side by side along the longer side, evenly
overlapping; scores of classes are averaged where they overlap, and resized to the photo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from maskformer_model.data import normalization, preprocessing
from maskformer_model.inference import bands, postprocessing
from maskformer_model.modeling.layers.bilinear import bilinear_matrix

Tensor = Any


def class_map(network: Callable[[Tensor], dict[str, Tensor]], photo: Tensor, window_px: int) -> Tensor:
    """Returns `[height, width]` int32 class indices.

    Args:
        network: Normalised image `[1, window, window, 3]` -> dict with `class_logits` and `mask_logits`.
        photo: `[height, width, 3]` uint8.
        window_px: Edge of a window.
    """
    photo_size_px = tf.shape(photo)[:2]
    scores = mean_scores(network, photo, window_px)
    rows, columns = (bilinear_matrix(tf.shape(scores)[axis], photo_size_px[axis]) for axis in (0, 1))

    def scores_at(top, height):
        band = rows[top : top + height]
        first, end = bands.used_columns(band)
        return tf.einsum("yh,hwc,xw->yxc", band[:, first:end], scores[first:end], columns)

    def label(band, labels):
        return (labels.write(labels.size(), tf.reshape(tf.argmax(band, axis=-1, output_type=tf.int32), [-1])),)

    height_px = bands.score_band_height_px(photo_size_px, tf.shape(scores)[:2], scores.shape[2])
    labels = tf.TensorArray(tf.int32, size=0, dynamic_size=True, infer_shape=False, element_shape=[None])
    (labels,) = bands.fold(photo_size_px, height_px, scores_at, label, (labels,))
    return tf.reshape(labels.concat(), photo_size_px)


def mean_scores(network: Callable[[Tensor], dict[str, Tensor]], photo: Tensor, window_px: int) -> Tensor:
    """Returns `[height, width, classes]` float32 of the scaled photo, averaged over the windows that see a pixel."""
    size_px = preprocessing.scaled_size(tf.shape(photo)[:2], window_px, fits=False)
    scaled = preprocessing.resize_image(photo, size_px)
    is_high = size_px[0] > size_px[1]
    # Along the columns, whichever side is the longer one.
    lying = tf.cond(is_high, lambda: tf.transpose(scaled, (1, 0, 2)), lambda: scaled)
    starts = window_starts(tf.shape(lying)[1], window_px)

    def add(index, total, count):
        start = starts[index]
        window = lying[:, start : start + window_px]
        window = tf.cond(is_high, lambda: tf.transpose(window, (1, 0, 2)), lambda: window)
        outputs = network(normalization.normalize(tf.reshape(window, (1, window_px, window_px, 3))))
        masks = postprocessing.resize_logits(outputs["mask_logits"][0], (window_px, window_px))
        scores = tf.transpose(postprocessing.semantic_inference(outputs["class_logits"][0], masks), (1, 2, 0))
        scores = tf.cond(is_high, lambda: tf.transpose(scores, (1, 0, 2)), lambda: scores)
        beside = [[0, 0], [start, tf.shape(lying)[1] - start - window_px], [0, 0]]
        return index + 1, total + tf.pad(scores, beside), count + tf.pad(tf.ones_like(scores[..., :1]), beside)

    _, total, count = add(tf.constant(0), tf.zeros(()), tf.zeros(()))
    num_classes = total.shape[2]
    shapes = (tf.TensorShape([]), tf.TensorShape([window_px, None, num_classes]), tf.TensorShape([window_px, None, 1]))
    _, total, count = tf.while_loop(
        lambda index, *_: index < tf.size(starts),
        add,
        (tf.constant(1), total, count),
        shape_invariants=shapes,
        parallel_iterations=1,
    )
    mean = total / count
    return tf.cond(is_high, lambda: tf.transpose(mean, (1, 0, 2)), lambda: mean)


def window_starts(length_px: Tensor, window_px: int) -> Tensor:
    """Returns `[windows]` int32: where each begins on a side of that length, which holds at least one."""
    num_windows = -(-length_px // window_px)
    overlap_px = num_windows * window_px - length_px
    shared_px = tf.cast(overlap_px, tf.float64) / tf.cast(tf.maximum(num_windows - 1, 1), tf.float64)
    steps = tf.cast(tf.range(num_windows), tf.float64)
    return tf.cast(steps * (tf.cast(window_px, tf.float64) - shared_px), tf.int32)
