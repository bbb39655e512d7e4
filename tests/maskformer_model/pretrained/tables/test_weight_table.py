"""Foreign arrays to ours and back, by hand."""

import keras
import numpy as np
import pytest

from maskformer_model.pretrained.tables.weight_table import (
    CONVOLUTION,
    DEPTHWISE,
    LINEAR,
    QKV_LINEAR,
    QKV_VECTOR,
    CheckpointMismatchError,
    Weight,
    norm_weights_of,
    weights_of,
    write_weights,
)


@pytest.mark.parametrize(
    ("layout", "foreign", "ours"),
    [
        (LINEAR, (5, 3), (3, 5)),
        (CONVOLUTION, (5, 3, 1, 2), (1, 2, 3, 5)),
        (DEPTHWISE, (5, 1, 3, 2), (3, 2, 5, 1)),
        (QKV_LINEAR, (6, 4), (4, 2)),
        (QKV_VECTOR, (6,), (2,)),
    ],
)
def test_an_array_comes_back_as_it_went(layout, foreign, ours):
    array = np.arange(np.prod(foreign), dtype=np.float32).reshape(foreign)
    parts = layout.to_ours(array)
    assert [part.shape for part in parts] == [ours] * layout.parts
    np.testing.assert_array_equal(layout.from_ours(parts), array)
    assert Weight("w", tuple(keras.Variable(part) for part in parts), layout).shape == foreign


def test_query_key_and_value_are_stacked_in_this_order():
    parts = QKV_LINEAR.to_ours(np.array([[1, 2], [3, 4], [5, 6]]))
    assert [part.tolist() for part in parts] == [[[1], [2]], [[3], [4]], [[5], [6]]]


def test_layers_name_their_weights():
    dense, norm = keras.layers.Dense(2, use_bias=False), keras.layers.BatchNormalization()
    dense.build((None, 3))
    norm.build((None, 3))
    assert [weight.name for weight in weights_of("a", dense, LINEAR)] == ["a.weight"]
    names = ["n.weight", "n.bias", "n.running_mean", "n.running_var"]
    assert [weight.name for weight in norm_weights_of("n", norm)] == names


def test_nothing_is_written_unless_everything_fits():
    table = [Weight(name, (keras.Variable(np.zeros((3, 2), np.float32)),), LINEAR) for name in ("a", "b")]
    fitting = np.ones((2, 3), np.float32)
    with pytest.raises(CheckpointMismatchError, match=r"Left over: c\. Missing: b\. Wrong shape: none\."):
        write_weights(table, {"a": fitting, "c": fitting})
    with pytest.raises(CheckpointMismatchError, match=r"Wrong shape: b \(3, 2\) for \(2, 3\)\."):
        write_weights(table, {"a": fitting, "b": fitting.T})
    assert not table[0].read().any()
    write_weights(table, {"a": fitting, "b": 2 * fitting})
    np.testing.assert_array_equal(table[1].read(), 2 * fitting)
