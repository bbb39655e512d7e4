"""Defines the config of an experiment, one frozen value, and `a.b=c` overrides of it.

The field names are those of the TensorFlow Model Garden (`runtime`, `task`, `trainer`), so that the commands of
tf-maskformer keep working. A config is checked when it is made, never read from the environment, and round-trips
through plain dicts (json, yaml). What a value means for the model is documented where it is used.
"""

from maskformer_model.config.backbones import (
    RESNET_BLOCKS,
    BackboneConfig,
    ConvNeXtConfig,
    EfficientNetLiteConfig,
    ResNetConfig,
    SwinConfig,
    VitConfig,
)
from maskformer_model.config.data import DataConfig, ParserConfig
from maskformer_model.config.decoders import (
    DecoderConfig,
    EomtConfig,
    MaskedAttentionConfig,
    PlacedQueriesConfig,
    TransformerDecoderConfig,
)
from maskformer_model.config.experiment import (
    SEED_NAMES,
    ExperimentConfig,
    differing_settings,
    from_dict,
    merge,
    override,
    to_dict,
)
from maskformer_model.config.model import ModelConfig
from maskformer_model.config.pixel_decoders import (
    DeformableConfig,
    FpnConfig,
    NoPixelDecoderConfig,
    PixelDecoderConfig,
    TransformerFpnConfig,
)
from maskformer_model.config.scores import SCORE_OF_TASK
from maskformer_model.config.task import (
    INSTANCE,
    PANOPTIC,
    SEMANTIC,
    InferenceConfig,
    LossConfig,
    TaskConfig,
)
from maskformer_model.config.trainer import OptimizerConfig, RuntimeConfig, TrainerConfig

__all__ = [
    "INSTANCE",
    "PANOPTIC",
    "RESNET_BLOCKS",
    "SCORE_OF_TASK",
    "SEED_NAMES",
    "SEMANTIC",
    "BackboneConfig",
    "ConvNeXtConfig",
    "DataConfig",
    "DecoderConfig",
    "DeformableConfig",
    "EfficientNetLiteConfig",
    "EomtConfig",
    "ExperimentConfig",
    "FpnConfig",
    "InferenceConfig",
    "LossConfig",
    "MaskedAttentionConfig",
    "ModelConfig",
    "NoPixelDecoderConfig",
    "OptimizerConfig",
    "ParserConfig",
    "PixelDecoderConfig",
    "PlacedQueriesConfig",
    "ResNetConfig",
    "RuntimeConfig",
    "SwinConfig",
    "TaskConfig",
    "TrainerConfig",
    "TransformerDecoderConfig",
    "TransformerFpnConfig",
    "VitConfig",
    "differing_settings",
    "from_dict",
    "merge",
    "override",
    "to_dict",
]
