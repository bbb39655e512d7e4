"""Cell nuclei on two processor cores: many small objects, each of which needs a query and enough pixels.

For photos like those of the 2018 Data Science Bowl, 256 x 256 px and up, read as panoptic maps or as instances. Photos
are enlarged before they are cropped, so that a nucleus of ten pixels covers some cells of a mask and a crop holds fewer
of them; answers are made at such a size too. Queries begin at places: learned ones put all nuclei into one segment.
The dice loss weighs more than usual, because the focal loss hardly sees so few pixels. Colours are jittered, because
fluorescence, stained tissue and brightfield are learned as one class.
"""

from maskformer_model.config import (
    DataConfig,
    ExperimentConfig,
    LossConfig,
    ParserConfig,
    TaskConfig,
)
from maskformer_model.experiments import laptop_recipes, recipes
from maskformer_model.pretrained.efficientnet_weights import PACKAGE

CROP_PX = 256
SHORTEST_EDGES_PX = (320, 384, 448, 512)
TEST_EDGE_PX, MAX_SIZE_PX = 416, 800
NUM_QUERIES, MAX_TARGETS = 264, 150


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    parser = ParserConfig(
        augmentation="semantic",
        output_size=(CROP_PX, CROP_PX),
        min_sizes_px=SHORTEST_EDGES_PX,
        max_size_px=MAX_SIZE_PX,
        crop_size_px=(CROP_PX, CROP_PX),
        max_targets=MAX_TARGETS,
    )
    return ExperimentConfig(
        task=TaskConfig(
            model=laptop_recipes.placed_model(NUM_QUERIES, num_learned_queries=8),
            losses=LossConfig(class_weight=2.0, dice_weight=5.0),
            train_data=DataConfig(global_batch_size=4, cache=True, parser=parser),
            validation_data=DataConfig(drop_remainder=False, parser=parser),
            inference=recipes.padded_inference(
                TEST_EDGE_PX,
                MAX_SIZE_PX,
                object_mask_threshold=0.4,
                overlap_threshold=0.5,
                max_instances=NUM_QUERIES,
            ),
            init_checkpoint=PACKAGE,
        ),
        trainer=laptop_recipes.long_training(),
    )
