"""EoMT on a laptop: data and steps of `coco_small`, and a ViT of 192 channels that starts from scratch.

As there, it shows that everything works. A ViT without weights learns little in so few steps: a model worth using wants
a published checkpoint (`eomt_coco_panoptic_small_640`), whose size is twice this one's.
"""

import dataclasses

from maskformer_model.config import ExperimentConfig, OptimizerConfig, VitConfig
from maskformer_model.experiments import eomt_recipes
from maskformer_model.experiments.laptop import coco_small

BACKBONE = VitConfig(embed_dim=192, depth=8, num_heads=6, mlp_dim=576, layer_scale=0.1)


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    base = coco_small.experiment()
    annealing = eomt_recipes.Annealing(starts=(60, 120), ends=(150, 240))
    model = eomt_recipes.model(BACKBONE, 2, coco_small.SIZE_PX, 0, base.task.model.num_queries, annealing)
    task = dataclasses.replace(
        base.task,
        model=model,
        losses=dataclasses.replace(eomt_recipes.LOSSES, num_points=1024),
        # Padded as `coco_small` pads its photos for training.
        inference=dataclasses.replace(
            eomt_recipes.inference(coco_small.SIZE_PX, object_mask_threshold=0.3, overlap_threshold=0.5),
            pads_with_black=False,
        ),
        init_checkpoint="",
    )
    optimizer = OptimizerConfig(
        learning_rate=5e-4,
        backbone_multiplier=1.0,
        weight_decay=0.05,
        decays_everything=True,
        clip_norm=1.0,
        schedule="two_stage_poly",
        warmup_steps=10,
        backbone_warmup_steps=30,
    )
    return dataclasses.replace(base, task=task, trainer=dataclasses.replace(base.trainer, optimizer=optimizer))
