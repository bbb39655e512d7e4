"""ADE20K semantic, EoMT with the large DINOv3 at 512 px (reference: mIoU 59.5, 16 epochs)."""

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.semantic(
        eomt_recipes.dinov3(eomt_recipes.LARGE),
        512,
        150,
        16 * eomt_recipes.ADE20K_STEPS_PER_EPOCH,
        eomt_recipes.Annealing(starts=(0, 6520, 9780, 13_040), ends=(3000, 9780, 13_040, 16_300)),
    )
