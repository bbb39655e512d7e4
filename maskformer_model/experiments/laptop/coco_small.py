"""Real photos on a laptop: EfficientNet-Lite0 with ImageNet weights, 256 px, a few hundred steps.

What `run_local.py --data` trains unless told otherwise. It shows that data, pipeline and serving work; a model worth
using wants a published checkpoint or an accelerator and days (see `maskformer_coco_panoptic`).
"""

from maskformer_model.config import (
    DataConfig,
    ExperimentConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
)
from maskformer_model.experiments import laptop_recipes, recipes
from maskformer_model.pretrained.efficientnet_weights import PACKAGE

SIZE_PX = 256


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    parser = ParserConfig(
        augmentation="flip",
        output_size=(SIZE_PX, SIZE_PX),
        min_sizes_px=(SIZE_PX,),
        max_size_px=SIZE_PX,
        max_targets=40,
    )
    return ExperimentConfig(
        task=TaskConfig(
            model=laptop_recipes.coarse_model(num_queries=50),
            train_data=DataConfig(global_batch_size=4, cache=True, parser=parser),
            validation_data=DataConfig(global_batch_size=4, drop_remainder=False, parser=parser),
            inference=recipes.inference(
                SIZE_PX, SIZE_PX, object_mask_threshold=0.3, overlap_threshold=0.5, size_divisibility=SIZE_PX
            ),
            init_checkpoint=PACKAGE,
        ),
        trainer=TrainerConfig(
            train_steps=300,
            steps_per_loop=50,
            optimizer=laptop_recipes.optimizer(5e-4, schedule="step", drop_steps=(250,), warmup_steps=30),
        ),
    )
