"""COCO panoptic, Mask2Former with Swin-Large (reference: PQ 57.8 on val2017, batch 16, 737,500 steps)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.coco(
        PANOPTIC, recipes.SWIN_LARGE, num_queries=200, num_steps=2 * mask2former_recipes.COCO_STEPS
    )
