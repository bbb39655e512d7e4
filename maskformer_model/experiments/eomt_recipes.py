"""The parts that EoMT's experiments share; an experiment file names the data set, the task, the size and the backbone.

Source: tue-mps/eomt `configs/`, `datasets/` and `training/`; arXiv:2503.19108, section 4 and appendix. The 2x configs
train for twice as long. With DINOv3, a higher rate and longer warm-ups, and the last blocks learn at the whole rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from maskformer_model.config import (
    INSTANCE,
    PANOPTIC,
    SEMANTIC,
    DataConfig,
    EomtConfig,
    ExperimentConfig,
    InferenceConfig,
    ModelConfig,
    NoPixelDecoderConfig,
    OptimizerConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
    VitConfig,
)
from maskformer_model.experiments import mask2former_recipes

BATCH_SIZE = 16
LOSSES = dataclasses.replace(mask2former_recipes.LOSSES, mask_normalizer="pairs")
# Blocks are all of the published ViT's; the decoder takes the last ones.
SMALL = VitConfig(embed_dim=384, depth=12, num_heads=6, mlp_dim=1536)
BASE = VitConfig(embed_dim=768, depth=12, num_heads=12, mlp_dim=3072)
LARGE = VitConfig(embed_dim=1024, depth=24, num_heads=16, mlp_dim=4096)
GIANT = VitConfig(embed_dim=1536, depth=40, num_heads=24, mlp_dim=4096, mlp_kind="swiglu")
# Photos with a segment, in whole batches of 16.
COCO_STEPS_PER_EPOCH, ADE20K_STEPS_PER_EPOCH, CITYSCAPES_STEPS_PER_EPOCH = 7391, 1263, 185


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealing:
    """From which to which step each block with queries gives up its attention mask."""

    starts: Sequence[int]
    ends: Sequence[int]


# Blocks with queries -> steps of the 12 epochs of COCO, and of DINOv3's, whose first block begins at once.
COCO_ANNEALING = {
    3: Annealing(starts=(14_782, 36_955, 59_128), ends=(29_564, 51_737, 73_910)),
    4: Annealing(starts=(14_782, 29_564, 44_346, 59_128), ends=(29_564, 44_346, 59_128, 73_910)),
    5: Annealing(starts=(14_782, 25_869, 36_955, 48_042, 59_128), ends=(29_564, 40_651, 51_737, 62_824, 73_910)),
}
ADE20K_ANNEALING = {
    4: Annealing(starts=(6520, 13_040, 19_560, 26_080), ends=(13_040, 19_560, 26_080, 32_600)),
    5: Annealing(starts=(6520, 11_410, 16_300, 21_190, 26_080), ends=(13_040, 17_930, 22_820, 27_710, 32_600)),
}
CITYSCAPES_ANNEALING = Annealing(starts=(3317, 6634, 9951, 13_268), ends=(6634, 9951, 13_268, 16_585))


def dinov3(backbone: VitConfig) -> VitConfig:
    """The DINOv3 of the same size."""
    return dataclasses.replace(backbone, position_encoding="rotary", key_bias=False, norm_epsilon=1e-5, layer_scale=1.0)


def is_dinov3(backbone: VitConfig) -> bool:
    """Returns whether a backbone is of DINOv3."""
    return backbone.position_encoding == "rotary"


def coco(
    kind: str, backbone: VitConfig, num_blocks: int, edge_px: int, *, num_epochs: int = 12, begins_at_once: bool = False
) -> ExperimentConfig:
    """COCO panoptic or instance, 200 queries: large-scale jitter, the photo in a black square.

    Args:
        kind: "panoptic" or "instance".
        backbone: With all its blocks.
        num_blocks: Blocks with queries.
        edge_px: Edge of the square.
        num_epochs: 12, or 24 (2x), for which masks are given up twice as late.
        begins_at_once: Whether the first block gives up its masks in the first 3000 steps.
    """
    annealing = COCO_ANNEALING[num_blocks]
    longer = num_epochs // 12
    starts, ends = ([step * longer for step in steps] for steps in (annealing.starts, annealing.ends))
    if begins_at_once:
        starts[0], ends[0] = 0, 3000
    num_classes = {PANOPTIC: 133, INSTANCE: 80}[kind]
    return _experiment(
        kind,
        model(backbone, num_blocks, edge_px, num_classes, 200, Annealing(starts=starts, ends=ends)),
        data(edge_px, (0.1, 2.0), jitters_color=False),
        num_epochs * COCO_STEPS_PER_EPOCH,
    )


def ade20k_panoptic(backbone: VitConfig, num_blocks: int, edge_px: int) -> ExperimentConfig:
    """ADE20K panoptic, 150 classes, 200 queries, 31 epochs."""
    return _experiment(
        PANOPTIC,
        model(backbone, num_blocks, edge_px, 150, 200, ADE20K_ANNEALING[num_blocks]),
        data(edge_px, (0.1, 2.0), jitters_color=True),
        31 * ADE20K_STEPS_PER_EPOCH,
    )


def semantic(
    backbone: VitConfig, edge_px: int, num_classes: int, num_steps: int, annealing: Annealing
) -> ExperimentConfig:
    """ADE20K or Cityscapes semantic with 100 queries and four blocks: answers from windows."""
    return _experiment(
        SEMANTIC,
        model(backbone, 4, edge_px, num_classes, 100, annealing),
        data(edge_px, (0.5, 2.0), jitters_color=True),
        num_steps,
    )


def model(
    backbone: VitConfig, num_blocks: int, edge_px: int, num_classes: int, num_queries: int, annealing: Annealing
) -> ModelConfig:
    """The ViT, cut in front of its last blocks, which get the queries."""
    return ModelConfig(
        backbone=dataclasses.replace(backbone, depth=backbone.depth - num_blocks, image_size_px=(edge_px, edge_px)),
        pixel_decoder=NoPixelDecoderConfig(),
        decoder=EomtConfig(
            num_blocks=num_blocks,
            mask_annealing_starts=tuple(annealing.starts),
            mask_annealing_ends=tuple(annealing.ends),
        ),
        num_classes=num_classes,
        num_queries=num_queries,
        mask_dim=backbone.embed_dim,
    )


def data(edge_px: int, scale_range: tuple[float, float], *, jitters_color: bool) -> DataConfig:
    """Large-scale jitter in a black square; a crop without any segment is drawn again."""
    parser = ParserConfig(
        augmentation="lsj",
        output_size=(edge_px, edge_px),
        scale_range=scale_range,
        jitters_color=jitters_color,
        redraws_empty_crops=True,
        padding_pixel=0,
    )
    return DataConfig(global_batch_size=BATCH_SIZE, parser=parser)


def inference(edge_px: int, *, window_px: int = 0, **settings) -> InferenceConfig:
    """The photo scaled to fit a square, the rest black; Mask2Former's rules for what is a segment."""
    return InferenceConfig(
        pixel_threshold=0.5,
        shortest_edge_px=edge_px,
        max_size_px=edge_px,
        size_divisibility=edge_px,
        pads_with_black=True,
        window_px=window_px,
        **settings,
    )


