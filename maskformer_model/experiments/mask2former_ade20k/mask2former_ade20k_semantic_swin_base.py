"""ADE20K semantic, Mask2Former with Swin-Base (reference: mIoU 53.9, single scale; 160,000 steps)."""

from maskformer_model.config import SEMANTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.ade20k(SEMANTIC, recipes.SWIN_BASE, edge_px=640)
