"""The parts that the reference's experiments share: backbones, optimizers, data rules of each data set.

Sources: facebookresearch/MaskFormer `configs/` and `MODEL_ZOO.md`; arXiv:2107.06278, section 4.1 and appendix. An
experiment file puts them together and says what differs.
"""

from __future__ import annotations

from maskformer_model.config import (
    BackboneConfig,
    DataConfig,
    FpnConfig,
    InferenceConfig,
    ModelConfig,
    OptimizerConfig,
    ParserConfig,
    ResNetConfig,
    SwinConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
)
from maskformer_model.config.task import INPUT_SIZE

RESNET_50 = ResNetConfig(depth=50)
RESNET_101 = ResNetConfig(depth=101)
RESNET_101C = ResNetConfig(depth=101, stem_type="deeplab", stem_channels=128, res5_multi_grid=(1, 2, 4))
# `MODEL.MASK_FORMER.SIZE_DIVISIBILITY`, which pads what the network sees in training and at test time. COCO's recipes
# set it to 0, all others leave its default.
SIZE_DIVISIBILITY = 32
SWIN_TINY = SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7)
SWIN_SMALL = SwinConfig(embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), window_size=7)
SWIN_BASE = SwinConfig(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=12)
SWIN_LARGE = SwinConfig(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window_size=12)


def transformer_fpn_model(backbone: BackboneConfig, num_classes: int) -> ModelConfig:
    """Returns the ResNet models of COCO and ADE20K panoptic: six encoder layers inside the pixel decoder."""
    return ModelConfig(backbone=backbone, pixel_decoder=TransformerFpnConfig(), num_classes=num_classes)


def fpn_model(backbone: BackboneConfig, num_classes: int) -> ModelConfig:
    """Returns all other models: a plain FPN, and the decoder reads a projection of res5."""
    return ModelConfig(
        backbone=backbone,
        pixel_decoder=FpnConfig(),
        decoder=TransformerDecoderConfig(enforce_input_projection=True),
        num_classes=num_classes,
    )


def resnet_optimizer(**schedule) -> OptimizerConfig:
    """Learning rate 1e-4, a tenth of it for the backbone, weight decay 1e-4."""
    return OptimizerConfig(learning_rate=1e-4, backbone_multiplier=0.1, weight_decay=1e-4, clip_norm=0.01, **schedule)


def swin_optimizer(**schedule) -> OptimizerConfig:
    """Learning rate 6e-5 for everything, weight decay 0.01, warm-up over 1500 steps from a millionth of the rate."""
    return OptimizerConfig(
        learning_rate=6e-5,
        backbone_multiplier=1.0,
        weight_decay=0.01,
        clip_norm=0.01,
        warmup_steps=1500,
        warmup_factor=1e-6,
        **schedule,
    )


def detr_data(global_batch_size: int, max_size_px: int = 1333) -> DataConfig:
    """COCO: flip; half of the time resize to 400..600 and crop 384..600; resize to 480..800 (DETR's augmentation)."""
    return DataConfig(
        global_batch_size=global_batch_size,
        aspect_ratio_group_size=2,  # Grouped as there, where a group is what one GPU gets.
        parser=ParserConfig(
            augmentation="detr",
            output_size=(0, 0),
            min_sizes_px=tuple(range(480, 801, 32)),
            max_size_px=max_size_px,
            crop_size_px=(384, 600),
            keep_emptied_targets=True,
        ),
    )


def semantic_data(
    global_batch_size: int,
    base_edge_px: int,
    crop_size_px: tuple[int, int],
    *,
    max_size_px: int,
    scales: tuple[float, float] = (0.5, 2.0),
    output_size: tuple[int, int] | None = None,
    keep_emptied_targets: bool = False,
) -> DataConfig:
    """Resize to a tenth-step multiple of `base_edge_px`, crop, jitter colours, flip, pad.

    Args:
        global_batch_size: Photos of a step.
        base_edge_px: The test size's shortest edge.
        crop_size_px: Largest height and width.
        max_size_px: Longest edge before the crop.
        scales: Smallest and largest multiple.
        output_size: What the mapper pads to (`INPUT.SIZE_DIVISIBILITY`, of training alone); None: the crop's size.
        keep_emptied_targets: Whether the mapper makes a target of every segment in the file's list, as both panoptic
            mappers do, or of those in the crop, as the semantic mapper does.
    """
    low, high = (round(10 * scale) for scale in scales)
    return DataConfig(
        global_batch_size=global_batch_size,
        parser=ParserConfig(
            augmentation="semantic",
            output_size=crop_size_px if output_size is None else output_size,
            size_divisibility=SIZE_DIVISIBILITY,
            min_sizes_px=tuple(int(tenth * 0.1 * base_edge_px) for tenth in range(low, high + 1)),
            max_size_px=max_size_px,
            crop_size_px=crop_size_px,
            keep_emptied_targets=keep_emptied_targets,
        ),
    )


def inference(shortest_edge_px: int, max_size_px: int, **settings) -> InferenceConfig:
    """COCO's test size, without padding; `settings` are further fields of `InferenceConfig`."""
    return InferenceConfig(shortest_edge_px=shortest_edge_px, max_size_px=max_size_px, **settings)


def padded_inference(shortest_edge_px: int, max_size_px: int, **settings) -> InferenceConfig:
    """Returns all other data sets' test size, padded to a multiple of 32 px."""
    return inference(shortest_edge_px, max_size_px, size_divisibility=SIZE_DIVISIBILITY, **settings)


def semantic_inference(shortest_edge_px: int, max_size_px: int, **settings) -> InferenceConfig:
    """The same for semantic models: classes and masks are fused at the size that the network saw."""
    return padded_inference(shortest_edge_px, max_size_px, semantic_fusion_size=INPUT_SIZE, **settings)
