"""Cityscapes semantic, Mask2Former with Swin-Small (reference: mIoU 82.6, single scale; 90,000 steps)."""

from maskformer_model.config import SEMANTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.cityscapes(SEMANTIC, recipes.SWIN_SMALL)
