"""Enlarges predicted masks to the size of the truth, bilinearly, and carries gradients back.

The result and its gradient are those of `modeling.layers.bilinear`. As a product with two matrices an enlargement costs
some hundred multiplications a pixel, nearly all of them with zeros. So where the truth is a whole and even number of
times as large, which every fixed training size is, it is done in phases: the pixels that lie at the same place inside
the cells of a mask mix the same neighbours with the same weights. All values of a phase are next to each other, which
is why the truth is put into the same order once.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.modeling.layers.bilinear import bilinear_matrix


def make_enlargement(size: Any, full_size: Any) -> Matrices | Phases:
    """Returns the cheaper way to enlarge.

    Args:
        size: Height and width of the masks, ints or int32 scalars of a graph.
        full_size: Height and width of the truth.
    """
    if all(isinstance(edge, int) for edge in (*size, *full_size)):
        factors = [full // edge for edge, full in zip(size, full_size, strict=True)]
        if all(
            factor % 2 == 0 and factor * edge == full
            for factor, edge, full in zip(factors, size, full_size, strict=True)
        ):
            return Phases(factors)
    return Matrices(size, full_size)


class Matrices:
    """Enlarges by any factor, with a matrix for the rows and one for the columns."""

    def __init__(self, size, full_size):
        self._rows = bilinear_matrix(size[0], full_size[0])
        self._columns = bilinear_matrix(size[1], full_size[1])

    def order(self, maps):
        """Puts `[maps, full_height, full_width]` into the order that `enlarge` gives: it stays as it is."""
        return maps

    def enlarge(self, masks):
        """Enlarges `[masks, height, width]` to `[masks, full_height, full_width]`."""
        return ops.matmul(self._rows, ops.matmul(masks, ops.transpose(self._columns)))

    def shrink(self, gradient):
        """Returns the gradient by what was enlarged, from that by the result."""
        return ops.matmul(ops.matmul(ops.transpose(self._rows), gradient), self._columns)


class Phases:
    """Enlarges by an even whole factor per axis.

    With factor k, pixel k * i + p lies between cells i - 1 and i in the first half of the phases p, and between i and
    i + 1 in the second. So an axis of k * n pixels becomes three: half, phase within the half, and cell.

    Args:
        factors: Of height and width.
    """

    def __init__(self, factors):
        self._factors = factors

    def order(self, maps):
        """Puts maps into the order that `enlarge` gives.

        `[maps, full_height, full_width]` -> `[maps, 2, row phases / 2, 2, column phases / 2, height, width]`.
        """
        (by_rows, by_columns), (num_maps, height, width) = self._factors, ops.shape(maps)
        maps = ops.reshape(maps, (num_maps, height // by_rows, by_rows, width // by_columns, by_columns))
        halves = (2, by_rows // 2, 2, by_columns // 2)
        maps = ops.transpose(maps, (0, 2, 4, 1, 3))
        return ops.reshape(maps, (num_maps, *halves, height // by_rows, width // by_columns))

    def enlarge(self, masks):
        """Enlarges `[masks, height, width]` to `[masks, 2, row phases / 2, 2, column phases / 2, height, width]`."""
        height, width = masks.shape[1:]
        near, far = (_weights(factor) for factor in self._factors)
        # Rows: [masks, half, phase, height, width].
        masks = _with_edges(masks, axis=1)
        before, after = (ops.stack([masks[:, i : i + height] for i in place], axis=1) for place in ((0, 1), (1, 2)))
        masks = _mixed(before[:, :, None], after[:, :, None], ops.reshape(near, (1, 2, -1, 1, 1)))
        # Columns: [masks, row half, row phase, half, phase, height, width].
        masks = _with_edges(masks, axis=4)
        before, after = (ops.stack([masks[..., i : i + width] for i in place], axis=3) for place in ((0, 1), (1, 2)))
        return _mixed(before[:, :, :, :, None], after[:, :, :, :, None], ops.reshape(far, (1, 1, 1, 2, -1, 1, 1)))

    def shrink(self, gradient):
        """Returns the gradient by what was enlarged, from that by the result."""
        near, far = (_weights(factor) for factor in self._factors)
        # Columns: [masks, row half, row phase, half, height, width] for the cell before and the one after.
        weights = ops.reshape(far, (1, 1, 1, 2, -1, 1, 1))
        before, after = ops.sum((1.0 - weights) * gradient, axis=4), ops.sum(weights * gradient, axis=4)
        gradient = _gathered(before, after, half_axis=3, axis=4)
        # Rows: [masks, half, height, width].
        weights = ops.reshape(near, (1, 2, -1, 1, 1))
        before, after = ops.sum((1.0 - weights) * gradient, axis=2), ops.sum(weights * gradient, axis=2)
        return _gathered(before, after, half_axis=1, axis=1)


def _weights(factor):
    """Returns how far each phase is on its way from the cell before it to the one after, `[2, factor / 2]`."""
    place = (ops.arange(factor, dtype=precise_dtype()) + 0.5) / factor
    return ops.reshape(place + 0.5 - ops.floor(place + 0.5), (2, factor // 2))


def _mixed(before, after, weight):
    return (1.0 - weight) * before + weight * after


def _with_edges(values, axis):
    """Repeats the first and the last slice of an axis."""
    length = values.shape[axis]
    first, last = (_slice(values, axis, start, start + 1) for start in (0, length - 1))
    return ops.concatenate([first, values, last], axis=axis)


def _gathered(before, after, *, half_axis, axis):
    """Adds up what each cell gets as the one before and as the one after; what edges repeated goes to their origin.

    Args:
        before: Gradient by the cells i - 1 (first half) and i (second half).
        after: Gradient by the cells i and i + 1.
        half_axis: Which axis tells the halves apart; it goes.
        axis: The axis of cells, once `half_axis` is gone.
    """
    (early, same_before), (same_after, late) = (
        (ops.take(part, 0, axis=half_axis), ops.take(part, 1, axis=half_axis)) for part in (before, after)
    )
    length = early.shape[axis]
    cut = [(values, start, start + length - 1) for values, start in ((early, 1), (late, 0))]
    rest_early, rest_late = (_slice(values, axis, *where) for values, *where in cut)
    to_previous = ops.concatenate([rest_early, _slice(late, axis, length - 1, length)], axis=axis)
    to_next = ops.concatenate([_slice(early, axis, 0, 1), rest_late], axis=axis)
    return same_before + same_after + to_previous + to_next


def _slice(values, axis, start, stop):
    index = [slice(None)] * len(values.shape)
    index[axis] = slice(start, stop)
    return values[tuple(index)]
