"""One frozen value that says everything about an experiment, and `a.b=c` overrides of it.

The field names are those of the TensorFlow Model Garden (`runtime`, `task`, `trainer`), so that the commands of
tf-maskformer keep working. A config is checked when it is made, never read from the environment, and round-trips
through plain dicts (json, yaml). What a value means for the model is documented where it is used.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

PANOPTIC, INSTANCE, SEMANTIC = "panoptic", "instance", "semantic"
RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


# Names of tf-maskformer's settings that mean one of ours.
SEED_NAMES = {
    "task.model.hidden_size": "task.model.hidden_dim",
    "task.model.backbone.resnet.model_id": "task.model.backbone.depth",
    "task.losses.cost_class": "task.losses.class_weight",
    "task.losses.cost_dice": "task.losses.dice_weight",
    "task.losses.cost_focal": "task.losses.mask_weight",
    "task.losses.l2_weight_decay": "trainer.optimizer.weight_decay",
    "trainer.summary_interval": "trainer.steps_per_loop",
}


def _require(condition: bool, rule: str, received: Any) -> None:
    if not condition:
        raise ValueError(f"{rule} Received: {received}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where and in which precision a job runs.

    Attributes:
        distribution_strategy: "one_device", "mirrored" (all accelerators of a machine), "multi_worker_mirrored"
            (machines named in `TF_CONFIG`), "tpu", or "auto": what the environment offers.
        mixed_precision_dtype: What layers compute in; weights, losses and the matcher stay float32. "float16" scales
            the loss dynamically.
        seed: Of weights, dropout, augmentation and the order of examples.
        deterministic: Two runs of one config on one machine give the same bits (a few percent slower).
    """

    distribution_strategy: str = "auto"
    mixed_precision_dtype: str = "float32"
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self):
        strategies = ("auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu")
        _require(
            self.distribution_strategy in strategies,
            f"`runtime.distribution_strategy` must be one of {strategies}.",
            self.distribution_strategy,
        )
        dtypes = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
        _require(
            self.mixed_precision_dtype in dtypes,
            f"`runtime.mixed_precision_dtype` must be one of {dtypes}.",
            self.mixed_precision_dtype,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The feature extractor; `type` chooses which of the other fields are read.

    Attributes:
        type: "resnet", "swin" or "efficientnet_lite0".
        depth: ResNet: 18 and 34 stack basic blocks, 50, 101 and 152 bottlenecks.
        stem_type: ResNet: "basic" (one 7x7) or "deeplab" (three 3x3, as in R101c).
        stem_channels: ResNet.
        res2_channels: ResNet: output channels of the first stage; doubled by each later one.
        bottleneck_channels: ResNet: width of the first stage's 3x3 convolutions; doubled by each later one.
        res5_multi_grid: ResNet: dilation of each block of the last stage.
        stage_blocks: ResNet: blocks of each stage; empty: those of `depth`, which then only names the kind of block.
        stage_channels: ResNet: output channels of each stage, whose bottlenecks keep the first stage's ratio; empty:
            `res2_channels`, doubled by each later stage.
        norm: ResNet and EfficientNet: "frozen_batch" (the reference), "batch" or "group" (from scratch).
        embed_dim: Swin.
        depths: Swin: blocks per stage.
        num_heads: Swin: heads per stage.
        window_size: Swin.
        mlp_ratio: Swin.
        drop_path_rate: Swin: stochastic depth of the last block; grows linearly from 0.
    """

    type: str = "resnet"
    depth: int = 50
    stem_type: str = "basic"
    stem_channels: int = 64
    res2_channels: int = 256
    bottleneck_channels: int = 64
    res5_multi_grid: tuple[int, ...] = (1, 1, 1)
    stage_blocks: tuple[int, ...] = ()
    stage_channels: tuple[int, ...] = ()
    norm: str = "frozen_batch"
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.3

    def __post_init__(self):
        backbones = ("resnet", "swin", "efficientnet_lite0")
        _require(self.type in backbones, f"`task.model.backbone.type` must be one of {backbones}.", self.type)
        _require(
            self.depth in RESNET_BLOCKS, f"`task.model.backbone.depth` must be one of {[*RESNET_BLOCKS]}.", self.depth
        )
        for name in ("stage_blocks", "stage_channels"):
            values = getattr(self, name)
            _require(
                not values or (len(values) == 4 and min(values) > 0),
                f"`task.model.backbone.{name}` must be empty or name four positive numbers.",
                values,
            )
        norms = ("frozen_batch", "batch", "group")
        _require(self.norm in norms, f"`task.model.backbone.norm` must be one of {norms}.", self.norm)
        stems = ("basic", "deeplab")
        _require(self.stem_type in stems, f"`task.model.backbone.stem_type` must be one of {stems}.", self.stem_type)
        _require(
            len(self.depths) == len(self.num_heads) == 4,
            "`task.model.backbone.depths` and `.num_heads` must name four stages.",
            (self.depths, self.num_heads),
        )
        _require(
            0 <= self.drop_path_rate < 1,
            "`task.model.backbone.drop_path_rate` must be in [0, 1).",
            self.drop_path_rate,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network (arXiv:2107.06278, section 3 and appendix).

    Attributes:
        num_classes: Without the no-object class; 0 takes the number from the data set's categories.
        num_queries: Segments that the decoder can propose.
        hidden_dim: Width of the transformer decoder.
        pixel_decoder_dim: Width of the pixel decoder's convolutions and of its transformer encoder.
        mask_dim: Width of the per-pixel and per-query mask embeddings.
        num_heads: Attention heads of encoder and decoder.
        feedforward_dim: Hidden width of their feed-forward layers.
        dropout: On attention weights, attention outputs and feed-forward layers.
        pre_norm: Normalise before instead of after each sub-layer of the decoder.
        which_pixel_decoder: "fpn" or "transformer_fpn" (an encoder over the stride-32 feature, then the FPN).
        fpn_encoder_layers: Encoder layers inside "transformer_fpn".
        detr_encoder_layers: Encoder layers in front of the transformer decoder (0 in every published model).
        num_decoder_layers: Layers of the transformer decoder.
        deep_supervision: Predict (and take a loss) after every decoder layer, not only the last.
        enforce_input_projection: Project the decoder's input even where its width already fits.
        transformer_in_feature: What the decoder attends to (reference `TRANSFORMER_IN_FEATURE`): "auto" (the
            encoder's output of "transformer_fpn", else "res5"), "transformer_encoder", "res2" to "res5", or
            "pixel_embedding" (the mask features, stride 4: dear for large photos, sharp for small ones).
    """

    backbone: BackboneConfig = BackboneConfig()
    num_classes: int = 0
    num_queries: int = 100
    hidden_dim: int = 256
    pixel_decoder_dim: int = 256
    mask_dim: int = 256
    num_heads: int = 8
    feedforward_dim: int = 2048
    dropout: float = 0.1
    pre_norm: bool = False
    which_pixel_decoder: str = "transformer_fpn"
    fpn_encoder_layers: int = 6
    detr_encoder_layers: int = 0
    num_decoder_layers: int = 6
    deep_supervision: bool = True
    enforce_input_projection: bool = False
    transformer_in_feature: str = "auto"

    def __post_init__(self):
        for name in ("num_queries", "hidden_dim", "pixel_decoder_dim", "mask_dim", "num_heads", "num_decoder_layers"):
            _require(getattr(self, name) > 0, f"`task.model.{name}` must be positive.", getattr(self, name))
        decoders = ("fpn", "transformer_fpn")
        _require(
            self.which_pixel_decoder in decoders,
            f"`task.model.which_pixel_decoder` must be one of {decoders}.",
            self.which_pixel_decoder,
        )
        _require(
            self.hidden_dim % self.num_heads == 0 and self.hidden_dim % 4 == 0,
            "`task.model.num_heads` must divide `task.model.hidden_dim`, which must be a multiple of 4.",
            (self.num_heads, self.hidden_dim),
        )
        _require(
            self.pixel_decoder_dim % 32 == 0,
            "`task.model.pixel_decoder_dim` must be a multiple of 32 (group norm).",
            self.pixel_decoder_dim,
        )
        _require(
            self.which_pixel_decoder == "fpn" or self.pixel_decoder_dim % self.num_heads == 0,
            "`task.model.num_heads` must divide `task.model.pixel_decoder_dim` where the pixel decoder has an encoder.",
            (self.num_heads, self.pixel_decoder_dim),
        )
        _require(0 <= self.dropout < 1, "`task.model.dropout` must be in [0, 1).", self.dropout)
        features = ("auto", "transformer_encoder", "res2", "res3", "res4", "res5", "pixel_embedding")
        _require(
            self.transformer_in_feature in features,
            f"`task.model.transformer_in_feature` must be one of {features}.",
            self.transformer_in_feature,
        )
        _require(
            self.transformer_in_feature != "transformer_encoder" or self.which_pixel_decoder == "transformer_fpn",
            '`task.model.transformer_in_feature` "transformer_encoder" needs `which_pixel_decoder` "transformer_fpn".',
            self.which_pixel_decoder,
        )

    @property
    def decoder_input(self) -> str:
        """`transformer_in_feature` with "auto" resolved."""
        if self.transformer_in_feature != "auto":
            return self.transformer_in_feature
        return "transformer_encoder" if self.which_pixel_decoder == "transformer_fpn" else "res5"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of losses and matching costs (paper, section 3.2; reference `criterion.py`, `matcher.py`).

    Attributes:
        class_weight: Of the cross-entropy.
        mask_weight: Of the focal mask loss.
        dice_weight: Of the dice loss.
        background_cls_weight: Weight of the no-object class inside the cross-entropy.
        mask_loss: "exact" (every pixel) or "points" (uncertainty-sampled, as Mask2Former, for memory).
        num_points: Points per mask for "points".
    """

    class_weight: float = 1.0
    mask_weight: float = 20.0
    dice_weight: float = 1.0
    background_cls_weight: float = 0.1
    mask_loss: str = "exact"
    num_points: int = 12544

    def __post_init__(self):
        for name in ("class_weight", "mask_weight", "dice_weight", "background_cls_weight"):
            _require(getattr(self, name) >= 0, f"`task.losses.{name}` must not be negative.", getattr(self, name))
        kinds = ("exact", "points")
        _require(self.mask_loss in kinds, f"`task.losses.mask_loss` must be one of {kinds}.", self.mask_loss)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """How a photo becomes a model input.

    Attributes:
        augmentation: "none", "flip", "detr" (reference COCO: resize, crop, resize), "lsj" (large-scale jitter) or
            "semantic" (reference ADE20K, Cityscapes, Vistas: resize, crop, colour jitter, flip).
        output_size: Height and width of the padded batch in px; (0, 0) pads to the largest image of the batch.
        min_sizes_px: Shortest edges to choose from; evaluation and "none" take the largest.
        max_size_px: The longest edge never exceeds this.
        crop_size_px: Height and width of the crop for "semantic"; for "detr" smallest and largest crop edge.
        crop_min_sizes_px: "detr": shortest edges to choose from before the crop.
        scale_range: "lsj": smallest and largest size of the photo, in units of `output_size`.
        max_targets: Rows of the padded target list; more segments than this are dropped smallest first.
        keep_crowd: Train on crowd segments instead of leaving them void.
        keep_emptied_targets: Panoptic: go on expecting segments that a crop has emptied (with an empty mask), as the
            reference does for COCO.
    """

    augmentation: str = "none"
    output_size: tuple[int, int] = (640, 640)
    min_sizes_px: tuple[int, ...] = (640,)
    max_size_px: int = 640
    crop_size_px: tuple[int, int] = (384, 600)
    crop_min_sizes_px: tuple[int, ...] = (400, 500, 600)
    scale_range: tuple[float, float] = (0.1, 2.0)
    max_targets: int = 100
    keep_crowd: bool = False
    keep_emptied_targets: bool = False

    def __post_init__(self):
        kinds = ("none", "flip", "detr", "lsj", "semantic")
        _require(self.augmentation in kinds, f"`parser.augmentation` must be one of {kinds}.", self.augmentation)
        _require(
            len(self.output_size) == 2 and all(v >= 0 for v in self.output_size),
            "`parser.output_size` must be a height and a width in px.",
            self.output_size,
        )
        for name in ("min_sizes_px", "crop_min_sizes_px", "crop_size_px"):
            sizes = getattr(self, name)
            rule = f"`parser.{name}` must name at least one size, all of them positive."
            _require(len(sizes) > 0 and min(sizes) > 0, rule, sizes)
        _require(
            self.max_size_px >= max(self.min_sizes_px),
            "`parser.max_size_px` must not be below `parser.min_sizes_px`.",
            (self.max_size_px, self.min_sizes_px),
        )
        _require(0 < self.max_targets <= 255, "`parser.max_targets` must be in 1..255.", self.max_targets)
        self._check_augmentation()

    def _check_augmentation(self):
        # A photo of any aspect ratio must fit, and so must the crop of "semantic"; "lsj" crops to `output_size`.
        largest = {"lsj": (1, 1), "semantic": self.crop_size_px}.get(self.augmentation, (self.max_size_px,) * 2)
        _require(
            all(size == 0 or size >= edge for size, edge in zip(self.output_size, largest, strict=True)),
            f'`parser.output_size` must hold {largest} px (or be 0) for the augmentation "{self.augmentation}".',
            self.output_size,
        )
        if self.augmentation == "detr":
            rule = '`parser.crop_size_px` must be the smallest and the largest crop edge for "detr".'
            _require(self.crop_size_px[0] <= self.crop_size_px[1], rule, self.crop_size_px)
        if self.augmentation == "lsj":
            _require(min(self.output_size) > 0, '`parser.output_size` must be positive for "lsj".', self.output_size)
            rule = "`parser.scale_range` must be a smallest and a largest positive scale."
            _require(0 < self.scale_range[0] <= self.scale_range[1], rule, self.scale_range)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where examples come from and how they are batched."""

    input_path: str = ""
    global_batch_size: int = 16
    shuffle_buffer_size: int = 1000
    cache: bool = False
    drop_remainder: bool = True
    parser: ParserConfig = ParserConfig()

    def __post_init__(self):
        _require(self.global_batch_size > 0, "`global_batch_size` must be positive.", self.global_batch_size)
        _require(self.shuffle_buffer_size > 0, "`shuffle_buffer_size` must be positive.", self.shuffle_buffer_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How logits become segments (reference `mask_former_model.py`, `panoptic_inference`).

    Attributes:
        object_mask_threshold: A query below this class probability proposes nothing.
        overlap_threshold: A segment that keeps less than this share of its own mask is dropped.
        shortest_edge_px: Photos are resized to this shortest edge ...
        max_size_px: ... but never beyond this longest edge.
        size_divisibility: Pad the resized photo to a multiple of this (reference `SIZE_DIVISIBILITY`); 0: no padding.
            Padding is attended to, so a model that was trained on padded squares answers best on padded squares.
        max_pixels: A photo with more pixels is refused before it is decoded.
        augmented_edges_px: Test-time augmentation (`augmented_inference`): one view of the photo for each of these
            shortest edges, the first being the one whose queries count; empty: no augmentation.
        augmented_max_size_px: No view's longest edge is longer.
        augmented_flip: Whether every view is seen mirrored as well.
    """

    object_mask_threshold: float = 0.8
    overlap_threshold: float = 0.8
    shortest_edge_px: int = 800
    max_size_px: int = 1333
    size_divisibility: int = 0
    max_pixels: int = 100_000_000
    augmented_edges_px: tuple[int, ...] = ()
    augmented_max_size_px: int = 4000
    augmented_flip: bool = True

    def __post_init__(self):
        _require(
            all(0 < edge <= self.augmented_max_size_px for edge in self.augmented_edges_px),
            "`task.inference.augmented_edges_px` must be positive and at most `augmented_max_size_px`.",
            (self.augmented_edges_px, self.augmented_max_size_px),
        )
        for name in ("object_mask_threshold", "overlap_threshold"):
            _require(0 <= getattr(self, name) <= 1, f"`task.inference.{name}` must be in [0, 1].", getattr(self, name))
        _require(
            0 < self.shortest_edge_px <= self.max_size_px,
            "`task.inference.shortest_edge_px` must be positive and at most `max_size_px`.",
            (self.shortest_edge_px, self.max_size_px),
        )
        _require(
            self.size_divisibility >= 0,
            "`task.inference.size_divisibility` must not be negative.",
            self.size_divisibility,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learned, from what.

    Attributes:
        kind: "panoptic", "instance" or "semantic".
        model: The network.
        losses: Their weights.
        train_data: What is learned from.
        validation_data: What is scored.
        inference: How logits become segments.
        init_checkpoint: Weights to start from; see `checkpoints.initialize`.
        init_checkpoint_modules: "backbone" or "all". Where "all" meets another number of classes, the class head starts
            anew and everything else is taken over.
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
        _require(self.kind in kinds, f"`task.kind` must be one of {kinds}.", self.kind)
        modules = ("backbone", "all")
        _require(
            self.init_checkpoint_modules in modules,
            f"`task.init_checkpoint_modules` must be one of {modules}.",
            self.init_checkpoint_modules,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW as the reference trains (`train_net.py`): PyTorch's formula, full-model clip, slower backbone.

    Attributes:
        learning_rate: Of everything but the backbone.
        backbone_multiplier: Times `learning_rate` for the backbone.
        weight_decay: Decoupled; never on norms, embeddings and relative-position tables.
        clip_norm: Largest global norm of all gradients together; 0 switches clipping off.
        schedule: "constant", "step" or "poly".
        drop_steps: "step": where the rate is multiplied by `drop_factor`.
        drop_factor: "step".
        power: "poly".
        warmup_steps: Linear warm-up from `warmup_factor` times the rate.
        warmup_factor: Start of the warm-up.
        ema_momentum: Average of the weights that is exported; 0 switches it off.
    """

    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    weight_decay: float = 1e-4
    clip_norm: float = 0.01
    schedule: str = "step"
    drop_steps: tuple[int, ...] = ()
    drop_factor: float = 0.1
    power: float = 0.9
    warmup_steps: int = 0
    warmup_factor: float = 1.0
    ema_momentum: float = 0.0

    def __post_init__(self):
        _require(
            0 < self.learning_rate <= 1, "`trainer.optimizer.learning_rate` must be in (0, 1].", self.learning_rate
        )
        schedules = ("constant", "step", "poly")
        _require(self.schedule in schedules, f"`trainer.optimizer.schedule` must be one of {schedules}.", self.schedule)
        for name in ("backbone_multiplier", "weight_decay", "clip_norm", "warmup_steps"):
            _require(getattr(self, name) >= 0, f"`trainer.optimizer.{name}` must not be negative.", getattr(self, name))
        _require(0 <= self.ema_momentum < 1, "`trainer.optimizer.ema_momentum` must be in [0, 1).", self.ema_momentum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, with which optimizer, and what is written down on the way.

    Attributes:
        train_steps: Optimizer steps in all.
        steps_per_loop: Steps between two rows of the curves (history file and TensorBoard).
        checkpoint_interval: Steps between two checkpoints; 0: only at the end.
        validation_interval: Steps between two evaluations of the validation data; 0: none.
        max_to_keep: Checkpoints that are kept, beside the best one.
        accumulation_steps: Parts in which a replica's batch goes through the network, one after the other, before one
            update: the same update with less memory.
        max_skipped_steps: A step whose gradient is not finite changes nothing; after so many in a row the job stops.
        steps_per_execution: Steps that run on the device before Python is asked again.
        optimizer: See `OptimizerConfig`.
        jit_compile: Compile the whole step with XLA (accelerators); the matcher is compiled in any case.
    """

    train_steps: int = 554_400
    steps_per_loop: int = 1000
    checkpoint_interval: int = 5000
    validation_interval: int = 0
    max_to_keep: int = 3
    accumulation_steps: int = 1
    max_skipped_steps: int = 10
    steps_per_execution: int = 1
    optimizer: OptimizerConfig = OptimizerConfig()
    jit_compile: bool = False

    def __post_init__(self):
        positive = ("train_steps", "steps_per_loop", "max_to_keep", "accumulation_steps", "max_skipped_steps")
        for name in (*positive, "steps_per_execution"):
            _require(getattr(self, name) > 0, f"`trainer.{name}` must be positive.", getattr(self, name))
        for name in ("checkpoint_interval", "validation_interval"):
            _require(getattr(self, name) >= 0, f"`trainer.{name}` must not be negative.", getattr(self, name))
        for name in ("train_steps", "steps_per_loop", "checkpoint_interval", "validation_interval"):
            _require(
                getattr(self, name) % self.steps_per_execution == 0,
                f"`trainer.steps_per_execution` ({self.steps_per_execution}) must divide `trainer.{name}`.",
                getattr(self, name),
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Everything about one experiment."""

    runtime: RuntimeConfig = RuntimeConfig()
    task: TaskConfig = TaskConfig()
    trainer: TrainerConfig = TrainerConfig()


def to_dict(config: Any) -> dict[str, Any]:
    """The config as nested plain dicts; tuples become lists, so that json and yaml give the same back."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_dict(values: Mapping[str, Any]) -> ExperimentConfig:
    """The inverse of `to_dict`; absent keys take the defaults.

    Raises:
        KeyError: if a key is unknown, naming it and the known ones.
        ValueError: if a value is of the wrong type or breaks a rule.
    """
    return merge(ExperimentConfig(), values)


def merge(config: Any, values: Mapping[str, Any], _path: str = "") -> Any:
    """A copy of `config` with the nested `values` in place of its own.

    Raises:
        KeyError: if a key is unknown, naming it and the known ones.
        ValueError: if a value is of the wrong type or breaks a rule.
    """
    known = {field.name: field for field in dataclasses.fields(config)}
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in values.items():
        path = f"{_path}{key}"
        if key not in known:
            raise KeyError(f"Unknown setting `{path}`. Known here: {', '.join(_path + name for name in known)}")
        current = getattr(config, key)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ValueError(f"`{path}` is a group of settings, not a value. Received: {value!r}")
            changes[key] = merge(current, value, f"{path}.")
        else:
            changes[key] = _convert(value, hints[key], path)
    return dataclasses.replace(config, **changes)


def override(config: ExperimentConfig, overrides: str) -> ExperimentConfig:
    """Applies `a.b=c,d.e=f`; values are yaml, so lists are `[480,640]`.

    Args:
        config: The value to start from; it is not changed.
        overrides: Comma-separated settings, as `--params_override` takes them, by our names or those of `SEED_NAMES`;
            may be empty.

    Raises:
        KeyError: if a setting is unknown.
        ValueError: if a piece has no `=` or a value does not fit.
    """
    import yaml

    nested: dict[str, Any] = {}
    for piece in _split_outside_brackets(overrides):
        key, separator, text = piece.partition("=")
        if not separator:
            raise ValueError(f"An override must look like `task.model.num_queries=50`. Received: {piece!r}")
        key = key.strip()
        group = nested
        *parents, leaf = SEED_NAMES.get(key, key).split(".")
        for parent in parents:
            group = group.setdefault(parent, {})
        group[leaf] = yaml.safe_load(text) if text.strip() else ""
    return merge(config, nested)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _convert(value: Any, hint: Any, path: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"`{path}` must be a list such as [480,640]. Received: {value!r}")
        item_hints = typing.get_args(hint)
        item_hint = item_hints[0]
        if Ellipsis not in item_hints and len(value) != len(item_hints):
            raise ValueError(f"`{path}` must have {len(item_hints)} items. Received: {value!r}")
        return tuple(_convert(item, item_hint, path) for item in value)
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-4 (no dot) as a string.
        except ValueError:
            pass
    elif hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    elif type(value) is hint:
        return value
    raise ValueError(f"`{path}` must be of type {hint.__name__}. Received: {value!r}")


def _split_outside_brackets(text: str) -> list[str]:
    pieces, depth, start = [], 0, 0
    for position, character in enumerate(text + ","):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            pieces.append(text[start:position])
            start = position + 1
    return [piece for piece in pieces if piece.strip()]
