"""Tests of `maskformer_model.pretrained.tables.shown_sizes`."""

import numpy as np
import pytest

from maskformer_model.pretrained.tables.shown_sizes import count_of, require_matrices, shape_of


def test_an_array_shows_its_shape():
    assert shape_of({"a": np.zeros((2, 3))}, "a") == (2, 3)


def test_a_missing_and_an_empty_array_are_named():
    with pytest.raises(ValueError, match="must hold `b`"):
        shape_of({"a": np.zeros(1)}, "b")
    with pytest.raises(ValueError, match=r"`a` must not be empty. Received the shape: \(0, 1073741824\)"):
        shape_of({"a": np.zeros((0, 2**30))}, "a")


def test_layers_are_counted_by_their_largest_number():
    arrays = {f"layers.{index}.weight": np.zeros(1) for index in (0, 1, 2)}
    assert count_of(arrays, r"layers\.(\d+)\.") == 3
    assert count_of(arrays, r"blocks\.(\d+)\.") == 0


def test_a_layer_of_a_number_beyond_all_arrays_is_refused():
    with pytest.raises(ValueError, match="of 1 arrays must not number a layer 999999999"):
        count_of({"layers.999999999.weight": np.zeros(1)}, r"layers\.(\d+)\.")


def test_two_long_rows_are_not_the_sides_of_a_matrix():
    arrays = {"a": np.zeros((1, 1000)), "b": np.zeros((1000, 1))}
    require_matrices(arrays, [("an attention", 40, 50)])
    with pytest.raises(ValueError, match="of 2000 numbers must not be of a network with an attention of 1000 x 1000"):
        require_matrices(arrays, [("an attention", 1000, 1000)])
