"""Cityscapes semantic, 19 classes, ResNet-101c (reference: mIoU 79.7, single scale; 90,000 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            kind="semantic",
            model=recipes.fpn_model(recipes.RESNET_101C, num_classes=19),
            train_data=recipes.semantic_data(16, 1024, (512, 1024), max_size_px=4096, output_size=(0, 0)),
            validation_data=recipes.semantic_data(1, 1024, (512, 1024), max_size_px=4096, output_size=(0, 0)),
            inference=recipes.semantic_inference(1024, 2048, augmented_max_size_px=4096),
        ),
        trainer=TrainerConfig(train_steps=90_000, optimizer=recipes.resnet_optimizer(schedule="poly", power=0.9)),
    )
