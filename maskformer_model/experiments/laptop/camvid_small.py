"""Street scenes as class maps on two processor cores: CamVid's eleven classes, 480 x 360 px.

Semantic training: a query learns all pixels of a class. Photos are resized to 0.75 to 1.5 times their size, cropped,
mirrored and jittered in colour; answers are made at the photo's own size.
"""

from maskformer_model.config import (
    SEMANTIC,
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ParserConfig,
    TaskConfig,
)
from maskformer_model.experiments import laptop_recipes, recipes
from maskformer_model.pretrained.efficientnet_weights import PACKAGE

HEIGHT_PX, WIDTH_PX = 360, 480
CROP_PX = (256, 320)


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    parser = ParserConfig(
        augmentation="semantic",
        output_size=CROP_PX,
        min_sizes_px=tuple(HEIGHT_PX * percent // 100 for percent in (75, 90, 105, 120, 135, 150)),
        max_size_px=2 * WIDTH_PX,
        crop_size_px=CROP_PX,
        max_targets=40,
    )
    return ExperimentConfig(
        task=TaskConfig(
            kind=SEMANTIC,
            model=laptop_recipes.coarse_model(num_queries=40),
            losses=LossConfig(class_weight=2.0),
            train_data=DataConfig(global_batch_size=4, cache=True, parser=parser),
            validation_data=DataConfig(drop_remainder=False, parser=parser),
            inference=recipes.semantic_inference(HEIGHT_PX, WIDTH_PX),
            init_checkpoint=PACKAGE,
        ),
        trainer=laptop_recipes.long_training(),
    )
