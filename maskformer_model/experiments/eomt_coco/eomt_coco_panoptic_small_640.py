"""COCO panoptic, EoMT with the small DINOv2 at 640 px (reference: PQ 44.7 on val2017, 12 epochs)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(PANOPTIC, eomt_recipes.SMALL, 3, 640)
