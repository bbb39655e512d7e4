"""ADE20K semantic, 150 classes, Swin-T (reference: mIoU 46.7, single scale; 160,000 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            kind="semantic",
            model=recipes.fpn_model(recipes.SWIN_TINY, num_classes=150),
            train_data=recipes.semantic_data(16, 512, (512, 512), max_size_px=2048),
            validation_data=recipes.semantic_data(1, 512, (512, 512), max_size_px=2048),
            inference=recipes.semantic_inference(512, 2048, augmented_max_size_px=3584),
        ),
        trainer=TrainerConfig(train_steps=160_000, optimizer=recipes.swin_optimizer(schedule="poly", power=0.9)),
    )
