"""ADE20K semantic, EoMT with the large DINOv2 at 512 px (reference: mIoU 58.4, 31 epochs)."""

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.semantic(
        eomt_recipes.LARGE, 512, 150, 31 * eomt_recipes.ADE20K_STEPS_PER_EPOCH, eomt_recipes.ADE20K_ANNEALING[4]
    )
