"""ADE20K panoptic, Mask2Former with Swin-Large (reference: PQ 48.1; 160,000 steps)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import mask2former_recipes, recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return mask2former_recipes.ade20k(PANOPTIC, recipes.SWIN_LARGE, edge_px=640, num_queries=200)
