"""COCO panoptic with Swin-Tiny (reference: PQ 47.7 on val2017, batch 64, 554,400 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            model=recipes.fpn_model(recipes.SWIN_TINY, num_classes=133),
            train_data=recipes.detr_data(64),
            validation_data=recipes.detr_data(8),
            inference=recipes.inference(800, 1333),
        ),
        trainer=TrainerConfig(
            train_steps=554_400, optimizer=recipes.swin_optimizer(schedule="step", drop_steps=(369_600,))
        ),
    )
