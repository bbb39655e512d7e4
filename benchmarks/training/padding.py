"""Batches of COCO photos before and after grouping by aspect ratio: the share of photo, and what a step takes.

Sizes, augmentation and batches of 64 are those of `maskformer_coco_panoptic`: photos of 480 to 800 px, padded to the
largest one of a batch, or in groups of two to the larger one of the two, as each replica or part does.

The training step is one that two cores can do: the network of `coco_small` on the same photos at `STEP_SCALE` of these
sizes. The batch goes through it in parts of two, with one update at the end. Both sides take turns on a batch that
stays in memory: of the same photos, since a window of grouping is a batch here, but with other random sizes. The first
turn is not counted: it traces the step (once, for all sizes) and lets the convolutions prepare for every size. The rate
is that of processor time, which other work on the machine disturbs least. A whole run takes about four minutes of it.

Needs the folder `shared` beside the checkout (160 photos of COCO).
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.row import Row, main

COCO_DIR = pathlib.Path(__file__).resolve().parents[3] / "shared/data/coco_panoptic"
GROUP, BATCH, NUM_BATCHES = 2, 64, 5
STEP_SCALE, STEP_TURNS = 0.25, 2


def measure() -> Iterator[Row]:
    """Yields the share of photo pixels and the images per second of a training step, grouped and not."""
    from tests.maskformer_model.helpers import tiny_run

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{split}.tfrecord" for split in ("train", "val")]
        for split, path in zip(("train2017", "val2017"), paths, strict=True):
            tiny_run.write_split(COCO_DIR, split, pathlib.Path(path))
        yield _shares(paths)
        yield _rates(paths)


def _shares(paths: list[str]) -> Row:
    import numpy as np

    from maskformer_model.training import batches

    shares = []
    for group in (0, GROUP):
        data = batches.training_data(recipe(group), paths).take(NUM_BATCHES)
        sizes_px = np.concatenate([x["valid_size_px"] for x, _ in data.as_numpy_iterator()])
        shares.append(photo_share(sizes_px, group or BATCH))
    return Row(
        name=f"share of photo in batches of {BATCH} COCO photos, in groups of {GROUP}",
        ours=shares[1],
        unit="of the pixels",
        peer=shares[0],
        peer_name="not grouped",
        remark=f"{NUM_BATCHES} batches",
    )


def photo_share(valid_size_px: Any, group_size: int) -> float:
    """Returns the share of pixels that are photo, not padding, if each group is padded to its own largest photo.

    Args:
        valid_size_px: `[photos, 2]`, height and width, in the order of the stream.
        group_size: Photos that are padded together; divides their number.
    """
    sizes = valid_size_px.reshape(-1, group_size, 2).astype(float)
    return sizes.prod(axis=2).sum() / (group_size * sizes.max(axis=1).prod(axis=1).sum())


def _rates(paths: list[str]) -> Row:
    alone, grouped = (_Training(small_recipe(group), paths) for group in (0, GROUP))
    for _ in range(1 + STEP_TURNS):
        for training in (alone, grouped):
            training.turn()
    shares = (photo_share(alone.sizes_px, BATCH), photo_share(grouped.sizes_px, GROUP))
    edges_px = alone.config.task.train_data.parser.min_sizes_px
    rates = [BATCH / min(training.processor_seconds[1:]) for training in (alone, grouped)]
    clock_rates = [BATCH / min(training.seconds[1:]) for training in (alone, grouped)]
    return Row(
        name=f"training step, EfficientNet-Lite0 of coco_small, the same photos at {edges_px[0]} to {edges_px[-1]} px, "
        f"batch {BATCH} in parts of {GROUP}, in groups of {GROUP}",
        ours=rates[1],
        unit="images/s of processor time",
        peer=rates[0],
        peer_name="not grouped",
        bar="faster than not grouped",
        passed=rates[1] > rates[0],
        remark=f"fastest of {STEP_TURNS} turns after a first one; {clock_rates[1]:.2f} and {clock_rates[0]:.2f} "
        f"images/s by the clock; share of photo {shares[1]:.3f} and {shares[0]:.3f}; "
        f"{grouped.photo_px / 1000:.1f} and {alone.photo_px / 1000:.1f} thousand px a photo",
    )


class _Training:
    """A model with a batch, and the seconds of every step on it, by the clock and of processors."""

    def __init__(self, config: Any, paths: list[str]):
        import tensorflow as tf

        from maskformer_model.training import batches, loop

        self.config = config
        data = batches.training_data(config, paths)
        self._batch = next(iter(data))
        self.sizes_px = self._batch[0]["valid_size_px"].numpy()
        self.photo_px = float(self.sizes_px.prod(axis=1).mean())
        self.seconds: list[float] = []
        self.processor_seconds: list[float] = []
        model = loop.build_for_training(config)
        # One graph for every size, as `fit` has it.
        self._step = tf.function(
            lambda x, y: model.train_step((x, y)), input_signature=data.element_spec, autograph=False
        )

    def turn(self) -> None:
        """Takes one step."""
        start_s, processor_start_s = time.perf_counter(), time.process_time()
        self._step(*self._batch)["loss"].numpy()
        self.seconds.append(time.perf_counter() - start_s)
        self.processor_seconds.append(time.process_time() - processor_start_s)


def recipe(group_size: int) -> Any:
    """Returns `maskformer_coco_panoptic` with batches of `BATCH`, grouped or (0) as they come."""
    from maskformer_model import experiments
    from maskformer_model.config import override

    return override(
        experiments.get("maskformer_coco_panoptic"),
        f"task.train_data.global_batch_size={BATCH},task.train_data.aspect_ratio_group_size={group_size}",
    )


def small_recipe(group_size: int) -> Any:
    """Returns the same data at `STEP_SCALE` of its sizes, for the network of `coco_small`, in parts of `GROUP`."""
    from maskformer_model import experiments
    from maskformer_model.config import override

    data = recipe(group_size).task.train_data
    parser = dataclasses.replace(
        data.parser,
        max_size_px=round(STEP_SCALE * data.parser.max_size_px),
        **{
            name: tuple(round(STEP_SCALE * size_px) for size_px in getattr(data.parser, name))
            for name in ("min_sizes_px", "crop_min_sizes_px", "crop_size_px")
        },
    )
    small = override(
        experiments.get("coco_small"),
        f"task.model.num_classes=133,task.init_checkpoint=,trainer.accumulation_steps={BATCH // GROUP}",
    )
    task = dataclasses.replace(small.task, train_data=dataclasses.replace(data, parser=parser))
    return dataclasses.replace(small, task=task)


if __name__ == "__main__":
    main(measure)
