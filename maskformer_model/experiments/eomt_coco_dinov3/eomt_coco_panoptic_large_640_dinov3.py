"""COCO panoptic, EoMT with the large DINOv3 at 640 px (reference: PQ 56.8 on val2017, 12 epochs)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(PANOPTIC, eomt_recipes.dinov3(eomt_recipes.LARGE), 4, 640, begins_at_once=True)
