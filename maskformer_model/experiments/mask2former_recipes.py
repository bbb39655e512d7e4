"""The parts that Mask2Former's experiments share; an experiment file names the data set, the task and the backbone.

Source: facebookresearch/Mask2Former `configs/` and `MODEL_ZOO.md`; arXiv:2112.01527, section 4 and appendix.
"""

from __future__ import annotations

from maskformer_model.config import (
    INSTANCE,
    PANOPTIC,
    SEMANTIC,
    BackboneConfig,
    DataConfig,
    DeformableConfig,
    ExperimentConfig,
    InferenceConfig,
    LossConfig,
    MaskedAttentionConfig,
    ModelConfig,
    OptimizerConfig,
    ParserConfig,
    TaskConfig,
    TrainerConfig,
)
from maskformer_model.experiments import recipes

BATCH_SIZE = 16
LOSSES = LossConfig(
    class_weight=2.0,
    mask_weight=5.0,
    dice_weight=5.0,
    class_cost=2.0,
    pixel_loss="cross_entropy",
    mask_loss="points",
)
COCO_STEPS = 368_750  # 50 epochs.
COCO_CLASSES = {PANOPTIC: 133, INSTANCE: 80}
PIXEL_THRESHOLD = 0.5


def model(backbone: BackboneConfig, num_classes: int, num_queries: int = 100) -> ModelConfig:
    """Returns a deformable pixel decoder over res3 to res5, and nine layers of masked attention."""
    return ModelConfig(
        backbone=backbone,
        pixel_decoder=DeformableConfig(),
        decoder=MaskedAttentionConfig(),
        num_classes=num_classes,
        num_queries=num_queries,
    )


def optimizer(**schedule) -> OptimizerConfig:
    """Learning rate 1e-4, a tenth of it for every backbone, weight decay 0.05, no warm-up."""
    return OptimizerConfig(learning_rate=1e-4, backbone_multiplier=0.1, weight_decay=0.05, clip_norm=0.01, **schedule)


def coco(
    kind: str, backbone: BackboneConfig, *, num_queries: int = 100, num_steps: int = COCO_STEPS
) -> ExperimentConfig:
    """COCO panoptic or instance: large-scale jitter at 1024 px, the rate drops after 8/9 and 26/27 of the steps."""
    parser = ParserConfig(
        augmentation="lsj",
        output_size=(1024, 1024),
        size_divisibility=recipes.SIZE_DIVISIBILITY,
        keep_emptied_targets=kind == PANOPTIC,
    )
    drops = {COCO_STEPS: (327_778, 355_092), 2 * COCO_STEPS: (655_556, 710_184)}
    return _experiment(
        kind,
        model(backbone, COCO_CLASSES[kind], num_queries),
        DataConfig(global_batch_size=BATCH_SIZE, parser=parser),
        recipes.padded_inference(800, 1333, pixel_threshold=PIXEL_THRESHOLD),
        TrainerConfig(
            train_steps=num_steps, optimizer=optimizer(schedule="step", drop_steps=drops[num_steps], drop_factor=0.1)
        ),
    )


def ade20k(kind: str, backbone: BackboneConfig, *, edge_px: int, num_queries: int = 100) -> ExperimentConfig:
    """ADE20K semantic or panoptic, 150 classes, 160,000 steps at 512 or 640 px."""
    return _of_crops(
        kind,
        model(backbone, 150, num_queries),
        edge_px,
        (edge_px, edge_px),
        num_steps=160_000,
        test_max_size_px=4 * edge_px,
        augmented_max_size_px=7 * edge_px,
    )


def cityscapes(kind: str, backbone: BackboneConfig, *, num_queries: int = 100) -> ExperimentConfig:
    """Cityscapes semantic or panoptic, 19 classes, 90,000 steps of 512 x 1024 px crops."""
    return _of_crops(
        kind,
        model(backbone, 19, num_queries),
        1024,
        (512, 1024),
        output_size=(0, 0),
        num_steps=90_000,
        test_max_size_px=2048,
        augmented_max_size_px=4096,
    )


def vistas(kind: str, backbone: BackboneConfig, *, num_queries: int = 100) -> ExperimentConfig:
    """Mapillary Vistas semantic or panoptic, 65 classes, 300,000 steps of 1024 px crops."""
    return _of_crops(
        kind,
        model(backbone, 65, num_queries),
        2048,
        (1024, 1024),
        num_steps=300_000,
        test_max_size_px=2048,
        object_mask_threshold=0.0,
    )


def _of_crops(
    kind: str,
    network: ModelConfig,
    base_edge_px: int,
    crop_size_px: tuple[int, int],
    *,
    num_steps: int,
    test_max_size_px: int,
    output_size: tuple[int, int] | None = None,
    **inference_settings,
) -> ExperimentConfig:
    """Random sizes, a crop, colour jitter, and a rate that falls to 0: the recipe of all data sets but COCO."""
    infer = recipes.semantic_inference if kind == SEMANTIC else recipes.padded_inference
    data = recipes.semantic_data(
        BATCH_SIZE,
        base_edge_px,
        crop_size_px,
        max_size_px=4 * base_edge_px,
        output_size=output_size,
        keep_emptied_targets=kind == PANOPTIC,
    )
    return _experiment(
        kind,
        network,
        data,
        infer(base_edge_px, test_max_size_px, pixel_threshold=PIXEL_THRESHOLD, **inference_settings),
        TrainerConfig(train_steps=num_steps, optimizer=optimizer(schedule="poly", power=0.9)),
    )


def _experiment(
    kind: str, network: ModelConfig, data: DataConfig, inference: InferenceConfig, trainer: TrainerConfig
) -> ExperimentConfig:
    return ExperimentConfig(
        task=TaskConfig(
            kind=kind, model=network, losses=LOSSES, train_data=data, validation_data=data, inference=inference
        ),
        trainer=trainer,
    )
