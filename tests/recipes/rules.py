"""What each field of an experiment must be, from the official recipe's values, or why it has no counterpart there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from maskformer_model.config import ExperimentConfig, to_dict
from tests.recipes.official import Recipe

_DEEPLAB, _SWIN = "build_resnet_deeplab_backbone", "D2SwinTransformer"
_M = "MODEL.MASK_FORMER."
_H = "MODEL.SEM_SEG_HEAD."
_B = "task.model.backbone."
_F = "task.model.pixel_decoder."
_D = "task.model.decoder."
_P = "task.train_data.parser."
_O = "trainer.optimizer."
_AUGMENTATIONS = {"detr_panoptic": "detr", "mask_former_panoptic": "semantic", "mask_former_semantic": "semantic"}


@dataclasses.dataclass(frozen=True)
class NotRead:
    """The value is without effect in this recipe, and why."""

    reason: str


Expected = Callable[[Recipe], Any]


def _is_swin(recipe: Recipe) -> bool:
    return recipe["MODEL.BACKBONE.NAME"] == _SWIN


def _resnet(value: Expected) -> Expected:
    return lambda recipe: NotRead("the backbone is a Swin") if _is_swin(recipe) else value(recipe)


def _swin(key: str) -> Expected:
    return lambda recipe: recipe[f"MODEL.SWIN.{key}"] if _is_swin(recipe) else NotRead("the backbone is a ResNet")


def _deeplab(value: Expected, otherwise: Any) -> Expected:
    return _resnet(lambda recipe: value(recipe) if recipe["MODEL.BACKBONE.NAME"] == _DEEPLAB else otherwise)


def _key(key: str) -> Expected:
    return lambda recipe: recipe[key]


def _is_panoptic(recipe: Recipe) -> bool:
    return recipe[f"{_M}TEST.PANOPTIC_ON"]


def _has_encoder(recipe: Recipe) -> bool:
    return recipe[f"{_H}PIXEL_DECODER_NAME"] == "TransformerEncoderPixelDecoder"


def _encoder(key: str) -> Expected:
    return lambda recipe: recipe[key] if _has_encoder(recipe) else NotRead("the pixel decoder has no encoder")


def _has_projection(recipe: Recipe) -> bool:
    """Returns whether the decoder projects its input: where the config says so, or where the widths differ."""
    reads_encoder = recipe[f"{_M}TRANSFORMER_IN_FEATURE"] == "transformer_encoder"
    fits = reads_encoder and recipe[f"{_H}CONVS_DIM"] == recipe[f"{_M}HIDDEN_DIM"]
    return recipe[f"{_M}ENFORCE_INPUT_PROJ"] or not fits


def _threshold(key: str) -> Expected:
    unused = NotRead("PANOPTIC_ON is off: officially there is no panoptic answer; ours has one, with these thresholds")
    return lambda recipe: recipe[f"{_M}TEST.{key}"] if _is_panoptic(recipe) else unused


def _mapper_padding(recipe: Recipe) -> list[int]:
    padded_px = recipe["INPUT.SIZE_DIVISIBILITY"]
    reads_it = recipe["INPUT.DATASET_MAPPER_NAME"] != "detr_panoptic"
    return [padded_px] * 2 if reads_it and padded_px > 0 else [0, 0]


def _of_mapper(fact: str) -> Expected:
    return lambda recipe: recipe[f"{recipe['INPUT.DATASET_MAPPER_NAME']}: {fact}"]


def _edges_before_crop(recipe: Recipe) -> Any:
    if recipe["INPUT.DATASET_MAPPER_NAME"] == "detr_panoptic":
        return recipe["detr_panoptic: shortest edges before the crop"]
    return NotRead("of the DETR mapper alone")


def _is_stepped(recipe: Recipe) -> bool:
    return recipe["SOLVER.LR_SCHEDULER_NAME"] == "WarmupMultiStepLR"


def _fusion_size(recipe: Recipe) -> str:
    at_photo_size = recipe[f"{_M}TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE"] or _is_panoptic(recipe)
    return "photo" if at_photo_size else "input"


def _warmup_steps(recipe: Recipe) -> int:
    # Steps of a warm-up that begins with the whole rate change nothing.
    return 0 if recipe["SOLVER.WARMUP_FACTOR"] == 1 else recipe["SOLVER.WARMUP_ITERS"]


OF_RECIPE: dict[str, Expected] = {
    "task.kind": lambda recipe: "panoptic" if _is_panoptic(recipe) else "semantic",
    "task.model.num_classes": _key(f"{_H}NUM_CLASSES"),
    "task.model.num_queries": _key(f"{_M}NUM_OBJECT_QUERIES"),
    "task.model.mask_dim": _key(f"{_H}MASK_DIM"),
    f"{_F}type": lambda recipe: "transformer_fpn" if _has_encoder(recipe) else "fpn",
    f"{_F}hidden_dim": _key(f"{_H}CONVS_DIM"),
    f"{_F}encoder_layers": _encoder(f"{_H}TRANSFORMER_ENC_LAYERS"),
    f"{_F}num_heads": _encoder(f"{_M}NHEADS"),
    f"{_F}feedforward_dim": _encoder(f"{_M}DIM_FEEDFORWARD"),
    f"{_F}dropout": _encoder(f"{_M}DROPOUT"),
    f"{_F}pre_norm": _encoder(f"{_M}PRE_NORM"),
    f"{_D}type": lambda recipe: {"MaskFormerHead": "transformer"}[recipe[f"{_H}NAME"]],
    f"{_D}hidden_dim": _key(f"{_M}HIDDEN_DIM"),
    f"{_D}num_layers": _key(f"{_M}DEC_LAYERS"),
    f"{_D}encoder_layers": _key(f"{_M}ENC_LAYERS"),
    f"{_D}num_heads": _key(f"{_M}NHEADS"),
    f"{_D}feedforward_dim": _key(f"{_M}DIM_FEEDFORWARD"),
    f"{_D}dropout": _key(f"{_M}DROPOUT"),
    f"{_D}pre_norm": _key(f"{_M}PRE_NORM"),
    f"{_D}deep_supervision": _key(f"{_M}DEEP_SUPERVISION"),
    f"{_D}enforce_input_projection": _has_projection,
    f"{_D}input_feature": _key(f"{_M}TRANSFORMER_IN_FEATURE"),
    f"{_B}type": lambda recipe: "swin" if _is_swin(recipe) else "resnet",
    f"{_B}depth": _resnet(_key("MODEL.RESNETS.DEPTH")),
    f"{_B}stem_type": _deeplab(_key("MODEL.RESNETS.STEM_TYPE"), "basic"),
    f"{_B}stem_channels": _resnet(_key("MODEL.RESNETS.STEM_OUT_CHANNELS")),
    f"{_B}res2_channels": _resnet(_key("MODEL.RESNETS.RES2_OUT_CHANNELS")),
    f"{_B}bottleneck_channels": _resnet(
        lambda recipe: recipe["MODEL.RESNETS.NUM_GROUPS"] * recipe["MODEL.RESNETS.WIDTH_PER_GROUP"]
    ),
    f"{_B}res5_multi_grid": _deeplab(_key("MODEL.RESNETS.RES5_MULTI_GRID"), [1, 1, 1]),
    f"{_B}norm": _resnet(lambda recipe: {"FrozenBN": "frozen_batch"}[recipe["MODEL.RESNETS.NORM"]]),
    f"{_B}embed_dim": _swin("EMBED_DIM"),
    f"{_B}depths": _swin("DEPTHS"),
    f"{_B}num_heads": _swin("NUM_HEADS"),
    f"{_B}window_size": _swin("WINDOW_SIZE"),
    f"{_B}mlp_ratio": _swin("MLP_RATIO"),
    f"{_B}drop_path_rate": _swin("DROP_PATH_RATE"),
    "task.losses.class_weight": _key("loss weight of the classes"),
    "task.losses.mask_weight": _key(f"{_M}MASK_WEIGHT"),
    "task.losses.dice_weight": _key(f"{_M}DICE_WEIGHT"),
    "task.losses.background_cls_weight": _key(f"{_M}NO_OBJECT_WEIGHT"),
    "task.losses.class_cost": _key("matching cost of the classes"),
    "task.losses.pixel_loss": lambda recipe: {"every pixel, focal": "focal"}[recipe["mask loss"]],
    "task.losses.mask_loss": lambda recipe: {"every pixel, focal": "exact"}[recipe["mask loss"]],
    "task.train_data.global_batch_size": _key("SOLVER.IMS_PER_BATCH"),
    f"{_P}augmentation": lambda recipe: _AUGMENTATIONS[recipe["INPUT.DATASET_MAPPER_NAME"]],
    f"{_P}output_size": _mapper_padding,
    f"{_P}size_divisibility": _key(f"{_M}SIZE_DIVISIBILITY"),
    f"{_P}min_sizes_px": _key("INPUT.MIN_SIZE_TRAIN"),
    f"{_P}max_size_px": _key("INPUT.MAX_SIZE_TRAIN"),
    f"{_P}crop_size_px": _key("INPUT.CROP.SIZE"),
    f"{_P}crop_min_sizes_px": _edges_before_crop,
    f"{_P}keep_crowd": _of_mapper("crowd segments are targets"),
    f"{_P}keep_emptied_targets": _of_mapper("emptied segments are targets"),
    "task.inference.object_mask_threshold": _threshold("OBJECT_MASK_THRESHOLD"),
    "task.inference.overlap_threshold": _threshold("OVERLAP_THRESHOLD"),
    "task.inference.shortest_edge_px": _key("INPUT.MIN_SIZE_TEST"),
    "task.inference.max_size_px": _key("INPUT.MAX_SIZE_TEST"),
    "task.inference.size_divisibility": _key(f"{_M}SIZE_DIVISIBILITY"),
    "task.inference.semantic_fusion_size": _fusion_size,
    "task.inference.augmented_edges_px": lambda recipe: (
        recipe["TEST.AUG.MIN_SIZES"] if recipe["TEST.AUG.ENABLED"] else []
    ),
    "task.inference.augmented_max_size_px": _key("TEST.AUG.MAX_SIZE"),
    "task.inference.augmented_flip": _key("TEST.AUG.FLIP"),
    "task.freeze_backbone": lambda recipe: {0: False}[recipe["MODEL.BACKBONE.FREEZE_AT"]],
    "trainer.train_steps": _key("SOLVER.MAX_ITER"),
    "trainer.checkpoint_interval": _key("SOLVER.CHECKPOINT_PERIOD"),
    f"{_O}learning_rate": _key("SOLVER.BASE_LR"),
    f"{_O}backbone_multiplier": _key("SOLVER.BACKBONE_MULTIPLIER"),
    f"{_O}weight_decay": _key("SOLVER.WEIGHT_DECAY"),
    f"{_O}clip_norm": _key("SOLVER.CLIP_GRADIENTS.CLIP_VALUE"),
    f"{_O}schedule": lambda recipe: "step" if _is_stepped(recipe) else "poly",
    f"{_O}drop_steps": lambda recipe: recipe["SOLVER.STEPS"] if _is_stepped(recipe) else NotRead("poly has no drops"),
    f"{_O}drop_factor": lambda recipe: recipe["SOLVER.GAMMA"] if _is_stepped(recipe) else NotRead("poly has no drops"),
    f"{_O}power": lambda recipe: NotRead("of poly") if _is_stepped(recipe) else recipe["SOLVER.POLY_LR_POWER"],
    f"{_O}warmup_steps": _warmup_steps,
    f"{_O}warmup_factor": _key("SOLVER.WARMUP_FACTOR"),
}


def fields_of(config: ExperimentConfig) -> dict[str, Any]:
    """Every field by its dotted name; "auto" of the decoder's input feature resolved."""
    fields = _flat(to_dict(config), "")
    if fields[f"{_D}input_feature"] == "auto":
        has_encoder = fields[f"{_F}type"] == "transformer_fpn"
        fields[f"{_D}input_feature"] = "transformer_encoder" if has_encoder else "res5"
    return fields


def _flat(values: dict[str, Any], path: str) -> dict[str, Any]:
    fields = {}
    for name, value in values.items():
        fields |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return fields
