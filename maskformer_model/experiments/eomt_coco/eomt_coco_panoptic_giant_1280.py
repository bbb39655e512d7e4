"""COCO panoptic, EoMT with the giant DINOv2 at 1280 px (reference: PQ 59.2 on val2017, 12 epochs)."""

from maskformer_model.config import PANOPTIC, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(PANOPTIC, eomt_recipes.GIANT, 5, 1280)
