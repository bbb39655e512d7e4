"""Mask2Former on a laptop: data, backbone and steps of `coco_small`; its own pixel decoder, decoder and losses.

As there, it shows that everything works; a model worth using wants a published checkpoint or an accelerator and days
(see `mask2former_coco_panoptic_r50`).
"""

import dataclasses

from maskformer_model.config import DeformableConfig, ExperimentConfig, MaskedAttentionConfig
from maskformer_model.experiments import mask2former_recipes
from maskformer_model.experiments.laptop import coco_small


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    base = coco_small.experiment()
    model = dataclasses.replace(
        base.task.model,
        pixel_decoder=DeformableConfig(hidden_dim=64, encoder_layers=2, num_heads=4, feedforward_dim=256),
        decoder=MaskedAttentionConfig(hidden_dim=128, num_layers=3, num_heads=4, feedforward_dim=256),
    )
    task = dataclasses.replace(
        base.task,
        model=model,
        losses=dataclasses.replace(mask2former_recipes.LOSSES, num_points=1024),
        inference=dataclasses.replace(base.task.inference, pixel_threshold=mask2former_recipes.PIXEL_THRESHOLD),
    )
    return dataclasses.replace(base, task=task)
