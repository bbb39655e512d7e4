"""A proof, not a model: `coco_small` without augmentation, long enough to learn eight photos by heart.

If the path from photo to PQ is right everywhere (ids, sizes, padding, resizing, matching, merging, counting), a model
that knows its photos by heart must score high on them.
"""

import dataclasses

from maskformer_model.config import ExperimentConfig, merge
from maskformer_model.experiments.laptop import coco_small


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    config = coco_small.experiment()
    optimizer = dataclasses.replace(config.trainer.optimizer, drop_steps=(800,))
    trainer = dataclasses.replace(config.trainer, train_steps=1000, steps_per_loop=100, optimizer=optimizer)
    changes = {"task": {"train_data": {"parser": {"augmentation": "none", "max_targets": 16}}}}
    return merge(dataclasses.replace(config, trainer=trainer), changes)
