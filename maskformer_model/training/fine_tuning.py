"""Settings to start from a checkpoint on this machine: its network, a short schedule, and photos and batches that fit.

The published recipes train for days on many accelerators. Here the network, its losses and its thresholds stay, and
the rest is what one machine can do. The memory of a step is estimated from two measurements on processors, in float32:
a MaskFormer (R50, 640 px, one photo) and a Mask2Former (R50, 512 px, two photos); see docs/training.md.
"""

from __future__ import annotations

import dataclasses
import json
import os

from maskformer_model.config import ExperimentConfig, from_dict
from maskformer_model.config.files import EXPERIMENT_FILE, WEIGHTS_FILE
from maskformer_model.config.training_length import with_train_steps

TRAIN_STEPS, WARMUP_STEPS = 1000, 100
SIZES_PX, BATCH_SIZES = (1024, 800, 640, 512, 384, 256), (16, 8, 4, 2, 1)
# More would fit many a machine without an accelerator, but a step would take a minute.
_MOST_PX_ON_PROCESSORS, _LARGEST_BATCH_ON_PROCESSORS = 512, 4
_SHARE_OF_FREE_MEMORY = 0.8
_PROCESS_BYTES = 2_000_000_000  # Libraries, and the graph of a step while it is made.
_COPIES_OF_WEIGHTS = 4  # With gradients and two moments.
# Of a training step, by the type of the decoder, for a network as large as R50's.
_BYTES_PER_PIXEL = {"transformer": 2_500, "masked_attention": 6_500, "eomt": 15_500}
_MEASURED_WEIGHTS_BYTES = 180_000_000
_SMALLEST_FACTOR = 0.4


@dataclasses.dataclass(frozen=True)
class Fit:
    """The size of photos and batches for a machine.

    Attributes:
        size_px: Height and width of the photos in a batch.
        batch_size: Photos of a step.
        needed_bytes: About what a step takes.
        free_bytes: What the machine can give.
    """

    size_px: int
    batch_size: int
    needed_bytes: int
    free_bytes: int

    def describe(self) -> str:
        """Returns the sentence for people."""
        needed, free = (round(value / 1e9, 1) for value in (self.needed_bytes, self.free_bytes))
        doubt = "" if self.needed_bytes <= self.free_bytes else " That may not be enough."
        return (
            f"Photos of {self.size_px} px in batches of {self.batch_size}: about {needed} GB of the {free} GB that are "
            f"free.{doubt}"
        )


def started_from(config: ExperimentConfig | None, checkpoint_dir: str) -> ExperimentConfig:
    """Returns an experiment whose network, losses and starting weights are a checkpoint's.

    Args:
        config: What to train; None takes the checkpoint's own experiment.
        checkpoint_dir: What `maskformer convert` or a training run wrote.

    Raises:
        FileNotFoundError: if the folder holds no experiment.
    """
    path = os.path.join(checkpoint_dir, EXPERIMENT_FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`--init` must be a folder with {EXPERIMENT_FILE}, as training and `maskformer convert` write it. Convert "
            f"a published checkpoint first. Received: {checkpoint_dir}"
        )
    with open(path, encoding="utf-8") as file:
        own = from_dict(json.load(file))
    base = config or own
    origin = with_train_steps(own, base.trainer.train_steps).task
    task = dataclasses.replace(
        base.task,
        model=dataclasses.replace(origin.model, num_classes=0),  # The data's.
        losses=origin.losses,
        inference=dataclasses.replace(base.task.inference, pixel_threshold=origin.inference.pixel_threshold),
        train_data=dataclasses.replace(base.task.train_data, input_path=""),
        validation_data=dataclasses.replace(base.task.validation_data, input_path=""),
        init_checkpoint=os.path.abspath(checkpoint_dir),
        init_checkpoint_modules="all",
    )
    return dataclasses.replace(base, task=task)


def weights_bytes(checkpoint_dir: str) -> int:
    """Returns the size of a checkpoint's weights, or of R50's if it has no file of finished ones."""
    path = os.path.join(checkpoint_dir, WEIGHTS_FILE)
    return os.path.getsize(path) if os.path.isfile(path) else _MEASURED_WEIGHTS_BYTES


