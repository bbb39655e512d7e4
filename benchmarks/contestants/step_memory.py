"""Measures where the memory of a training step goes: the resident size after each phase.

`python -m benchmarks.contestants.step_memory [EXPERIMENT]` is the profile behind the rows "peak memory" of
`training_step` and `families`; it is not among the measurements of `python -m benchmarks`.
"""

from __future__ import annotations

import pathlib
import re
import sys

from benchmarks.contestants.scene import SIZE_PX, scene

STEPS = 3


def resident_gb(field: str = "VmRSS") -> float:
    """Returns the process's resident size; "VmHWM": the largest one so far."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{field}:\s*(\d+) kB", status)[0]) * 1024 / 1e9


def main(experiment: str = "maskformer_coco_panoptic") -> None:
    """Prints a line for each phase."""
    import keras
    import tensorflow as tf

    def note(phase: str) -> None:
        print(f"{phase:28s} {resident_gb():.2f} GB, at most {resident_gb('VmHWM'):.2f} GB so far", flush=True)

    note("imported")
    from maskformer_model import experiments
    from maskformer_model.training import loop

    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    keras.utils.set_random_seed(0)
    model = loop.build_for_training(experiments.get(experiment))
    note("built")
    image, segment_map, segment_classes = scene()
    x = {"image": tf.constant(image), "valid_size_px": tf.constant([[SIZE_PX, SIZE_PX]])}
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant(segment_classes)}
    step = tf.function(model.train_step)
    operations = step.get_concrete_function((x, y)).graph.get_operations()
    note("traced")
    for index in range(1, STEPS + 1):
        loss = float(step((x, y))["loss"][0])
        note(f"step {index}, loss {loss:.4f}")
    of_optimizer = sum(operation.name.startswith(model.optimizer.name) for operation in operations)
    print(f"{len(operations)} operations, {of_optimizer} of them the optimizer's")
    pool = tf.config.experimental.get_memory_info("CPU:0")
    print(f"TensorFlow's pool: {pool['current'] / 1e9:.2f} GB between steps, at most {pool['peak'] / 1e9:.2f} GB")


if __name__ == "__main__":
    main(*sys.argv[1:])
