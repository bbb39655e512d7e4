"""Cityscapes panoptic, Mask2Former with ResNet-50 (reference: PQ 62.1; 90,000 steps)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.cityscapes(PANOPTIC, recipes.RESNET_50)
