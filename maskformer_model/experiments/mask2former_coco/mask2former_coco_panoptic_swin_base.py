"""COCO panoptic, Mask2Former with Swin-Base (reference: PQ 56.4 on val2017, batch 16, 368,750 steps)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.coco(PANOPTIC, recipes.SWIN_BASE)
