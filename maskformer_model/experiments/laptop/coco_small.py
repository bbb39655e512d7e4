"""Real photos on a laptop: EfficientNet-Lite0 with ImageNet weights, 256 px, a few hundred steps.

What `run_local.py --data` trains unless told otherwise. It shows that data, pipeline and serving work; a model worth
using wants a published checkpoint or an accelerator and days (see `maskformer_coco_panoptic`).
"""

from maskformer_model.config import (
    DataConfig,
    EfficientNetLiteConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
)
from maskformer_model.experiments import recipes
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
            model=ModelConfig(
                backbone=EfficientNetLiteConfig(),
                pixel_decoder=TransformerFpnConfig(
                    hidden_dim=64, encoder_layers=1, num_heads=4, feedforward_dim=256, dropout=0.0
                ),
                decoder=TransformerDecoderConfig(
                    hidden_dim=128, num_layers=3, num_heads=4, feedforward_dim=256, dropout=0.0
                ),
                num_queries=50,
                mask_dim=64,
            ),
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
            optimizer=OptimizerConfig(
                learning_rate=5e-4,
                backbone_multiplier=0.3,
                clip_norm=1.0,
                schedule="step",
                drop_steps=(250,),
                warmup_steps=30,
                warmup_factor=0.01,
            ),
        ),
    )
