"""COCO panoptic with ResNet-101 and six encoder layers (reference: PQ 47.6 on val2017, batch 64, 554,400 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            model=recipes.transformer_fpn_model(recipes.RESNET_101, num_classes=133),
            train_data=recipes.detr_data(64),
            validation_data=recipes.detr_data(8),
            inference=recipes.inference(800, 1333),
        ),
        trainer=TrainerConfig(
            train_steps=554_400, optimizer=recipes.resnet_optimizer(schedule="step", drop_steps=(369_600,))
        ),
    )
