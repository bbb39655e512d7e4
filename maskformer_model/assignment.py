"""Exact linear assignment, batched and in the graph (Jonker and Volgenant's shortest augmenting paths).

The matcher of MaskFormer (arXiv:2107.06278, section 3.2) gives every target its own query at the least total cost.
SciPy solves that on the host; here it is a loop of array operations, so that it runs inside a compiled training step
and on a TPU. Each batch element walks its own search: the loop ends when the slowest is done, not after the sum of the
slowest of every target. Only dual values of the rows are kept (those of the columns follow from them), so a step
touches `[batch, rows]` numbers and nothing else. What the costs mean is left to `matcher.py`.
"""

from __future__ import annotations

import functools

import keras
from keras import ops

LARGEST_COST = 1e30  # Costs beyond are treated as not finite: sums of them would overflow float32.


def linear_sum_assignment(cost, valid_columns):
    """Gives columns to rows, at most one to one, at the least total cost.

    As many valid columns are assigned as there are rows for; where there are more columns than rows, the surplus that
    is best left out stays unassigned. The result is optimal up to float32 rounding; which of several optima comes out
    is not specified. A cost that is NaN, infinite or beyond +-1e30 marks a pair to avoid: it is chosen only where no
    assignment of the same size does without. No gradient flows.

    Args:
        cost: `[batch, rows, columns]` float; rows and columns must be known when the graph is built.
        valid_columns: `[batch, columns]` bool; False for padding, whose costs are never looked at.

    Returns:
        `[batch, columns]` int32, the row of each column in `0..rows-1`, or -1 for padding and for columns left out.

    Raises:
        ValueError: if the ranks are not 3 and 2, or rows or columns are unknown.
    """
    cost = ops.cast(ops.stop_gradient(cost), "float32")
    valid_columns = ops.cast(valid_columns, "bool")
    if len(cost.shape) != 3 or len(valid_columns.shape) != 2:
        raise ValueError(
            "`cost` must be [batch, rows, columns] and `valid_columns` [batch, columns]. "
            f"Received shapes: {tuple(cost.shape)} and {tuple(valid_columns.shape)}"
        )
    if None in tuple(cost.shape)[1:]:
        raise ValueError(f"Rows and columns of `cost` must be static. Received shape: {tuple(cost.shape)}")
    if 0 in tuple(cost.shape):
        return -ops.ones_like(valid_columns, dtype="int32")
    return ops.stop_gradient(_compiled_solver(keras.backend.backend())(cost, valid_columns))


@functools.cache
def _compiled_solver(backend):
    """Returns `_solve`, compiled where the backend would otherwise run the loop one operation at a time."""
    if backend != "tensorflow":
        return _solve
    import tensorflow as tf

    # The one place that names a backend: an iteration costs 6 us in a TensorFlow graph and 0.3 us under XLA.
    return tf.function(_solve, jit_compile=True, autograph=False)


def _solve(cost, valid_columns):
    """`linear_sum_assignment` for checked arguments."""
    num_rows, num_columns = cost.shape[1:]
    cost = _with_surplus_rows(_finite(cost, valid_columns), valid_columns)
    search = _Search(cost)
    owner, pending, num_pending = _uncontested(cost, valid_columns)
    owner = search.run(owner, pending, num_pending)
    owner = owner[:, :num_rows]
    owns = ops.expand_dims(owner, 2) == ops.arange(num_columns, dtype="int32")
    row = ops.reshape(ops.arange(num_rows, dtype="int32"), (1, -1, 1))
    return ops.max(ops.where(owns, row, -1), axis=1)


