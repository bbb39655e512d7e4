"""ADE20K panoptic, EoMT with the large DINOv2 at 1280 px (reference: PQ 51.7 where COCO's weights start it)."""

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.ade20k_panoptic(eomt_recipes.LARGE, 4, 1280)
