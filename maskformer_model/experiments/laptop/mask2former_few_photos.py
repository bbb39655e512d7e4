"""A hundred photos with a hundred classes on two processor cores, such as the first ones of a new data set.

So few photos are soon known by heart. What is known of other photos is in the backbone, which therefore hardly moves,
and the features under a query's mask have a say in its class. Crops and colours vary. Whole photos are answered at
about the size of a crop, since learned queries know places in a grid of cells.
"""

import dataclasses
from typing import Any

from maskformer_model.config import ExperimentConfig, OptimizerConfig
from maskformer_model.experiments.laptop import mask2former_small

CROP_PX = 256
SHORTEST_EDGES_PX, MAX_SIZE_PX = (176, 192, 208, 224, 256, 288, 320), 800  # Before a crop is taken.
TEST_EDGE_PX = 192


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    base = mask2former_small.experiment()
    pooling: dict[str, Any] = {"pooled_features": ("res4", "res5"), "pooled_dropout": 0.2}
    decoder = dataclasses.replace(base.task.model.decoder, **pooling)
    parser = dataclasses.replace(
        base.task.train_data.parser,
        augmentation="semantic",
        crop_size_px=(CROP_PX, CROP_PX),
        min_sizes_px=SHORTEST_EDGES_PX,
        max_size_px=MAX_SIZE_PX,
        jitters_color=True,
    )
    task = dataclasses.replace(
        base.task,
        model=dataclasses.replace(base.task.model, decoder=decoder, num_queries=60),
        train_data=dataclasses.replace(base.task.train_data, parser=parser),
        inference=dataclasses.replace(base.task.inference, shortest_edge_px=TEST_EDGE_PX, size_divisibility=32),
    )
    optimizer = OptimizerConfig(
        learning_rate=6e-4,
        backbone_multiplier=0.05,
        weight_decay=0.05,
        clip_norm=1.0,
        schedule="poly",
        warmup_steps=30,
        warmup_factor=0.01,
        ema_momentum=0.998,
    )
    trainer = dataclasses.replace(base.trainer, train_steps=1700, optimizer=optimizer)
    return dataclasses.replace(base, task=task, trainer=trainer)
