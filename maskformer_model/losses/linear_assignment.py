"""Solves exact linear assignment, batched and in the graph (Jonker and Volgenant's shortest augmenting paths).

The matcher of MaskFormer (arXiv:2107.06278, section 3.2) gives every target its own query at the least total cost.
SciPy solves that on the host; here it is a loop of array operations, so that it runs inside a compiled training step
and on a TPU. Each batch element walks its own search: the loop ends when the slowest is done, not after the sum of the
slowest of every target. Only the dual values of the larger side are kept (the others follow from them), so a step
touches `[batch, rows]` numbers and nothing else. Which of several optima comes out is decided as SciPy does, because
the reference trains with it and untrained models do produce ties. What the costs mean is left to `matcher.py`.
"""

from __future__ import annotations

import keras
from keras import ops

from maskformer_model.backend.compilation import compiled

LARGEST_COST = 1e30  # Costs beyond are treated as not finite: sums of them would overflow float32.


def linear_sum_assignment(cost, valid_columns):
    """Gives columns to rows, at most one to one, at the least total cost.

    As many valid columns are assigned as there are rows for; where there are more columns than rows, the surplus that
    is best left out stays unassigned. Costs are rounded to float32 and summed in float64 (float32 on the JAX backend),
    so the assignment is the one of `scipy.optimize.linear_sum_assignment`, ties included. A cost that is NaN, infinite
    or beyond +-1e30 marks a pair to avoid: it is chosen only where no assignment of the same size does without. No
    gradient flows.

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
    return ops.stop_gradient(compiled(_solve)(cost, valid_columns))


def _exact_float():
    """The widest float of the backend: sums of a few float32 costs are exact in float64, as they are in SciPy."""
    return "float32" if keras.backend.backend() == "jax" else "float64"


def _solve(cost, valid_columns):
    """`linear_sum_assignment` for checked arguments."""
    cost = _finite(cost, valid_columns)
    num_rows, num_columns = cost.shape[1:]
    if num_columns < num_rows:
        owner = _Search(ops.transpose(cost, (0, 2, 1)), valid_columns, ops.ones_like(cost[:, :, 0], dtype="bool")).run()
        return _place_of_seeker(owner, num_columns)
    cost = ops.pad(cost, ((0, 0), (0, num_columns - num_rows), (0, 0)))
    is_row = ops.arange(num_columns, dtype="int32") < num_rows
    is_row = ops.logical_or(ops.zeros_like(valid_columns), is_row)
    columns_seek = ops.sum(ops.cast(valid_columns, "int32"), axis=1, keepdims=True) < num_rows
    cost = ops.where(ops.expand_dims(columns_seek, 2), ops.transpose(cost, (0, 2, 1)), cost)
    seekers = ops.where(columns_seek, valid_columns, is_row)
    places = ops.where(columns_seek, is_row, valid_columns)
    owner = _Search(cost, seekers, places).run()
    return ops.where(columns_seek, _place_of_seeker(owner, num_columns), owner)


def _place_of_seeker(owner, num_seekers):
    """Turns `[batch, places]` seekers of places into `[batch, num_seekers]` places of seekers; -1 for none."""
    owns = ops.equal(ops.expand_dims(owner, 2), ops.arange(num_seekers, dtype="int32"))
    place = ops.reshape(ops.arange(owner.shape[1], dtype="int32"), (1, -1, 1))
    return ops.max(ops.where(owns, place, -1), axis=1)


def _finite(cost, valid_columns):
    """Replaces what is not finite by one cost so large that avoiding it always pays; padding becomes 0."""
    valid = ops.expand_dims(valid_columns, 1)
    finite = valid & (ops.abs(cost) < LARGEST_COST)  # False for NaN too.
    high = ops.max(ops.where(finite, cost, -LARGEST_COST), axis=(1, 2), keepdims=True)
    low = ops.min(ops.where(finite, cost, LARGEST_COST), axis=(1, 2), keepdims=True)
    span = ops.maximum(ops.maximum(high - low, ops.abs(high)), 1.0)
    avoided = high + (min(cost.shape[1:]) + 1) * span
    avoided = ops.where(high < low, 0.0, avoided)  # Nothing is finite: all are equally bad.
    return ops.where(finite, cost, ops.where(valid, avoided, 0.0))


class _Search:
    """Shortest augmenting paths: gives each seeker a place, where there are at least as many places as seekers.

    All batch elements walk in step, each on its own path. Loop state, one entry per batch element: how many seekers are
    served (`num_served`); where the search stands (`seeker`, the `place` which that one owns, -1 at the start of a
    path, and the `offset` of distances from there); `dual` price and `owner` (seeker, -1 for none) of each place; and
    of the path that is being searched, the `distance` of each place, the place it was reached from (`previous`), its
    position in the list of `open` places (-1 once it is settled), and the length of that list (`num_open`).

    Args:
        cost: `[batch, seekers, places]` finite float32. It stays float32: XLA spreads a gather from a table of more
            than 512 KiB over threads, which costs far more than the gather.
        seekers: `[batch, seekers]` bool, False for those that seek nothing.
        places: `[batch, places]` bool, False for those that cannot be taken.
    """

    def __init__(self, cost, seekers, places):
        self.num_seekers, self.num_places = cost.shape[1:]
        self.flat_cost = ops.reshape(cost, (-1, self.num_places))
        self.place = ops.expand_dims(ops.arange(self.num_places, dtype="int32"), 0)
        self.batch = ops.cumsum(ops.ones_like(cost[:, 0, 0], dtype="int32")) - 1
        self.infinity = ops.full_like(cost[:, 0, :], float("inf"), dtype=_exact_float())
        places = ops.cast(places, "int32")
        # SciPy lists the places last to first, which decides between equal ones.
        self.all_open = ops.where(places > 0, ops.sum(places, axis=1, keepdims=True) - ops.cumsum(places, axis=1), -1)
        self.num_all_open = ops.sum(places, axis=1)
        number = ops.arange(self.num_seekers, dtype="int32")
        order = ops.argsort(ops.where(seekers, number, number + self.num_seekers), axis=1)
        self.order = ops.reshape(ops.cast(order, "int32"), (-1,))
        self.num_to_serve = ops.sum(ops.cast(seekers, "int32"), axis=1)

    def run(self):
        """Serves all seekers; returns `[batch, places]` int32, the seeker of each place or -1."""
        nothing = ops.zeros_like(self.batch)
        none = ops.zeros_like(self.all_open) - 1
        start = {
            "num_served": nothing,
            "seeker": self._next_seeker(nothing),
            "place": nothing - 1,
            "offset": ops.zeros_like(self.infinity[:, 0]),
            "dual": ops.zeros_like(self.infinity),
            "owner": none,
            "distance": self.infinity,
            "previous": none,
            "open": self.all_open,
            "num_open": self.num_all_open,
        }
        names = tuple(start)

        def unserved(*state):
            return ops.any(state[0] < self.num_to_serve)

        def step(*state):
            after = self._step(**dict(zip(names, state, strict=True)))
            return tuple(after[name] for name in names)

        end = ops.while_loop(unserved, step, tuple(start.values()))
        return end[names.index("owner")]

    def _step(self, *, num_served, seeker, place, offset, dual, owner, distance, previous, open, num_open):
        """Settles the nearest open place of every batch element; a free one ends the path and serves its seeker."""
        starts = ops.expand_dims(place < 0, 1)
        open = ops.where(starts, self.all_open, open)
        reached = self._relax(seeker, offset, dual, ops.where(starts, self.infinity, distance), open)
        previous = ops.where(starts | ops.not_equal(reached, distance), ops.expand_dims(place, 1), previous)
        distance = reached
        least, place, is_free = self._nearest(distance, owner, open)
        found = is_free & (num_served < self.num_to_serve)
        ends = ops.expand_dims(found, 1)
        # Places passed on the way become dearer, so that every pair so far stays on a shortest path.
        passed = ends & (open < 0) & (distance < float("inf"))
        dual = ops.where(passed, dual + distance - ops.expand_dims(least, 1), dual)
        next_seeker = self._pick(owner, place)
        owner = self._augment(ops.where(found, place, -1), self._next_seeker(num_served), previous, owner)
        num_served = num_served + ops.cast(found, "int32")
        seeker = ops.where(found, self._next_seeker(num_served), ops.maximum(next_seeker, 0))
        offset = ops.where(found, 0.0, least - self._cost_at(seeker, place) + self._pick(dual, place))
        return {
            "num_served": num_served,
            "seeker": seeker,
            "place": ops.where(found, -1, place),
            "offset": offset,
            "dual": dual,
            "owner": owner,
            "distance": distance,
            "previous": previous,
            "open": self._close(open, num_open, place),
            "num_open": ops.where(found, self.num_all_open, num_open - 1),
        }

    def _relax(self, seeker, offset, dual, distance, open):
        """Shortens the way to every open place that is nearer by way of `seeker`."""
        cost = ops.cast(ops.take(self.flat_cost, self.batch * self.num_seekers + seeker, axis=0), _exact_float())
        candidate = cost - dual + ops.expand_dims(offset, 1)
        return ops.where((candidate < distance) & (open >= 0), candidate, distance)

    def _nearest(self, distance, owner, open):
        """Returns the least distance of an open place, that place, and whether it is free.

        Among equals, SciPy takes the free place last in its list, or else the first of all.
        """
        distance = ops.where(open < 0, self.infinity, distance)
        least = ops.min(distance, axis=1)
        rank = ops.where(owner < 0, self.num_places - 1 - open, self.num_places + open)
        rank = rank * self.num_places + self.place
        best = ops.min(ops.where(ops.equal(distance, ops.expand_dims(least, 1)), rank, 2 * self.num_places**2), axis=1)
        return least, best % self.num_places, best < self.num_places**2

    def _close(self, open, num_open, place):
        """Takes `place` off the list of open ones; the last of the list moves to its position."""
        position = ops.expand_dims(self._pick(open, place), 1)
        last = ops.expand_dims(num_open - 1, 1)
        open = ops.where(ops.equal(open, last), position, open)
        return ops.where(self._is(place), -1, open)

    def _augment(self, place, new_seeker, previous, owner):
        """Moves every seeker on the path that ends in `place` (-1: no path) one place on, to let `new_seeker` in."""

        def on_path(place, _):
            return ops.any(place >= 0)

        def move(place, owner):
            before = self._pick(previous, ops.maximum(place, 0))
            seeker = ops.where(before < 0, new_seeker, self._pick(owner, ops.maximum(before, 0)))
            owner = ops.where(self._is(place), ops.expand_dims(seeker, 1), owner)
            return ops.where(place < 0, -1, before), owner

        return ops.while_loop(on_path, move, (place, owner))[1]

    def _next_seeker(self, num_served):
        index = ops.minimum(num_served, self.num_seekers - 1)
        return ops.take(self.order, self.batch * self.num_seekers + index, axis=0)

    def _is(self, place):
        """Marks one place of every batch element, `[batch, places]`."""
        # Not `==`: TensorFlow's gives up the rank where the size of the batch is not known.
        return ops.equal(self.place, ops.expand_dims(place, 1))

    def _pick(self, values, place):
        """`values[b, place[b]]` for every batch element."""
        return ops.take(ops.reshape(values, (-1,)), self.batch * self.num_places + place, axis=0)

    def _cost_at(self, seeker, place):
        """`cost[b, seeker[b], place[b]]` for every batch element."""
        index = (self.batch * self.num_seekers + seeker) * self.num_places + place
        return ops.cast(ops.take(ops.reshape(self.flat_cost, (-1,)), index, axis=0), _exact_float())
