"""COCO instance, EoMT with the large DINOv3 at 1280 px (named so; its file has no size), 12 epochs."""

from maskformer_model.config import INSTANCE, ExperimentConfig
from maskformer_model.experiments import eomt_recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return eomt_recipes.coco(INSTANCE, eomt_recipes.dinov3(eomt_recipes.LARGE), 4, 1280)
