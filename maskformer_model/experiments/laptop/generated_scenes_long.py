"""`generated_scenes` for an hour instead of minutes: scenes at twice their size, so that outlines are finer.

A mask has a quarter of the photo's size, so at 96 px a shape of 20 px is five cells wide. At 192 px a step takes nearly
five times as long, and yet the same minutes give more. Meant for more scenes than the default's 800:
`--generated_train_images 2400`.
"""

import dataclasses

from maskformer_model.config import ExperimentConfig, merge
from maskformer_model.experiments import laptop_recipes
from maskformer_model.experiments.laptop import generated_scenes

SIZE_PX = 2 * generated_scenes.SIZE_PX
NUM_QUERIES = 148  # One for each cell of a scene, and four learned ones.


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    config = generated_scenes.experiment()
    parser = {"output_size": (SIZE_PX, SIZE_PX), "min_sizes_px": (SIZE_PX,), "max_size_px": SIZE_PX}
    inference = {"shortest_edge_px": SIZE_PX, "max_size_px": SIZE_PX, "size_divisibility": SIZE_PX}
    config = merge(
        config,
        {
            "task": {
                "train_data": {"parser": parser},
                "validation_data": {"parser": parser},
                "inference": inference,
            }
        },
    )
    task = dataclasses.replace(config.task, model=laptop_recipes.placed_model(NUM_QUERIES, num_learned_queries=4))
    optimizer = dataclasses.replace(config.trainer.optimizer, drop_steps=(4400,))
    trainer = dataclasses.replace(config.trainer, train_steps=5200, optimizer=optimizer)
    return dataclasses.replace(config, task=task, trainer=trainer)
