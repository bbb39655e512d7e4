"""Training through the whole input pipeline against the same step on one batch that is kept in memory.

What is left of 1 is what reading, decoding, augmenting and padding cost that the step does not hide: on a machine
without an accelerator both share the cores. Scenes of 96 px and the embedded experiment, whose step is short; and the
published ResNet-50 at 640 px, whose step is what a training on real photos waits for.
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

ROUNDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained, on how many scenes, and for how many steps in each turn."""

    experiment: str
    overrides: str
    size_px: int
    num_scenes: int
    warm_up_steps: int
    steps: int


CASES = (
    Case(experiment="generated_scenes", overrides="", size_px=96, num_scenes=160, warm_up_steps=10, steps=40),
    Case(
        experiment="generated_scenes",
        overrides="task.train_data.cache=false",
        size_px=96,
        num_scenes=160,
        warm_up_steps=10,
        steps=40,
    ),
    Case(
        experiment="maskformer_coco_panoptic",
        overrides="task.train_data.parser.output_size=[640,640],task.train_data.parser.augmentation=lsj,"
        "task.train_data.parser.max_targets=100,task.train_data.global_batch_size=1,task.init_checkpoint=",
        size_px=640,
        num_scenes=12,
        warm_up_steps=1,
        steps=3,
    ),
)


def measure() -> Iterator[Row]:
    """Images per second of both, in turns, from one compiled model."""
    from maskformer_model import experiments
    from maskformer_model.config import override
    from maskformer_model.training import loop
    from tests.maskformer_model.helpers import tiny_run

    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            categories = tiny_run.write_records(
                pathlib.Path(folder), num_train=case.num_scenes, num_val=1, size_px=case.size_px
            )
            config = override(experiments.get(case.experiment), f"task.model.num_classes=0,{case.overrides}")
            config = loop.with_num_classes(config, categories.num_classes)
            yield _compare(case, config, str(pathlib.Path(folder) / "train.tfrecord"))


def _compare(case: Case, config: Any, records: str) -> Row:
    from maskformer_model.training import batches, loop

    batch_size = config.task.train_data.global_batch_size
    model = loop.build_for_training(config)
    data = batches.training_data(config, [records])
    constant = data.take(1).cache().repeat()
    rates: dict[str, list[float]] = {"path": [], "constant": []}
    for _ in range(ROUNDS):
        for name, source in (("path", data), ("constant", constant)):
            rates[name].append(_images_per_s(case, model, source, batch_size))
    path, peer = (statistics.median(rates[name]) for name in ("path", "constant"))
    stored = "decoded photos cached" if config.task.train_data.cache else "photos decoded again"
    return Row(
        name=f"training, input pipeline included: {case.experiment}, {case.size_px} px, batch {batch_size}, {stored}",
        ours=path,
        unit="images/s",
        peer=peer,
        peer_name="the same step on a constant batch",
        bar="at least 0.9 of the peer",
        passed=path >= 0.9 * peer,
        remark=f"median of {ROUNDS} turns of {case.steps} steps",
    )


def _images_per_s(case: Case, model: Any, data: Any, batch_size: int) -> float:
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == case.warm_up_steps - 1:
                self.start_s = time.perf_counter()
            if batch == case.warm_up_steps + case.steps - 1:
                self.seconds = time.perf_counter() - self.start_s

    clock = Clock()
    model.fit(data, epochs=1, steps_per_epoch=case.warm_up_steps + case.steps, callbacks=[clock], verbose=0)
    return batch_size * case.steps / clock.seconds


if __name__ == "__main__":
    main(measure)
