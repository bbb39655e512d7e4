"""The embedded default: generated scenes, a model that two CPU cores train in minutes.

EfficientNet-Lite0 with its ImageNet weights, one encoder layer, and queries that begin at places. Classes weigh double,
because shapes are harder to tell than to outline.
"""

from maskformer_model.config import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
)
from maskformer_model.experiments import laptop_recipes, recipes
from maskformer_model.pretrained.efficientnet_weights import PACKAGE

SIZE_PX = 96
NUM_QUERIES = 40  # One for each cell of a scene, and four learned ones.


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    parser = ParserConfig(
        augmentation="lsj",
        scale_range=(0.8, 1.5),
        output_size=(SIZE_PX, SIZE_PX),
        min_sizes_px=(SIZE_PX,),
        max_size_px=SIZE_PX,
        max_targets=12,
    )
    return ExperimentConfig(
        task=TaskConfig(
            model=laptop_recipes.placed_model(NUM_QUERIES, num_learned_queries=4),
            losses=LossConfig(class_weight=2.0),
            train_data=DataConfig(global_batch_size=8, cache=True, parser=parser),
            validation_data=DataConfig(global_batch_size=16, drop_remainder=False, parser=parser),
            inference=recipes.inference(
                SIZE_PX, SIZE_PX, object_mask_threshold=0.5, overlap_threshold=0.5, size_divisibility=SIZE_PX
            ),
            init_checkpoint=PACKAGE,
        ),
        trainer=TrainerConfig(
            train_steps=2600,
            steps_per_loop=100,
            checkpoint_interval=500,
            optimizer=laptop_recipes.optimizer(
                7e-4, schedule="step", drop_steps=(2150,), warmup_steps=50, ema_momentum=0.99
            ),
        ),
    )
