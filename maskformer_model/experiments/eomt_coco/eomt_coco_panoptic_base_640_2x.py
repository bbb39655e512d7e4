"""COCO panoptic, EoMT with the base DINOv2 at 640 px (reference: PQ 51.6 on val2017, 24 epochs)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(PANOPTIC, eomt_recipes.BASE, 3, 640, num_epochs=24)
