"""What is compiled gives what it gave, wherever it is called."""

import numpy as np
import tensorflow as tf
from keras import ops

from maskformer_model.backend.compilation import compiled


def halvings(value):
    """How often a value can be halved before it is below 1, and what is left."""
    return ops.while_loop(lambda count, rest: rest >= 1.0, lambda count, rest: (count + 1, rest / 2.0), (0, value))


def test_the_answer_is_the_same_eagerly_in_a_graph_and_inside_another_compilation():
    value = tf.constant(20.0)
    run = compiled(halvings)
    for function in (run, tf.function(run), tf.function(run, jit_compile=True)):
        count, rest = function(value)
        assert int(count) == 5
        assert float(rest) == 0.625


def test_a_function_is_compiled_once():
    assert compiled(halvings) is compiled(halvings)


def test_every_combination_of_shapes_gets_its_own_program():
    def double(values):
        return 2 * values

    run = compiled(double)
    for length in (1, 3):
        np.testing.assert_array_equal(run(tf.range(length)), 2 * np.arange(length))
