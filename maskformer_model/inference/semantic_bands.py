"""The class of every pixel from the queries of one or more views, in one of two orders (`task.inference`).

`fusion_size` "input": masks come to the size that the network saw, classes and masks are fused there, and the scores of
the classes are resized to the photo, as the reference does for its semantic models. "photo": masks come to the photo's
size and are fused there, as it does where `SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE` or `PANOPTIC_ON` is set. A sigmoid
lies between, so the two differ along borders. Whole maps of scores are `View.semantic_scores`; here are bands of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from maskformer_model.config.task import INPUT_SIZE
from maskformer_model.inference import bands, postprocessing
from maskformer_model.inference.test_time_augmentation import View
from maskformer_model.modeling.layers.bilinear import bilinear_matrix

Tensor = Any


def class_map(views: Sequence[View], photo_size_px: Tensor, fusion_size: str) -> Tensor:
    """Returns `[height, width]` int32 class indices of the largest sum of the views' scores.

    Args:
        views: All queries of each view.
        photo_size_px: `[2]` int32.
        fusion_size: "input" or "photo".
    """
    at_input_size = fusion_size == INPUT_SIZE
    make = _fused_at_input_size if at_input_size else _fused_at_photo_size
    scores_of_views = [make(view, photo_size_px) for view in views]
    sizes_px = [tf.stack(view.valid_size_px) if at_input_size else photo_size_px for view in views]
    num_classes = views[0].class_logits.shape[-1] - 1
    heights_px = [bands.score_band_height_px(photo_size_px, size_px, num_classes) for size_px in sizes_px]

    def scores_at(top, height):
        return sum(scores_at(top, height) for scores_at in scores_of_views)

    def label(scores, labels):
        best = tf.argmax(scores, axis=-1, output_type=tf.int32)
        return (labels.write(labels.size(), tf.reshape(best, [-1])),)

    labels = tf.TensorArray(tf.int32, size=0, dynamic_size=True, infer_shape=False, element_shape=[None])
    (labels,) = bands.fold(photo_size_px, tf.reduce_min(heights_px), scores_at, label, (labels,))
    return tf.reshape(labels.concat(), photo_size_px)


def _fused_at_photo_size(view: View, photo_size_px: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    masks_at = bands.enlarged(tf.cast(view.mask_logits, tf.float32), *view.resize_weights(tf.unstack(photo_size_px)))
    class_probs = _class_probs(view)
    return lambda top, height: tf.einsum("qhw,qc->hwc", tf.sigmoid(masks_at(top, height)), class_probs)


def _fused_at_input_size(view: View, photo_size_px: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a band of the photo is resized from the few rows of the input that it lies on."""
    (valid_height, valid_width), (height_px, width_px) = view.valid_size_px, tf.unstack(photo_size_px)
    rows, columns = postprocessing.resize_weights(tf.shape(view.mask_logits)[1:], view.padded_size_px)
    mask_logits = tf.cast(view.mask_logits, tf.float32)
    masks_at = bands.enlarged(mask_logits, rows[:valid_height], columns[:valid_width])
    rows_of_photo = bilinear_matrix(valid_height, height_px)
    class_probs = _class_probs(view)
    num_queries, num_classes = class_probs.shape
    # Behind the sigmoid both steps are linear, so their order is free: what is resized has the fewer channels.
    fuses_first = num_classes < num_queries

    def scores_at(top, height):
        band = rows_of_photo[top : top + height]
        first, end = bands.used_columns(band)
        seen = tf.transpose(tf.sigmoid(masks_at(first, end - first)), (1, 2, 0))
        seen = tf.matmul(seen, class_probs) if fuses_first else seen
        # This operation is several times as fast as a product with a matrix, but knows whole axes only.
        seen = tf.image.resize(seen, tf.stack([end - first, width_px]))
        seen = seen[:, ::-1] if view.is_flipped else seen
        resized = tf.tensordot(band[:, first:end], seen, axes=1)
        return resized if fuses_first else tf.matmul(resized, class_probs)

    return scores_at


def _class_probs(view: View) -> Tensor:
    """Returns `[queries, classes]` float32, without "no object"."""
    return tf.nn.softmax(tf.cast(view.class_logits, tf.float32))[..., :-1]
