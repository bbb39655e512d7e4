"""Mapillary Vistas semantic, Mask2Former with Swin-Large (reference: mIoU 63.2; 300,000 steps)."""

from maskformer_model.config import SEMANTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.vistas(SEMANTIC, recipes.SWIN_LARGE)
