"""Turns the segments of a panoptic PNG into training targets: one map of small numbers and one class per number.

A target is what one query has to predict: a segment for panoptic and instance training, all pixels of one class for
semantic training (paper, section 3.1). Number k in the map is row k - 1 of the classes, 0 is void. The number of
targets is limited by rule: the largest stay. Masks as `[targets, height, width]` are never made here.
"""

from __future__ import annotations

import tensorflow as tf

from maskformer_model.config import INSTANCE, SEMANTIC


def segment_ids(panoptic_png: tf.Tensor) -> tf.Tensor:
    """Decodes a panoptic PNG in a graph; `panoptic_png.decode_panoptic_png` is its checked numpy twin.

    Args:
        panoptic_png: scalar string, an 8-bit RGB PNG.

    Returns:
        `[height, width]` int32 in 0..2**24-1.
    """
    # R + 256 G + 65536 B is how a little-endian machine reads the bytes R G B 0; three casts and sums take 3 times
    # as long. The PNG has no alpha channel, so the decoder fills the fourth byte with 255.
    rgba = tf.io.decode_png(panoptic_png, channels=4)
    return tf.bitwise.bitwise_and(tf.bitcast(rgba, tf.int32), 0xFFFFFF)


def choose_targets(
    segments: dict[str, tf.Tensor], *, kind: str, max_targets: int, keep_crowd: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decides which segments become targets, and numbers them in the order of the list.

    Crowd segments are left out unless `keep_crowd`; for semantic training they are pixels of their class like any
    other. Instance training leaves stuff out. Of more than `max_targets` targets the smallest are left out, and of two
    of the same area the later one. What is left out is void.

    Args:
        segments: `class_index`, `area`, `iscrowd` and `isthing`, each `[segments]` int64.
        kind: "panoptic", "instance" or "semantic".
        max_targets: 1..255.
        keep_crowd: treat crowds as any other segment.

    Returns:
        `[segments]` uint8, each segment's target number or 0, and `[targets]` int32 class indices.
    """
    usable = tf.ones_like(segments["iscrowd"], tf.bool)
    if not keep_crowd and kind != SEMANTIC:
        usable &= tf.equal(segments["iscrowd"], 0)
    if kind == INSTANCE:
        usable &= tf.not_equal(segments["isthing"], 0)
    rows = tf.cast(tf.where(usable)[:, 0], tf.int32)
    classes, areas = (tf.gather(segments[name], rows) for name in ("class_index", "area"))
    if kind == SEMANTIC:
        classes, group = tf.unique(classes)
        areas = tf.math.unsorted_segment_sum(areas, group, tf.size(classes))
    else:
        group = tf.range(tf.size(classes))
    rank = tf.argsort(tf.argsort(areas, direction="DESCENDING", stable=True))
    is_kept = rank < max_targets
    number = tf.where(is_kept, tf.cumsum(tf.cast(is_kept, tf.int32)), 0)
    target_of_segment = tf.scatter_nd(rows[:, None], tf.gather(number, group), tf.shape(usable))
    return tf.cast(target_of_segment, tf.uint8), tf.cast(tf.boolean_mask(classes, is_kept), tf.int32)


def number_segments(ids: tf.Tensor, listed_ids: tf.Tensor, target_of_segment: tf.Tensor) -> tf.Tensor:
    """Writes each pixel's target number in place of its segment id.

    Args:
        ids: `[height, width]` int32 segment ids.
        listed_ids: `[segments]` int64, each id once.
        target_of_segment: `[segments]` uint8, see `choose_targets`.

    Returns:
        `[height, width]` uint8; 0 where the id is not listed.
    """
    # Sorted break points: at an id its target begins, at the next id void does. Where both fall together the id, being
    # later in the list, wins. One search and one gather per pixel, whatever the ids are.
    listed_ids = tf.cast(listed_ids, tf.int32)
    break_points = tf.concat([listed_ids + 1, listed_ids], axis=0)
    order = tf.argsort(break_points, stable=True)
    void = tf.zeros_like(target_of_segment)
    table = tf.concat([tf.zeros([1], tf.uint8), tf.gather(tf.concat([void, target_of_segment], axis=0), order)], axis=0)
    interval = tf.searchsorted(tf.gather(break_points, order), tf.reshape(ids, [-1]), side="right")
    return tf.reshape(tf.gather(table, interval), tf.shape(ids))


def drop_empty_targets(segment_map: tf.Tensor, segment_classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Leaves out targets without a pixel, as after a crop, and closes the gaps in the numbers.

    Panoptic training keeps them with empty masks where `parser.keep_emptied_targets` asks for it, as the reference.

    Args:
        segment_map: `[height, width]` uint8, 0 = void.
        segment_classes: `[targets]` int32.

    Returns:
        Both, with at most as many targets as before.
    """
    num_targets = tf.size(segment_classes)
    num_pixels = tf.math.bincount(tf.cast(segment_map, tf.int32), minlength=num_targets + 1, maxlength=num_targets + 1)
    is_present = num_pixels[1:] > 0
    number = tf.where(is_present, tf.cumsum(tf.cast(is_present, tf.int32)), 0)
    table = tf.cast(tf.concat([tf.zeros([1], tf.int32), number], axis=0), tf.uint8)
    renumbered = tf.gather(table, tf.cast(segment_map, tf.int32))
    return renumbered, tf.boolean_mask(segment_classes, is_present)
