"""The official recipes' values, resolved as detectron2 resolves a YAML file, each with the file that says so.

`official.json` holds the values: of the defaults of detectron2, its DeepLab project and MaskFormer, of every YAML file
of `configs/` but the per-pixel baselines, and of what stands in the code alone. A later file wins over an earlier one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from typing import Any

_DATA = pathlib.Path(__file__).parent / "official.json"

# Registered experiment -> the YAML file that it is.
FILES = {
    "maskformer_coco_panoptic": "coco-panoptic/maskformer_panoptic_R50_bs64_554k",
    "coco_panoptic_r101": "coco-panoptic/maskformer_panoptic_R101_bs64_554k",
    "coco_panoptic_swin_tiny": "coco-panoptic/swin/maskformer_panoptic_swin_tiny_bs64_554k",
    "coco_panoptic_swin_small": "coco-panoptic/swin/maskformer_panoptic_swin_small_bs64_554k",
    "coco_panoptic_swin_base": "coco-panoptic/swin/maskformer_panoptic_swin_base_IN21k_384_bs64_554k",
    "coco_panoptic_swin_large": "coco-panoptic/swin/maskformer_panoptic_swin_large_IN21k_384_bs64_554k",
    "ade20k_panoptic_r50": "ade20k-150-panoptic/maskformer_panoptic_R50_bs16_720k",
    "ade20k_panoptic_r101": "ade20k-150-panoptic/maskformer_panoptic_R101_bs16_720k",
    "ade20k_semantic_r50": "ade20k-150/maskformer_R50_bs16_160k",
    "ade20k_semantic_r101": "ade20k-150/maskformer_R101_bs16_160k",
    "ade20k_semantic_r101c": "ade20k-150/maskformer_R101c_bs16_160k",
    "ade20k_semantic_swin_tiny": "ade20k-150/swin/maskformer_swin_tiny_bs16_160k",
    "ade20k_semantic_swin_small": "ade20k-150/swin/maskformer_swin_small_bs16_160k",
    "ade20k_semantic_swin_base": "ade20k-150/swin/maskformer_swin_base_IN21k_384_bs16_160k_res640",
    "ade20k_semantic_swin_large": "ade20k-150/swin/maskformer_swin_large_IN21k_384_bs16_160k_res640",
    "ade20k_full_semantic_r50": "ade20k-full-847/maskformer_R50_bs16_200k",
    "ade20k_full_semantic_r101": "ade20k-full-847/maskformer_R101_bs16_200k",
    "ade20k_full_semantic_r101c": "ade20k-full-847/maskformer_R101c_bs16_200k",
    "cityscapes_semantic_r101": "cityscapes-19/maskformer_R101_bs16_90k",
    "cityscapes_semantic_r101c": "cityscapes-19/maskformer_R101c_bs16_90k",
    "coco_stuff_10k_semantic_r50": "coco-stuff-10k-171/maskformer_R50_bs32_60k",
    "coco_stuff_10k_semantic_r101": "coco-stuff-10k-171/maskformer_R101_bs32_60k",
    "coco_stuff_10k_semantic_r101c": "coco-stuff-10k-171/maskformer_R101c_bs32_60k",
    "vistas_semantic_r50": "mapillary-vistas-65/maskformer_R50_bs16_300k",
}


@dataclasses.dataclass(frozen=True)
class Said:
    """An official value and the file that says so."""

    value: Any
    source: str


class Recipe:
    """The values of one YAML file by key (`recipe["SOLVER.MAX_ITER"]`); those that are read are noted in `read`."""

    def __init__(self, said: dict[str, Said]):
        self.said = said
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return self.said[key].value

    def source(self, key: str) -> str:
        """The file that gave the value."""
        return self.said[key].source

    @property
    def keys(self) -> set[str]:
        """All keys."""
        return set(self.said)


@functools.cache
def data() -> dict[str, Any]:
    """The content of `official.json`."""
    return json.loads(_DATA.read_text(encoding="utf-8"))


def recipe_of(name: str) -> Recipe:
    """The official recipe of a registered experiment."""
    said = {}
    for source, values in data()["defaults"].items():
        said |= {key: Said(value, source) for key, value in values.items()}
    for source in _chain(f"configs/{FILES[name]}.yaml"):
        said |= {key: Said(value, source) for key, value in data()["files"][source]["values"].items()}
    said |= {key: Said(**fact) for key, fact in data()["code"].items()}
    return Recipe(said)


def _chain(source: str) -> list[str]:
    """The file and those that it stands on, the lowest first."""
    base = data()["files"][source].get("base")
    return [*(_chain(base) if base else []), source]