def _finite(cost, valid_columns):
    """Replaces what is not finite by one cost so large that avoiding it always pays; padding becomes 0."""
    valid = ops.expand_dims(valid_columns, 1)
    finite = valid & (ops.abs(cost) < LARGEST_COST)  # False for NaN too.
    high = ops.max(ops.where(finite, cost, -LARGEST_COST), axis=(1, 2), keepdims=True)
    low = ops.min(ops.where(finite, cost, LARGEST_COST), axis=(1, 2), keepdims=True)
    span = ops.maximum(ops.maximum(high - low, ops.abs(high)), 1.0)
    avoided = high + (min(cost.shape[1:]) + 1) * span
    avoided = ops.where(high < low, 1.0, avoided)  # Nothing is finite: all are equally bad.
    return ops.where(finite, cost, ops.where(valid, avoided, 0.0))


def _with_surplus_rows(cost, valid_columns):
    """Returns `[batch, columns, rows]` costs, with free extra rows that take exactly the columns too many.

    Whichever columns they take, the extra rows add the same cost, so the rest is the best rectangular assignment.
    """
    num_rows, num_columns = cost.shape[1:]
    cost = ops.transpose(cost, (0, 2, 1))
    if num_columns <= num_rows:
        return cost
    surplus = ops.sum(ops.cast(valid_columns, "int32"), axis=1) - num_rows
    extra = ops.arange(num_columns - num_rows, dtype="int32")
    usable = ops.expand_dims(extra < ops.expand_dims(surplus, 1), 1)
    extra_cost = ops.where(usable, 0.0, float("inf")) + ops.zeros_like(cost[:, :, :1])
    return ops.concatenate([cost, extra_cost], axis=2)


def _uncontested(cost, valid_columns):
    """Gives each row to the first column that likes it best of all; with equal duals these choices are optimal.

    Returns:
        The column of each row `[batch, rows]` int32 (-1 for none), the columns still to be assigned, first ones first
        `[batch, columns]` int32, and how many those are `[batch]` int32.
    """
    _, num_columns, num_rows = cost.shape
    column = ops.arange(num_columns, dtype="int32")
    best_row = ops.cast(ops.argmin(cost, axis=2), "int32")
    likes = ops.expand_dims(best_row, 2) == ops.arange(num_rows, dtype="int32")
    likes = likes & ops.expand_dims(valid_columns, 2)
    first = ops.min(ops.where(likes, ops.reshape(column, (1, -1, 1)), num_columns), axis=1)
    owner = ops.where(first == num_columns, -1, first)
    is_owner = ops.any(likes & (ops.expand_dims(owner, 1) == ops.reshape(column, (1, -1, 1))), axis=2)
    left = valid_columns & ops.logical_not(is_owner)
    pending = ops.cast(ops.argsort(ops.where(left, column, column + num_columns), axis=1), "int32")
    return owner, pending, ops.sum(ops.cast(left, "int32"), axis=1)


