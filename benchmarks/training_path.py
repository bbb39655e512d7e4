"""Training through the whole input pipeline against the same step on one batch that is kept in memory.

What is left of 1 is what reading, decoding, augmenting and padding cost that the step does not hide. Scenes of 96 px
and the embedded experiment: its step is short, so little hides behind it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.row import Row, main

NUM_SCENES = 160
WARM_UP_STEPS, STEPS, ROUNDS = 10, 40, 3


def measure() -> Iterator[Row]:
    """Images per second of both, in turns, from one compiled model."""
    from maskformer_model import experiments, training
    from tests.maskformer_model import tiny_run

    with tempfile.TemporaryDirectory() as folder:
        categories = tiny_run.write_records(pathlib.Path(folder), num_train=NUM_SCENES, num_val=1, size_px=96)
        config = training.with_num_classes(experiments.get("generated_scenes"), categories.num_classes)
        for cache in (True, False):
            task = dataclasses.replace(config.task, train_data=dataclasses.replace(config.task.train_data, cache=cache))
            yield _compare(dataclasses.replace(config, task=task), str(pathlib.Path(folder) / "train.tfrecord"))


def _compare(config: Any, records: str) -> Row:
    from maskformer_model import training

    model = training.build_for_training(config)
    data = training.training_data(config, [records])
    constant = data.take(1).cache().repeat()
    rates: dict[str, list[float]] = {"path": [], "constant": []}
    for _ in range(ROUNDS):
        for name, source in (("path", data), ("constant", constant)):
            rates[name].append(_images_per_s(model, source, config.task.train_data.global_batch_size))
    path, peer = (statistics.median(rates[name]) for name in ("path", "constant"))
    stored = "decoded photos cached" if config.task.train_data.cache else "photos decoded anew"
    return Row(
        name=f"training, input pipeline included: generated_scenes, batch 8, {stored}",
        ours=path,
        unit="images/s",
        peer=peer,
        peer_name="the same step on a constant batch",
        bar="at least 0.9 of the peer",
        passed=path >= 0.9 * peer,
        remark=f"median of {ROUNDS} turns of {STEPS} steps",
    )


def _images_per_s(model: Any, data: Any, batch_size: int) -> float:
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == WARM_UP_STEPS - 1:
                self.start_s = time.perf_counter()
            if batch == WARM_UP_STEPS + STEPS - 1:
                self.seconds = time.perf_counter() - self.start_s

    clock = Clock()
    model.fit(data, epochs=1, steps_per_epoch=WARM_UP_STEPS + STEPS, callbacks=[clock], verbose=0)
    return batch_size * STEPS / clock.seconds


if __name__ == "__main__":
    main(measure)
