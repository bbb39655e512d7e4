"""COCO instance, Mask2Former with Swin-Tiny (reference: AP 45.0 on val2017, batch 16, 368,750 steps)."""

from maskformer_model.config import INSTANCE, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.coco(INSTANCE, recipes.SWIN_TINY)