class _Search:
    """Shortest augmenting paths over `cost` `[batch, columns, rows]`, all batch elements in step.

    Loop state, one entry per batch element: `dual` of each row, `owner` column of each row (-1 free); for the path that
    is being searched `shortest` distance of each row, the row it was reached from (`previous`, -1 from the start) and
    whether it is `closed`; the row and column where the search stands (`at_row`, `at_column`), the `offset` to add to
    reduced costs there, and how many of the pending columns are done (`cursor`).
    """

    def __init__(self, cost):
        self.num_columns, self.num_rows = cost.shape[1:]
        self.flat_cost = ops.reshape(cost, (-1, self.num_rows))
        self.row = ops.expand_dims(ops.arange(self.num_rows, dtype="int32"), 0)
        self.batch = ops.cumsum(ops.ones_like(cost[:, 0, 0], dtype="int32")) - 1

    def run(self, owner, pending, num_pending):
        """Assigns all pending columns; returns the final `owner`."""
        zeros = ops.zeros_like(self.batch)
        pending = ops.reshape(pending, (-1,))

        def start_column(cursor):
            last = ops.minimum(cursor, self.num_columns - 1)
            return ops.take(pending, self.batch * self.num_columns + last, axis=0)

        def unfinished(cursor, *_):
            return ops.any(cursor < num_pending)

        def step(cursor, at_column, at_row, offset, dual, owner, shortest, previous, closed):
            reached, previous = self._relax(at_column, at_row, offset, dual, shortest, previous, closed)
            distance, nearest, is_free = self._nearest(reached, owner, closed)
            found = is_free & (cursor < num_pending)
            done = ops.expand_dims(found, 1)
            # Rows passed by the search become dearer, so that every assigned pair stays tight.
            dual = ops.where(done & closed, dual + reached - ops.expand_dims(distance, 1), dual)
            next_column = self._pick(owner, nearest)
            owner = self._augment(ops.where(found, nearest, -1), start_column(cursor), previous, owner)
            cursor = cursor + ops.cast(found, "int32")
            closed = ops.logical_not(done) & (closed | (self.row == ops.expand_dims(nearest, 1)))
            at_column = ops.where(found, start_column(cursor), ops.maximum(next_column, 0))
            offset = distance - (self._cost_at(at_column, nearest) - self._pick(dual, nearest))
            offset = ops.where(found, 0.0, offset)
            at_row = ops.where(found, -1, nearest)
            reached = ops.where(done, float("inf"), reached)
            return cursor, at_column, at_row, offset, dual, owner, reached, previous, closed

        dual = ops.zeros_like(owner, dtype="float32")
        unreached = ops.full_like(dual, float("inf"))
        start = (zeros, start_column(zeros), zeros - 1, ops.cast(zeros, "float32"), dual, owner, unreached)
        start += (ops.zeros_like(owner), ops.zeros_like(owner, dtype="bool"))
        return ops.while_loop(unfinished, step, start)[5]

    def _relax(self, at_column, at_row, offset, dual, shortest, previous, closed):
        """Lowers the distance of every open row that is nearer by way of `at_column`."""
        cost = ops.take(self.flat_cost, self.batch * self.num_columns + at_column, axis=0)
        distance = cost - dual + ops.expand_dims(offset, 1)
        nearer = (distance < shortest) & ops.logical_not(closed)
        return ops.where(nearer, distance, shortest), ops.where(nearer, ops.expand_dims(at_row, 1), previous)

    def _nearest(self, shortest, owner, closed):
        """Returns the least distance of an open row, that row (a free one among equals), and whether it is free."""
        shortest = ops.where(closed, float("inf"), shortest)
        distance = ops.min(shortest, axis=1)
        rank = ops.where(owner < 0, self.row, self.row + self.num_rows)
        best = ops.min(ops.where(shortest == ops.expand_dims(distance, 1), rank, 2 * self.num_rows), axis=1)
        is_free = best < self.num_rows
        return distance, ops.where(is_free, best, ops.minimum(best - self.num_rows, self.num_rows - 1)), is_free

    def _augment(self, row, start_column, previous, owner):
        """Hands the columns along the found path one row on; `row` is where it ends, -1 for no path."""

        def on_path(row, _):
            return ops.any(row >= 0)

        def hand_on(row, owner):
            before = self._pick(previous, ops.maximum(row, 0))
            column = ops.where(before < 0, start_column, self._pick(owner, ops.maximum(before, 0)))
            owner = ops.where(self.row == ops.expand_dims(row, 1), ops.expand_dims(column, 1), owner)
            return ops.where(row < 0, -1, before), owner

        return ops.while_loop(on_path, hand_on, (row, owner))[1]

    def _pick(self, values, row):
        """`values[b, row[b]]` for every batch element."""
        return ops.take(ops.reshape(values, (-1,)), self.batch * self.num_rows + row, axis=0)

    def _cost_at(self, column, row):
        """`cost[b, column[b], row[b]]` for every batch element."""
        index = (self.batch * self.num_columns + column) * self.num_rows + row
        return ops.take(ops.reshape(self.flat_cost, (-1,)), index, axis=0)
