"""Defines the settings of the task: model, data, losses, and how logits become segments."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.data import DataConfig
from maskformer_model.config.model import ModelConfig
from maskformer_model.config.rules import require, require_dtype

PANOPTIC, INSTANCE, SEMANTIC = "panoptic", "instance", "semantic"
# At which size semantic answers fuse classes and masks.
INPUT_SIZE, PHOTO_SIZE = "input", "photo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The weights of losses and matching costs (paper, section 3.2; reference `criterion.py`, `matcher.py`).

    Attributes:
        class_weight: The weight of the cross-entropy.
        mask_weight: The weight of the mask's pixel loss.
        dice_weight: The weight of the dice loss.
        background_cls_weight: Weight of the no-object class inside the cross-entropy.
        class_cost: What a class probability of 1 earns in the matcher (MaskFormer: always 1; Mask2Former: as
            `class_weight`).
        pixel_loss: "focal" (MaskFormer) or "cross_entropy" (Mask2Former; only with "points").
        mask_loss: "exact" (every pixel) or "points" (uncertainty-sampled, as Mask2Former, for memory).
        mask_normalizer: What mask losses are divided by: "targets", or "pairs" (EoMT): those that found a query.
        num_points: Points per mask for "points".
        oversample_ratio: So many times `num_points` are candidates for the points where a mask is least certain.
        importance_sample_ratio: The share of `num_points` that is chosen from them; the others are drawn evenly.
    """

    class_weight: float = 1.0
    mask_weight: float = 20.0
    dice_weight: float = 1.0
    background_cls_weight: float = 0.1
    class_cost: float = 1.0
    pixel_loss: str = "focal"
    mask_loss: str = "exact"
    mask_normalizer: str = "targets"
    num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75

    def __post_init__(self):
        for name in ("class_weight", "mask_weight", "dice_weight", "background_cls_weight", "class_cost"):
            require(getattr(self, name) >= 0, f"`task.losses.{name}` must not be negative.", getattr(self, name))
        kinds = ("exact", "points")
        require(self.mask_loss in kinds, f"`task.losses.mask_loss` must be one of {kinds}.", self.mask_loss)
        normalizers = ("targets", "pairs")
        require(
            self.mask_normalizer in normalizers,
            f"`task.losses.mask_normalizer` must be one of {normalizers}.",
            self.mask_normalizer,
        )
        pixel_losses = ("focal",) if self.mask_loss == "exact" else ("focal", "cross_entropy")
        require(
            self.pixel_loss in pixel_losses,
            f'`task.losses.pixel_loss` must be one of {pixel_losses} with `mask_loss` "{self.mask_loss}".',
            self.pixel_loss,
        )
        require(self.num_points > 0, "`task.losses.num_points` must be positive.", self.num_points)
        require(
            0 <= self.importance_sample_ratio <= 1 <= self.oversample_ratio,
            "`task.losses.importance_sample_ratio` must be in [0, 1], `oversample_ratio` at least 1.",
            (self.importance_sample_ratio, self.oversample_ratio),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """The settings that turn logits into segments (reference `mask_former_model.py`, `panoptic_inference`).

    Attributes:
        object_mask_threshold: A query below this class probability proposes nothing.
        overlap_threshold: A segment that keeps less than this share of its own mask is dropped.
        pixel_threshold: A pixel whose query gives it a smaller mask probability stays void (MaskFormer: 0, none;
            Mask2Former: 0.5).
        shortest_edge_px: Photos are resized to this shortest edge ...
        max_size_px: ... but never beyond this longest edge.
        size_divisibility: Pad the resized photo to a multiple of this (reference `MODEL.MASK_FORMER.SIZE_DIVISIBILITY`:
            32, and 0 for COCO); 0: no padding. The network attends to padding, so another divisor gives other answers.
            Training has its own: `train_data.parser.size_divisibility`.
        pads_with_black: Pad before normalising, so that the network sees black, and round sizes half to even (EoMT);
            otherwise padding is zeros after normalising.
        window_px: Semantic answers are averages over square windows of this edge along the longer side of the photo,
            whose shorter side is scaled to it (EoMT); 0: the whole photo at once.
        semantic_fusion_size: Where semantic answers turn masks into scores of classes: "input", at the size that the
            network saw, and the scores are resized to the photo (the reference's semantic models); "photo", masks are
            resized first (where it sets `SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE` or `PANOPTIC_ON`).
        max_instances: How many instances of a photo are answered at most, best first, and counted by AP (detectron2's
            `TEST.DETECTIONS_PER_IMAGE`). COCO's AP counts 100; data with more objects in a photo needs more.
        max_pixels: A photo with more pixels is refused before it is decoded.
        mixed_precision_dtype: What the layers of an exported model compute in; what comes after the network is
            float32. A training has its own: `runtime.mixed_precision_dtype`.
        augmented_edges_px: Test-time augmentation (`inference.test_time_augmentation`): one view of the resized photo
            for each of these shortest edges, the first being the one whose queries count; empty: no augmentation.
        augmented_max_size_px: No view's longest edge is longer.
        augmented_flip: Whether every view is seen mirrored as well.
    """

    object_mask_threshold: float = 0.8
    overlap_threshold: float = 0.8
    pixel_threshold: float = 0.0
    shortest_edge_px: int = 800
    max_size_px: int = 1333
    size_divisibility: int = 0
    pads_with_black: bool = False
    window_px: int = 0
    semantic_fusion_size: str = PHOTO_SIZE
    max_instances: int = 100
    max_pixels: int = 100_000_000
    mixed_precision_dtype: str = "float32"
    augmented_edges_px: tuple[int, ...] = ()
    augmented_max_size_px: int = 4000
    augmented_flip: bool = True

    def __post_init__(self):
        require(
            all(0 < edge <= self.augmented_max_size_px for edge in self.augmented_edges_px),
            "`task.inference.augmented_edges_px` must be positive and at most `augmented_max_size_px`.",
            (self.augmented_edges_px, self.augmented_max_size_px),
        )
        for name in ("object_mask_threshold", "overlap_threshold", "pixel_threshold"):
            require(0 <= getattr(self, name) <= 1, f"`task.inference.{name}` must be in [0, 1].", getattr(self, name))
        require(
            0 < self.shortest_edge_px <= self.max_size_px,
            "`task.inference.shortest_edge_px` must be positive and at most `max_size_px`.",
            (self.shortest_edge_px, self.max_size_px),
        )
        require(
            self.size_divisibility >= 0,
            "`task.inference.size_divisibility` must not be negative.",
            self.size_divisibility,
        )
        require(self.window_px >= 0, "`task.inference.window_px` must not be negative.", self.window_px)
        require(
            not (self.window_px and self.augmented_edges_px),
            "`task.inference.window_px` and `augmented_edges_px` exclude each other: windows are not augmented.",
            (self.window_px, self.augmented_edges_px),
        )
        require(self.max_instances > 0, "`task.inference.max_instances` must be positive.", self.max_instances)
        require(self.max_pixels > 0, "`task.inference.max_pixels` must be positive.", self.max_pixels)
        require_dtype(self.mixed_precision_dtype, "task.inference.mixed_precision_dtype")
        sizes = (INPUT_SIZE, PHOTO_SIZE)
        require(
            self.semantic_fusion_size in sizes,
            f"`task.inference.semantic_fusion_size` must be one of {sizes}.",
            self.semantic_fusion_size,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The settings of the task: model, data, losses and inference.

    Attributes:
        kind: "panoptic", "instance" or "semantic".
        model: The network.
        losses: Their weights.
        train_data: What is learned from.
        validation_data: What is scored: `input_path` alone is read. Photos are scored one by one at their own size, as
            `inference` says; the other fields are accepted because commands of tf-maskformer set them.
        inference: How logits become segments.
        init_checkpoint: Weights to start from; see `checkpoints.initialize`.
        init_checkpoint_modules: "backbone" or "all". Where "all" meets another number of classes, the class head starts
            from scratch and everything else is taken over.
        freeze_backbone: Keep the backbone's weights as they are.
    """

    kind: str = PANOPTIC
    model: ModelConfig = ModelConfig()
    losses: LossConfig = LossConfig()
    train_data: DataConfig = DataConfig()
    validation_data: DataConfig = DataConfig(drop_remainder=False)
    inference: InferenceConfig = InferenceConfig()
    init_checkpoint: str = ""
    init_checkpoint_modules: str = "backbone"
    freeze_backbone: bool = False

    def __post_init__(self):
        kinds = (PANOPTIC, INSTANCE, SEMANTIC)
        require(self.kind in kinds, f"`task.kind` must be one of {kinds}.", self.kind)
        modules = ("backbone", "all")
        require(
            self.init_checkpoint_modules in modules,
            f"`task.init_checkpoint_modules` must be one of {modules}.",
            self.init_checkpoint_modules,
        )
        self._require_whole_patches()

    def _require_whole_patches(self):
        """A plain ViT reads whole patches only, so that photos must be padded to them."""
        multiple, parser = self.model.backbone.size_multiple, self.train_data.parser
        if multiple == 1:
            return
        # Where the divisor is set, it divides `output_size` too.
        training = (parser.size_divisibility,) if parser.size_divisibility else parser.output_size
        inference = (self.inference.size_divisibility, self.inference.window_px or multiple)
        for name, sizes in (
            ("`task.inference.size_divisibility` and `window_px`", inference),
            ("`task.train_data.parser.size_divisibility` or `output_size`", training),
        ):
            require(
                all(size > 0 and size % multiple == 0 for size in sizes),
                f'{name} must be multiples of {multiple} px for the backbone "{self.model.backbone.type}".',
                sizes,
            )