def fit_of(config: ExperimentConfig, num_bytes: int, free_bytes: int, has_accelerator: bool) -> Fit:
    """Returns the largest photos of which two fit into a batch, and the largest such batch.

    Args:
        config: The experiment; photos are not larger than at its test size, and batches not larger than its own.
        num_bytes: The size of the network's weights.
        free_bytes: The memory for a training step.
        has_accelerator: Whether steps run on one. Without, photos and batches are also kept small for speed.
    """
    most_px = min(config.task.inference.shortest_edge_px, config.task.inference.max_size_px)
    most_batch = config.task.train_data.global_batch_size
    if not has_accelerator:
        most_px, most_batch = min(most_px, _MOST_PX_ON_PROCESSORS), min(most_batch, _LARGEST_BATCH_ON_PROCESSORS)
    sizes = sorted({most_px, *(size for size in SIZES_PX if size < most_px)}, reverse=True)
    batches = [size for size in BATCH_SIZES if size <= most_batch]
    of_decoder = _BYTES_PER_PIXEL.get(config.task.model.decoder.type, max(_BYTES_PER_PIXEL.values()))
    bytes_per_pixel = of_decoder * max(_SMALLEST_FACTOR, num_bytes / _MEASURED_WEIGHTS_BYTES)

    def fit(size_px: int, batch_size: int) -> Fit:
        of_pixels = int(bytes_per_pixel * batch_size * size_px**2)
        return Fit(size_px, batch_size, _PROCESS_BYTES + _COPIES_OF_WEIGHTS * num_bytes + of_pixels, free_bytes)

    of_two = [fit(size, batch) for size in sizes for batch in batches if batch > 1 or most_batch == 1]
    of_one = [fit(size, 1) for size in sizes]
    bound = _SHARE_OF_FREE_MEMORY * free_bytes
    return next((found for found in [*of_two, *of_one] if found.needed_bytes <= bound), of_one[-1])


def for_this_machine(config: ExperimentConfig, checkpoint_dir: str) -> tuple[ExperimentConfig, Fit]:
    """Returns the experiment with a short schedule and with photos and batches that fit this machine, and the fit."""
    from maskformer_model.backend.memory import accelerator_memory_bytes, free_memory_bytes
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    of_accelerator = accelerator_memory_bytes()
    free = of_accelerator or free_memory_bytes()
    fit = fit_of(config, weights_bytes(checkpoint_dir), free, has_accelerator=of_accelerator > 0)
    return fine_tuned(config, fit), fit


def fine_tuned(config: ExperimentConfig, fit: Fit) -> ExperimentConfig:
    """Returns the experiment with a short schedule, and with photos and batches of a fit.

    Photos are resized to between half and one and a half times the size, cropped and padded to it (large-scale
    jitter), so that all batches have one shape; the trained model answers at the same size. A network that answers for
    whole squares or in windows gets them of that size.
    """
    config = with_train_steps(config, TRAIN_STEPS)
    task, size_px = config.task, fit.size_px
    parser = dataclasses.replace(
        task.train_data.parser,
        augmentation="lsj",
        output_size=(size_px, size_px),
        min_sizes_px=(size_px,),
        max_size_px=size_px,
        scale_range=(0.5, 1.5),
        keep_emptied_targets=False,
        size_divisibility=0,
    )
    train_data = dataclasses.replace(
        task.train_data, global_batch_size=fit.batch_size, aspect_ratio_group_size=0, cache=False, parser=parser
    )
    in_square = task.inference.size_divisibility == task.inference.max_size_px
    inference = dataclasses.replace(
        task.inference,
        shortest_edge_px=size_px,
        max_size_px=size_px,
        size_divisibility=size_px if in_square else task.inference.size_divisibility,
        window_px=size_px if task.inference.window_px else 0,
    )
    optimizer = dataclasses.replace(
        config.trainer.optimizer, schedule="poly", drop_steps=(), warmup_steps=WARMUP_STEPS, warmup_factor=0.01
    )
    trainer = dataclasses.replace(
        config.trainer,
        steps_per_loop=50,
        checkpoint_interval=250,
        validation_interval=0,
        optimizer=optimizer,
    )
    return dataclasses.replace(
        config, task=dataclasses.replace(task, train_data=train_data, inference=inference), trainer=trainer
    )
