"""Golden folders that are made from formulas: configuration, batch and seed of each."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

NUM_STEPS = 3
_SETTINGS: dict[str, Any] = {
    "source": "tests.reference, PyTorch CPU float64, dropout 0",
    "computed_in": "float64",
    "backbone": "build_resnet_backbone",
    "resnet": {
        "STEM_TYPE": "basic",
        "STEM_OUT_CHANNELS": 8,
        "RES2_OUT_CHANNELS": 8,
        "WIDTH_PER_GROUP": 4,
        "RES5_MULTI_GRID": [1, 1, 1],
        "STRIDE_IN_1X1": False,
        "NORM": "FrozenBN",
    },
    "sem_seg_head": {
        "PIXEL_DECODER_NAME": "BasePixelDecoder",
        "CONVS_DIM": 32,
        "MASK_DIM": 8,
        "NORM": "GN",
        "TRANSFORMER_ENC_LAYERS": 0,
        "NUM_CLASSES": 5,
    },
    "mask_former": {
        "DEEP_SUPERVISION": True,
        "NO_OBJECT_WEIGHT": 0.1,
        "DICE_WEIGHT": 1.0,
        "MASK_WEIGHT": 20.0,
        "NHEADS": 2,
        "DROPOUT": 0.0,
        "DIM_FEEDFORWARD": 24,
        "ENC_LAYERS": 0,
        "DEC_LAYERS": 2,
        "PRE_NORM": False,
        "HIDDEN_DIM": 16,
        "NUM_OBJECT_QUERIES": 7,
        "TRANSFORMER_IN_FEATURE": "res5",
        "ENFORCE_INPUT_PROJ": False,
        "SIZE_DIVISIBILITY": 0,
    },
    "solver": {
        "optimizer": "AdamW, betas .9/.999, eps 1e-8",
        "base_lr": 1e-4,
        "weight_decay": 1e-4,
        "backbone_multiplier": 0.1,
        "clip_global_norm": 0.01,
    },
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One folder.

    Attributes:
        changes: What differs from the common settings, by section.
        stage_blocks: Blocks of the ResNet's stages.
        num_targets: Segments of each image.
        sizes_px: Height and width of each image.
        seed: Of weights and images.
        keeps_arrays: Keep gradients and final weights whole, not their norms alone.
    """

    changes: dict[str, Any]
    stage_blocks: tuple[int, ...]
    num_targets: tuple[int, ...]
    sizes_px: tuple[tuple[int, int], ...]
    seed: int
    keeps_arrays: bool = True

    @property
    def settings(self) -> dict[str, Any]:
        """The whole configuration, in the official names."""
        settings = copy.deepcopy(_SETTINGS)
        for name, value in self.changes.items():
            settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
        return settings

    def inputs(self) -> dict[str, np.ndarray]:
        """Draws the batch: coloured rectangles, each of which is a target, on a void of grey with lines of noise."""
        generator = np.random.default_rng([self.seed, 1])
        num_classes = self.settings["sem_seg_head"]["NUM_CLASSES"]
        arrays: dict[str, np.ndarray] = {}
        for index, (count, (height, width)) in enumerate(zip(self.num_targets, self.sizes_px, strict=True)):
            photo = np.full((height, width, 3), 110, np.uint8)
            photo[::7] = generator.integers(90, 140, (len(photo[::7]), width, 3), np.uint8)
            owner = np.zeros((height, width), np.int64)
            for target in range(1, count + 1):
                top, left = generator.integers(0, (height * 2 // 3, width * 2 // 3))
                tall, wide = generator.integers((height // 6, width // 6), (height // 2, width // 2))
                owner[top : top + tall, left : left + wide] = target
                photo[top : top + tall, left : left + wide] = generator.integers(0, 256, 3, np.uint8)
            arrays[f"image_{index}"] = photo
            arrays[f"masks_{index}"] = owner == np.arange(1, count + 1)[:, None, None]
            arrays[f"labels_{index}"] = generator.integers(0, num_classes, count)
        return arrays


RECIPES = {
    # R101c's stem and dilations, and a batch that is padded to multiples of 32; one image has no target.
    "formula_deeplab_multigrid": Recipe(
        changes={
            "backbone": "build_resnet_deeplab_backbone",
            "resnet": {"STEM_TYPE": "deeplab", "RES5_MULTI_GRID": [1, 2, 4]},
            "mask_former": {"SIZE_DIVISIBILITY": 32},
        },
        stage_blocks=(1, 1, 1, 3),
        num_targets=(4, 0),
        sizes_px=((121, 150), (90, 134)),
        seed=1,
    ),
    # Norms in front of the sub-layers, encoder layers in the pixel decoder and before the decoder, thirteen queries.
    "formula_pre_norm_encoders": Recipe(
        changes={
            "sem_seg_head": {
                "PIXEL_DECODER_NAME": "TransformerEncoderPixelDecoder",
                "TRANSFORMER_ENC_LAYERS": 1,
                "NUM_CLASSES": 9,
            },
            "mask_former": {
                "PRE_NORM": True,
                "ENC_LAYERS": 2,
                "DEC_LAYERS": 3,
                "NUM_OBJECT_QUERIES": 13,
                "TRANSFORMER_IN_FEATURE": "transformer_encoder",
            },
        },
        stage_blocks=(1, 1, 1, 1),
        num_targets=(3, 6),
        sizes_px=((96, 128), (128, 100)),
        seed=2,
    ),
    # More targets than queries in one image, none in the other; no deep supervision.
    "formula_few_queries": Recipe(
        changes={"mask_former": {"NUM_OBJECT_QUERIES": 3, "DEEP_SUPERVISION": False}},
        stage_blocks=(1, 1, 1, 1),
        num_targets=(5, 0),
        sizes_px=((80, 96), (96, 64)),
        seed=3,
        keeps_arrays=False,
    ),
    # Not a target in the whole batch: every query learns "no object".
    "formula_no_targets": Recipe(
        changes={"solver": {"clip_global_norm": 0.0}},
        stage_blocks=(1, 1, 1, 1),
        num_targets=(0, 0),
        sizes_px=((64, 96), (96, 64)),
        seed=4,
        keeps_arrays=False,
    ),
}

_DEEP: dict[str, Any] = {"stage_blocks": (3, 4, 23, 3), "sizes_px": ((480, 640), (448, 600))}
# As deep as ResNet-101, on large photos, whose sums are long: for `tests.parity.rounding`. Too large to commit.
LARGE_RECIPES = {
    "large_one_without_targets": Recipe(changes={}, num_targets=(12, 0), seed=5, **_DEEP),
    "large_no_targets": Recipe(changes={}, num_targets=(0, 0), seed=6, **_DEEP),
}
