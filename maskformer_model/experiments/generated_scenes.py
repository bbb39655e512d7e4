"""The embedded default: generated scenes, a model that two CPU cores train in minutes.

The final architecture in small: a ResNet-18 of a quarter of the width with trained batch norm (there are no pretrained
weights to freeze), one encoder layer, three decoder layers with deep supervision, the reference's losses.
"""

from maskformer_model.config import (
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    InferenceConfig,
    ModelConfig,
    OptimizerConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
)

SIZE_PX = 96


def experiment() -> ExperimentConfig:
    """See the module's docstring."""
    parser = ParserConfig(
        augmentation="lsj",
        scale_range=(0.7, 1.5),
        output_size=(SIZE_PX, SIZE_PX),
        min_sizes_px=(SIZE_PX,),
        max_size_px=SIZE_PX,
        max_targets=12,
    )
    return ExperimentConfig(
        task=TaskConfig(
            model=ModelConfig(
                backbone=BackboneConfig(
                    depth=18, stem_channels=16, res2_channels=16, bottleneck_channels=16, norm="batch"
                ),
                num_queries=20,
                hidden_dim=64,
                pixel_decoder_dim=64,
                mask_dim=64,
                num_heads=4,
                feedforward_dim=128,
                dropout=0.0,
                fpn_encoder_layers=1,
                num_decoder_layers=3,
            ),
            train_data=DataConfig(global_batch_size=16, cache=True, parser=parser),
            validation_data=DataConfig(global_batch_size=16, drop_remainder=False, parser=parser),
            inference=InferenceConfig(
                object_mask_threshold=0.5,
                overlap_threshold=0.5,
                shortest_edge_px=SIZE_PX,
                max_size_px=SIZE_PX,
                size_divisibility=SIZE_PX,
            ),
        ),
        trainer=TrainerConfig(
            train_steps=2400,
            steps_per_loop=100,
            optimizer=OptimizerConfig(
                learning_rate=1e-3,
                backbone_multiplier=1.0,
                clip_norm=1.0,
                schedule="step",
                drop_steps=(1900,),
                warmup_steps=50,
                warmup_factor=0.01,
                ema_momentum=0.99,
            ),
        ),
    )
