"""The assignment in the graph is SciPy's: in cost always, in choice too, and nothing it is given makes it hang."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import strategies

from maskformer_model.losses import linear_assignment

# Few shapes, because each is compiled once: fewer, as many and more columns than rows, and single ones.
SHAPES = ((7, 5), (5, 7), (6, 6), (1, 4))
BATCH = 200


def solve(cost, valid_columns=None):
    cost = np.asarray(cost, np.float32)
    if valid_columns is None:
        valid_columns = np.ones((cost.shape[0], cost.shape[2]), bool)
    return np.asarray(linear_assignment.linear_sum_assignment(cost, valid_columns))


def solve_uncompiled(cost, valid_columns=None):
    """`solve` without a compilation, which takes longer than a small problem."""
    cost = tf.constant(cost, tf.float32)
    if valid_columns is None:
        valid_columns = np.ones((cost.shape[0], cost.shape[2]), bool)
    return linear_assignment._solve(cost, tf.constant(valid_columns)).numpy()


def scipy_rows(cost, valid_columns):
    """Row of each column by SciPy, -1 for none; `cost` `[rows, columns]`."""
    columns = np.flatnonzero(valid_columns)
    rows, chosen = scipy.optimize.linear_sum_assignment(cost[:, columns].astype(np.float64))
    result = np.full(cost.shape[1], -1)
    result[columns[chosen]] = rows
    return result


def random_costs(rng, kind, rows, columns):
    shape = (BATCH, rows, columns)
    if kind == "uniform":
        return rng.random(shape)
    if kind == "negative and large":
        return rng.normal(size=shape) * 1e4
    if kind == "few values":
        return rng.integers(0, 4, shape)
    if kind == "equal columns":
        return rng.random(shape)[:, :, rng.integers(0, max(1, columns // 2), columns)]
    return np.outer(np.arange(rows), np.arange(columns)) + rng.integers(0, 2, shape)  # "product"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["uniform", "negative and large", "few values", "equal columns", "product"])
def test_equals_scipy_with_any_padding(shape, kind):
    rng = np.random.default_rng(hash((shape, len(kind))) % 2**32)
    cost = random_costs(rng, kind, *shape).astype(np.float32)
    valid = rng.random((BATCH, shape[1])) < rng.random((BATCH, 1))
    found = solve(cost, valid)
    expected = np.stack([scipy_rows(*problem) for problem in zip(cost, valid, strict=True)])
    np.testing.assert_array_equal(found, expected)


def test_hundred_by_hundred_equals_scipy():
    rng = np.random.default_rng(7)
    product = np.outer(np.arange(100), np.arange(100))
    points = rng.random((2, 100, 2))
    distance = np.linalg.norm(points[0][:, None] - points[1], axis=2)
    cost = np.stack([rng.random((100, 100)), product, -product, distance]).astype(np.float32)
    valid = np.arange(100) < np.array([[100], [100], [60], [37]])
    expected = np.stack([scipy_rows(*problem) for problem in zip(cost, valid, strict=True)])
    np.testing.assert_array_equal(solve(cost, valid), expected)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    strategies.lists(strategies.integers(-3, 3), min_size=12, max_size=12),
    strategies.lists(strategies.booleans(), min_size=4, max_size=4),
)
def test_cost_is_least_for_small_whole_numbers(values, valid):
    cost = np.array(values, np.float32).reshape(1, 3, 4)
    found = solve(cost, np.array([valid]))[0]
    expected = scipy_rows(cost[0], valid)
    pairs = [(row, column) for column, row in enumerate(found) if row >= 0]
    assert len({row for row, _ in pairs}) == len(pairs) == min(3, sum(valid))
    assert sum(cost[0][pair] for pair in pairs) == sum(cost[0][r, c] for c, r in enumerate(expected) if r >= 0)


def test_surplus_column_is_the_dearest():
    # Rows cost the same everywhere, so the column that costs 9 is left out.
    assert solve_uncompiled([[[1, 9, 2], [1, 9, 2]]])[0].tolist().index(-1) == 1


def test_padding_is_never_looked_at():
    cost = np.array([[[5.0, np.nan, 1.0], [2.0, np.inf, 4.0]]])
    assert solve_uncompiled(cost, np.array([[True, False, True]])).tolist() == [[1, -1, 0]]


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_empty_problems_have_empty_answers(shape):
    assert solve(np.zeros(shape)).tolist() == np.full((shape[0], shape[2]), -1).tolist()


def test_no_valid_column_assigns_nothing():
    assert solve_uncompiled(np.zeros((2, 3, 2)), np.zeros((2, 2), bool)).tolist() == [[-1, -1], [-1, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e38, -1e38])
def test_a_cost_that_is_not_finite_is_avoided(bad):
    # The bad pair would be part of the cheapest assignment, were it 0.
    assert solve_uncompiled([[[bad, 100.0], [100.0, 200.0]]]).tolist() == [[1, 0]]


def test_costs_that_are_all_nan_still_end_in_an_assignment():
    assert sorted(solve_uncompiled(np.full((1, 4, 4), np.nan))[0]) == [0, 1, 2, 3]


def test_a_bad_pair_is_taken_where_nothing_else_is_left():
    assert solve_uncompiled([[[np.nan], [np.nan]]]).max() >= 0
    assert solve_uncompiled([[[np.nan, 1.0]]]).tolist() == [[-1, 0]]


def test_eager_equals_graph_equals_xla_and_unknown_batch():
    rng = np.random.default_rng(3)
    cost, valid = rng.random((2, 4, 3)).astype(np.float32), np.array([[True, True, False], [True, True, True]])
    expected = np.stack([scipy_rows(*problem) for problem in zip(cost, valid, strict=True)])
    eager = linear_assignment._solve(tf.constant(cost), tf.constant(valid))
    signature = [tf.TensorSpec([None, 4, 3]), tf.TensorSpec([None, 3], tf.bool)]
    graph = tf.function(linear_assignment.linear_sum_assignment, input_signature=signature)
    inside_xla = tf.function(linear_assignment.linear_sum_assignment, jit_compile=True)
    for found in (eager, graph(cost, valid), inside_xla(cost, valid)):
        np.testing.assert_array_equal(found, expected)


def test_a_batch_whose_size_only_the_costs_know_is_solved():
    # So it is on each of several replicas, where the sizes of photos are free.
    cost = np.random.default_rng(3).random((2, 4, 4)).astype(np.float32)
    signature = [tf.TensorSpec([2, 4, 4]), tf.TensorSpec([None, 4], tf.bool)]
    solve_in_graph = tf.function(linear_assignment._solve, input_signature=signature, autograph=False)
    expected = [scipy_rows(problem, [True] * 4) for problem in cost]
    np.testing.assert_array_equal(solve_in_graph(cost, np.ones((2, 4), bool)), expected)


def test_no_gradient_flows():
    cost = tf.Variable(np.random.default_rng(0).random((2, 5, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        rows = linear_assignment.linear_sum_assignment(cost, np.ones((2, 3), bool))
        loss = tf.reduce_sum(tf.gather(cost, tf.maximum(rows, 0), axis=1, batch_dims=1)) + tf.reduce_sum(
            tf.cast(rows, tf.float32)
        )
    assert tape.gradient(loss, cost) is not None


def test_works_in_an_export(tmp_path):
    module = tf.Module()
    module.match = tf.function(
        linear_assignment.linear_sum_assignment,
        input_signature=[tf.TensorSpec([None, 3, 2]), tf.TensorSpec([None, 2], tf.bool)],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    cost = np.array([[[1, 9], [9, 9], [9, 2]]], np.float32)
    assert loaded.match(cost, np.ones((1, 2), bool)).numpy().tolist() == [[0, 2]]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"`cost` must be \[batch, rows, columns\].*\(3, 2\)"):
        linear_assignment.linear_sum_assignment(np.zeros((3, 2)), np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="must be static"):
        tf.function(
            linear_assignment.linear_sum_assignment,
            input_signature=[tf.TensorSpec([2, None, 2]), tf.TensorSpec([2, 2], tf.bool)],
        ).get_concrete_function()
