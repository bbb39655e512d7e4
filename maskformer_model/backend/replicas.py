"""Sums over the replicas that train one model together."""

from __future__ import annotations

from typing import Any

import keras


def sum_over_replicas(tensors: Any) -> Any:
    """Adds up what every replica has; each gets the sum.

    Only TensorFlow's strategies run a replica's code on its own part of the batch. Under Keras's JAX distribution the
    code sees the whole batch, so there is nothing to add, and on one replica neither.

    Args:
        tensors: a tensor or a list of tensors, of the same shapes on every replica; `None` entries are not supported.

    Returns:
        The same structure.
    """
    if keras.backend.backend() != "tensorflow":
        return tensors
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return tensors
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tensors)
