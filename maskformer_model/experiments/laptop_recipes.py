"""The parts that the experiments for two processor cores share: networks, optimizer, a long training."""

from __future__ import annotations

from typing import Any

from maskformer_model.config import (
    EfficientNetLiteConfig,
    ModelConfig,
    OptimizerConfig,
    PlacedQueriesConfig,
    TrainerConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
)


def coarse_model(num_queries: int) -> ModelConfig:
    """Returns a small network whose decoder attends to features at stride 32: for large segments."""
    return ModelConfig(
        backbone=EfficientNetLiteConfig(),
        pixel_decoder=_pixel_decoder(feedforward_dim=256),
        decoder=TransformerDecoderConfig(hidden_dim=128, num_layers=3, num_heads=4, feedforward_dim=256, dropout=0.0),
        num_queries=num_queries,
        mask_dim=64,
    )


def fine_model(num_queries: int) -> ModelConfig:
    """Returns a small network whose decoder attends to the mask features, at stride 4: for small segments."""
    return ModelConfig(
        backbone=EfficientNetLiteConfig(),
        pixel_decoder=_pixel_decoder(feedforward_dim=128),
        decoder=TransformerDecoderConfig(
            hidden_dim=64,
            num_layers=3,
            num_heads=4,
            feedforward_dim=128,
            dropout=0.0,
            input_feature="pixel_embedding",
        ),
        num_queries=num_queries,
        mask_dim=64,
    )


def placed_model(num_queries: int, num_learned_queries: int) -> ModelConfig:
    """Returns a small network whose queries begin at places of the photo: for many objects, large or small."""
    return ModelConfig(
        backbone=EfficientNetLiteConfig(),
        pixel_decoder=_pixel_decoder(feedforward_dim=128),
        decoder=PlacedQueriesConfig(
            hidden_dim=64, num_layers=2, num_learned_queries=num_learned_queries, num_heads=4, feedforward_dim=128
        ),
        num_queries=num_queries,
        mask_dim=64,
    )


def _pixel_decoder(feedforward_dim: int) -> TransformerFpnConfig:
    return TransformerFpnConfig(
        hidden_dim=64, encoder_layers=1, num_heads=4, feedforward_dim=feedforward_dim, dropout=0.0
    )


def optimizer(learning_rate: float, **schedule: Any) -> OptimizerConfig:
    """Returns the optimizer: 0.3 of the rate for the backbone, and a warm-up from a hundredth of the rate."""
    return OptimizerConfig(
        learning_rate=learning_rate, backbone_multiplier=0.3, clip_norm=1.0, warmup_factor=0.01, **schedule
    )


def long_training() -> TrainerConfig:
    """Returns 2400 steps, with an average of the weights."""
    return TrainerConfig(
        train_steps=2400,
        steps_per_loop=50,
        checkpoint_interval=400,
        optimizer=optimizer(7e-4, schedule="poly", warmup_steps=50, ema_momentum=0.99),
    )
