"""Mapillary Vistas semantic, 65 classes, ResNet-50 (reference: mIoU 53.1, single scale; 300,000 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            kind="semantic",
            model=recipes.fpn_model(recipes.RESNET_50, num_classes=65),
            train_data=recipes.semantic_data(16, 2048, (1280, 1280), max_size_px=8192),
            validation_data=recipes.semantic_data(1, 2048, (1280, 1280), max_size_px=8192),
            inference=recipes.semantic_inference(2048, 2048),
        ),
        trainer=TrainerConfig(train_steps=300_000, optimizer=recipes.resnet_optimizer(schedule="poly", power=0.9)),
    )
