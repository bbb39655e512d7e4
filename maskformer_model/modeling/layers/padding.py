"""Pads features below and to the right, so that a layer with a stride leaves nothing out."""

from __future__ import annotations

from keras import ops


def pad_to_multiple(features, multiple: int):
    """Pads `[batch, height, width, channels]` with zeros to heights and widths that `multiple` divides."""
    shape = ops.shape(features)
    below, right = -shape[1] % multiple, -shape[2] % multiple
    if isinstance(below, int) and isinstance(right, int) and below == right == 0:
        return features
    return ops.pad(features, [[0, 0], [0, below], [0, right], [0, 0]])
