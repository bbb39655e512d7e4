"""Where a job runs: one device, the accelerators of a machine, several machines, or TPUs.

`tf.distribute` on Keras's TensorFlow backend, `keras.distribution` on JAX.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import keras

ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU = "one_device", "mirrored", "multi_worker_mirrored", "tpu"


def chosen_strategy(name: str, tpu: str, num_accelerators: int, environment: Mapping[str, str]) -> str:
    """What `runtime.distribution_strategy` means here; only "auto" leaves a choice.

    Args:
        name: The setting.
        tpu: Name or address of a TPU, "local" for a TPU VM's own, "" for none.
        num_accelerators: GPUs of this machine.
        environment: `TF_CONFIG` with more than one worker asks for several machines.

    Raises:
        ValueError: if `TF_CONFIG` is not json.
    """
    if name != "auto":
        return name
    if tpu:
        return TPU
    if num_workers(environment) > 1:
        return MULTI_WORKER
    return MIRRORED if num_accelerators > 1 else ONE_DEVICE


def make_strategy(name: str, tpu: str = "") -> Any:
    """Returns the `tf.distribute.Strategy` that a setting asks for; None on another backend, see `share_batches`.

    Args:
        name: `runtime.distribution_strategy`.
        tpu: As of `chosen_strategy`.

    Raises:
        RuntimeError: if a TPU is asked for and there is none.
        ValueError: if several machines are asked for and `TF_CONFIG` does not name them, or the backend cannot do it.
    """
    if keras.backend.backend() != "tensorflow":
        share_batches(name)
        return None
    import tensorflow as tf

    # Physical ones: to ask for logical devices starts the runtime, and several machines must be set up before that.
    chosen = chosen_strategy(name, tpu, len(tf.config.list_physical_devices("GPU")), os.environ)
    if chosen == TPU:
        return _tpu_strategy(tpu)
    if chosen == MULTI_WORKER:
        if not num_workers(os.environ):
            raise ValueError(
                "`runtime.distribution_strategy=multi_worker_mirrored` needs the environment variable TF_CONFIG with "
                f"`cluster.worker` and `task`. Received: {os.environ.get('TF_CONFIG')!r}"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if chosen == MIRRORED:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def share_batches(name: str) -> None:
    """Lets Keras's JAX backend cut each batch over the devices of this machine, all of one kind.

    Args:
        name: `runtime.distribution_strategy`; "auto", "mirrored" and "tpu" take all devices.

    Raises:
        ValueError: if the backend is not JAX and more than one device is asked for, or several machines are.
    """
    if name == MULTI_WORKER or (keras.backend.backend() != "jax" and name not in (ONE_DEVICE, "auto")):
        raise ValueError(
            f"`runtime.distribution_strategy` cannot be {name!r} on Keras's {keras.backend.backend()} backend. Several "
            "machines need TensorFlow; several devices of one machine need TensorFlow or JAX."
        )
    if keras.backend.backend() == "jax" and name != ONE_DEVICE:
        devices = keras.distribution.list_devices()
        if len(devices) > 1:
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


def is_chief(strategy: Any) -> bool:
    """Returns whether this process writes what one process has to write."""
    resolver = strategy.cluster_resolver
    task = (resolver.task_type, resolver.task_id) if resolver is not None else (None, None)
    return task[0] in (None, "", "chief", "master") or (task[0] == "worker" and task[1] == 0 and not _has_chief())


def _tpu_strategy(tpu: str) -> Any:
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu or "local")
        if tpu not in ("", "local"):
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        # Which error it is depends on how far the search came; to the user they all mean one thing.
        raise RuntimeError(
            f"`runtime.distribution_strategy=tpu` needs a TPU, and none was found for --tpu {tpu or 'local'!r}: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def num_workers(environment: Mapping[str, str]) -> int:
    """Returns how many workers TF_CONFIG names, the chief among them; 0 without it."""
    cluster = _cluster(environment)
    return len(cluster.get("worker", [])) + len(cluster.get("chief", []))


def _has_chief() -> bool:
    return bool(_cluster(os.environ).get("chief"))


def _cluster(environment: Mapping[str, str]) -> dict[str, list[str]]:
    text = environment.get("TF_CONFIG", "")
    try:
        return json.loads(text).get("cluster", {}) if text else {}
    except ValueError as error:
        raise ValueError(f"The environment variable TF_CONFIG must hold json. Received: {text!r}") from error
