"""COCO-Stuff-10k semantic, 171 classes, ResNet-50 (reference: mIoU 37.1, single scale; 60,000 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            kind="semantic",
            model=recipes.fpn_model(recipes.RESNET_50, num_classes=171),
            train_data=recipes.semantic_data(32, 640, (640, 640), max_size_px=2560, scales=(0.5, 1.5)),
            validation_data=recipes.semantic_data(1, 640, (640, 640), max_size_px=2560, scales=(0.5, 1.5)),
            inference=recipes.semantic_inference(640, 2560, augmented_max_size_px=4480),
        ),
        trainer=TrainerConfig(train_steps=60_000, optimizer=recipes.resnet_optimizer(schedule="poly", power=0.9)),
    )
