"""Defines the settings of data: which examples are read, and how a photo becomes a model input."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.rules import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """The settings that turn a photo into a model input.

    Attributes:
        augmentation: "none", "flip", "detr" (reference COCO: resize, crop, resize), "lsj" (large-scale jitter) or
            "semantic" (reference ADE20K, Cityscapes, Vistas: resize, crop, colour jitter, flip).
        output_size: Height and width of the padded batch in px; (0, 0) pads to the largest image of the batch.
        size_divisibility: Pad the batch further to a multiple of this, as the reference's network does with its
            `MODEL.MASK_FORMER.SIZE_DIVISIBILITY`; 0: no further. It must divide `output_size`.
        min_sizes_px: Shortest edges to choose from; evaluation and "none" take the largest.
        max_size_px: The longest edge never exceeds this.
        crop_size_px: Height and width of the crop for "semantic"; for "detr" smallest and largest crop edge.
        crop_min_sizes_px: "detr": shortest edges to choose from before the crop.
        scale_range: "lsj": smallest and largest size of the photo, in units of `output_size`.
        jitters_color: "lsj": change the colours too (EoMT's jitter, `color_jitter.py`).
        redraws_empty_crops: "lsj": draw again where a crop shows no segment (EoMT).
        padding_pixel: Value of padding that the network sees ("lsj" and "semantic").
        max_targets: Rows of the padded target list; more segments than this are dropped smallest first.
        keep_crowd: Train on crowd segments instead of leaving them void.
        keep_emptied_targets: Panoptic: keep expecting segments that a crop has emptied (with an empty mask), as both
            panoptic mappers of the reference do.
    """

    augmentation: str = "none"
    output_size: tuple[int, int] = (640, 640)
    size_divisibility: int = 0
    min_sizes_px: tuple[int, ...] = (640,)
    max_size_px: int = 640
    crop_size_px: tuple[int, int] = (384, 600)
    crop_min_sizes_px: tuple[int, ...] = (400, 500, 600)
    scale_range: tuple[float, float] = (0.1, 2.0)
    jitters_color: bool = False
    redraws_empty_crops: bool = False
    padding_pixel: int = 128
    max_targets: int = 100
    keep_crowd: bool = False
    keep_emptied_targets: bool = False

    def __post_init__(self):
        kinds = ("none", "flip", "detr", "lsj", "semantic")
        require(self.augmentation in kinds, f"`parser.augmentation` must be one of {kinds}.", self.augmentation)
        require(
            len(self.output_size) == 2 and all(v >= 0 for v in self.output_size),
            "`parser.output_size` must be a height and a width in px.",
            self.output_size,
        )
        require(self.size_divisibility >= 0, "`parser.size_divisibility` must not be negative.", self.size_divisibility)
        require(
            all(size % max(1, self.size_divisibility) == 0 for size in self.output_size),
            "`parser.size_divisibility` must divide `parser.output_size`.",
            (self.size_divisibility, self.output_size),
        )
        for name in ("min_sizes_px", "crop_min_sizes_px", "crop_size_px"):
            sizes = getattr(self, name)
            rule = f"`parser.{name}` must name at least one size, all of them positive."
            require(len(sizes) > 0 and min(sizes) > 0, rule, sizes)
        require(
            self.max_size_px >= max(self.min_sizes_px),
            "`parser.max_size_px` must not be below `parser.min_sizes_px`.",
            (self.max_size_px, self.min_sizes_px),
        )
        require(0 <= self.padding_pixel <= 255, "`parser.padding_pixel` must be in 0..255.", self.padding_pixel)
        require(0 < self.max_targets <= 255, "`parser.max_targets` must be in 1..255.", self.max_targets)
        self._check_augmentation()

    def _check_augmentation(self):
        # A photo of any aspect ratio must fit, and so must the crop of "semantic"; "lsj" crops to `output_size`.
        largest = {"lsj": (1, 1), "semantic": self.crop_size_px}.get(self.augmentation, (self.max_size_px,) * 2)
        require(
            all(size == 0 or size >= edge for size, edge in zip(self.output_size, largest, strict=True)),
            f'`parser.output_size` must hold {largest} px (or be 0) for the augmentation "{self.augmentation}".',
            self.output_size,
        )
        if self.augmentation == "detr":
            rule = '`parser.crop_size_px` must be the smallest and the largest crop edge for "detr".'
            require(self.crop_size_px[0] <= self.crop_size_px[1], rule, self.crop_size_px)
        if self.augmentation == "lsj":
            require(min(self.output_size) > 0, '`parser.output_size` must be positive for "lsj".', self.output_size)
            rule = "`parser.scale_range` must be a smallest and a largest positive scale."
            require(0 < self.scale_range[0] <= self.scale_range[1], rule, self.scale_range)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The settings of the examples' source and of batches.

    Attributes:
        input_path: Paths or globs of record files.
        global_batch_size: Photos of a step, over all replicas.
        shuffle_buffer_size: Examples among which the next one is drawn.
        cache: Keep the decoded photos in memory.
        drop_remainder: Leave out a last batch that is smaller.
        aspect_ratio_group_size: Photos that are padded together in training, all of them wider than high or none
            (detectron2's grouping). Each replica, and each part of `trainer.accumulation_steps`, then cuts the padding
            down to its own largest photo: give it as many photos. 0: photos in random order, and every replica pads to
            the largest photo of the whole batch.
    """

    input_path: str = ""
    global_batch_size: int = 16
    shuffle_buffer_size: int = 1000
    cache: bool = False
    drop_remainder: bool = True
    aspect_ratio_group_size: int = 0
    parser: ParserConfig = ParserConfig()

    def __post_init__(self):
        require(self.global_batch_size > 0, "`global_batch_size` must be positive.", self.global_batch_size)
        require(self.shuffle_buffer_size > 0, "`shuffle_buffer_size` must be positive.", self.shuffle_buffer_size)
        require(
            self.aspect_ratio_group_size >= 0
            and (self.group_size == 0 or self.global_batch_size % self.group_size == 0),
            "`aspect_ratio_group_size` must be 0, divide `global_batch_size` or exceed it.",
            (self.aspect_ratio_group_size, self.global_batch_size),
        )

    @property
    def group_size(self) -> int:
        """Returns `aspect_ratio_group_size`, or the size of the whole batch if that is smaller."""
        return min(self.aspect_ratio_group_size, self.global_batch_size)
