"""Cityscapes semantic, EoMT with the large DINOv2 at 1024 px (reference: mIoU 84.2, 107 epochs)."""

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.semantic(
        eomt_recipes.LARGE,
        1024,
        19,
        107 * eomt_recipes.CITYSCAPES_STEPS_PER_EPOCH,
        eomt_recipes.CITYSCAPES_ANNEALING,
    )