def optimizer(backbone: VitConfig, num_blocks: int, kind: str) -> OptimizerConfig:
    """Layer decay 0.8, weight decay on everything, two warm-ups; with DINOv3 other rates and warm-ups."""
    of_dinov3 = is_dinov3(backbone)
    return OptimizerConfig(
        learning_rate=2e-4 if of_dinov3 else 1e-4,
        backbone_multiplier=1.0,
        layer_decay=1.0 if of_dinov3 and kind == SEMANTIC else 0.8,
        undecayed_blocks=num_blocks if of_dinov3 else 0,
        weight_decay=0.05,
        decays_everything=True,
        clip_norm=0.01,
        schedule="two_stage_poly",
        power=0.9,
        warmup_steps=2000 if of_dinov3 else 500,
        backbone_warmup_steps=3000 if of_dinov3 else 1000,
    )


def _experiment(kind: str, network: ModelConfig, train_data: DataConfig, num_steps: int) -> ExperimentConfig:
    edge_px = train_data.parser.output_size[0]
    parts: Any = network
    return ExperimentConfig(
        task=TaskConfig(
            kind=kind,
            model=network,
            losses=LOSSES,
            train_data=train_data,
            validation_data=train_data,
            inference=inference(edge_px, window_px=edge_px if kind == SEMANTIC else 0),
        ),
        trainer=TrainerConfig(
            train_steps=num_steps, optimizer=optimizer(parts.backbone, parts.decoder.num_blocks, kind)
        ),
    )
