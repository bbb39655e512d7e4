"""COCO instance, EoMT with the large DINOv2 at 640 px (reference: AP 45.2 on val2017, 12 epochs)."""

from maskformer_model.config import INSTANCE, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(INSTANCE, eomt_recipes.LARGE, 4, 640)
