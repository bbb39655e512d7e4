"""ADE20K panoptic, EoMT with the giant DINOv2 at 640 px (reference: PQ 51.3 where COCO's weights start it)."""

from maskformer_model.config import ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.ade20k_panoptic(eomt_recipes.GIANT, 5, 640)
