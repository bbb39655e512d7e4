"""ADE20K semantic, 150 classes, Swin-B at 640 px (reference: mIoU 52.7, single scale)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            kind="semantic",
            model=recipes.fpn_model(recipes.SWIN_BASE, num_classes=150),
            train_data=recipes.semantic_data(16, 640, (640, 640), max_size_px=2560),
            validation_data=recipes.semantic_data(1, 640, (640, 640), max_size_px=2560),
            inference=recipes.semantic_inference(640, 2560, augmented_max_size_px=4480),
        ),
        trainer=TrainerConfig(train_steps=160_000, optimizer=recipes.swin_optimizer(schedule="poly", power=0.9)),
    )
