"""A tiny training run as a process of its own, for tests that kill it or start several at once.

`python -m tests.maskformer_model.helpers.run_training DATA MODEL_DIR [--overrides a.b=c,...] [--replicas N]`; DATA is
what `tiny_run.write_records` wrote. Leaves what `training.loop.train` leaves.
"""

from __future__ import annotations

import argparse
import pathlib


def main() -> None:
    """Trains."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("model_dir")
    parser.add_argument("--overrides", default="")
    parser.add_argument("--replicas", type=int, default=1, help="logical CPUs that share each batch")
    arguments = parser.parse_args()

    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * arguments.replicas)
    # Several on one core too: what depends on which operation is done first is to show.
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.threading.set_intra_op_parallelism_threads(2)

    from maskformer_model.backend import distribution
    from maskformer_model.categories import CategoryTable
    from maskformer_model.training import loop
    from tests.maskformer_model.helpers import tiny_run

    config = tiny_run.experiment(arguments.overrides)
    loop.train(
        config,
        train_files=[str(arguments.data / "train.tfrecord")],
        eval_files=[str(arguments.data / "val.tfrecord")],
        categories=CategoryTable.load(arguments.data / "categories.json"),
        model_dir=arguments.model_dir,
        strategy=distribution.make_strategy(config.runtime.distribution_strategy),
        progress=False,
    )


if __name__ == "__main__":
    main()
