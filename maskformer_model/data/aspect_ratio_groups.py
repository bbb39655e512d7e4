"""Reorders training examples so that photos padded together have one orientation: all wider than high, or none.

The rule is detectron2's `AspectRatioGroupedDataset`: two buckets, and a full bucket leaves as one group. There a
bucket waits without end; here the stream is cut into windows of a fixed number of examples, and what is left in both
buckets at a window's end makes up one mixed group. So the order follows from the stream and the position alone: a run
can start again at any batch, and it is the same for any number of replicas. Padding is left to `input_pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_GROUPS_PER_WINDOW = 32


def window_size(group_size: int, batch_size: int) -> int:
    """Returns how many examples a window has: whole batches, and at least 32 groups."""
    return batch_size * -(-_GROUPS_PER_WINDOW * group_size // batch_size)


def group_by_aspect_ratio(
    data: tf.data.Dataset, group_size: int, batch_size: int, is_wide: Callable[[Any], tf.Tensor]
) -> tf.data.Dataset:
    """Reorders within windows, so that each `group_size` examples in a row are all wide or none is.

    Args:
        data: Examples, from a window's begin on.
        group_size: Photos that are padded together; divides `batch_size`.
        batch_size: Photos of a step.
        is_wide: Example -> bool scalar.

    Returns:
        The same examples, none lost; at most one group of a window is mixed.
    """

    def regroup(window: Any) -> tf.data.Dataset:
        if isinstance(window, dict):
            window = tf.data.Dataset.zip(window)
        # Full buckets leave when they are full; at the window's end the rest of both follow, one after the other.
        return window.group_by_window(
            key_func=lambda example: tf.cast(is_wide(example), tf.int64),
            reduce_func=lambda _, group: group,
            window_size=group_size,
        )

    return data.window(window_size(group_size, batch_size)).flat_map(regroup)


def is_wide_record(serialized: tf.Tensor) -> tf.Tensor:
    """Returns whether the photo of a serialized Example is wider than high."""
    keys = ("image/height", "image/width")
    size_px = tf.io.parse_single_example(serialized, {key: tf.io.FixedLenFeature([], tf.int64) for key in keys})
    return size_px["image/width"] > size_px["image/height"]


def is_wide_photo(example: dict[str, tf.Tensor]) -> tf.Tensor:
    """The same of a decoded example."""
    height_px, width_px = tf.unstack(tf.shape(example["image"])[:2])
    return width_px > height_px
