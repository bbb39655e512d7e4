"""ADE20K panoptic, 150 classes, ResNet-101 and six encoder layers (reference: PQ 35.7; 720,000 steps)."""

from maskformer_model.config import ExperimentConfig, TaskConfig, TrainerConfig
from maskformer_model.experiments import recipes


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    return ExperimentConfig(
        task=TaskConfig(
            model=recipes.transformer_fpn_model(recipes.RESNET_101, num_classes=150),
            train_data=recipes.semantic_data(16, 640, (640, 640), max_size_px=2560, keep_emptied_targets=True),
            validation_data=recipes.semantic_data(1, 640, (640, 640), max_size_px=2560),
            inference=recipes.padded_inference(640, 2560, object_mask_threshold=0.7, augmented_max_size_px=3584),
        ),
        trainer=TrainerConfig(train_steps=720_000, optimizer=recipes.resnet_optimizer(schedule="poly", power=0.9)),
    )
