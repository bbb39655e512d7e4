"""Street scenes as class maps on two processor cores: CamVid's eleven classes, 480 x 360 px.

Semantic training: a query learns all pixels of a class. Photos are resized to 0.75 to 1.5 times their size, cropped,
mirrored and jittered in colour; answers are made at the photo's own size.
"""

from maskformer_model.config import (
    SEMANTIC,
    DataConfig,
    EfficientNetLiteConfig,
    ExperimentConfig,
    LossConfig,
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
            model=ModelConfig(
                backbone=EfficientNetLiteConfig(),
                pixel_decoder=TransformerFpnConfig(
                    hidden_dim=64, encoder_layers=1, num_heads=4, feedforward_dim=256, dropout=0.0
                ),
                decoder=TransformerDecoderConfig(
                    hidden_dim=128, num_layers=3, num_heads=4, feedforward_dim=256, dropout=0.0
                ),
                num_queries=40,
                mask_dim=64,
            ),
            losses=LossConfig(class_weight=2.0),
            train_data=DataConfig(global_batch_size=4, cache=True, parser=parser),
            validation_data=DataConfig(drop_remainder=False, parser=parser),
            inference=recipes.semantic_inference(HEIGHT_PX, WIDTH_PX),
            init_checkpoint=PACKAGE,
        ),
        trainer=TrainerConfig(
            train_steps=2400,
            steps_per_loop=50,
            checkpoint_interval=400,
            optimizer=OptimizerConfig(
                learning_rate=7e-4,
                backbone_multiplier=0.3,
                clip_norm=1.0,
                schedule="poly",
                warmup_steps=50,
                warmup_factor=0.01,
                ema_momentum=0.99,
            ),
        ),
    )
