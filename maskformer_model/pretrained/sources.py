"""Published checkpoints as they lie on disk -> arrays under official names, and what their settings say of the model.

Formats are told apart by the file: `.pkl` (official MaskFormer, detectron2), `.pth`, `.pt`, `.bin`, `.ckpt` (PyTorch,
Lightning), `.safetensors`, `.npz`; a folder holds a Hugging Face model (`config.json`) or a golden one (`golden.json`).
Nothing in a file is executed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maskformer_model.pretrained import mask2former_architecture
from maskformer_model.pretrained.eomt import architecture as eomt_architecture
from maskformer_model.pretrained.foreign_names import official_names
from maskformer_model.pretrained.hugging_face_config import hugging_face_settings
from maskformer_model.pretrained.labels import Labels, read_labels
from maskformer_model.pretrained.readers.array_files import read_npz, read_safetensors
from maskformer_model.pretrained.readers.pickle_instructions import UnsafePickleError
from maskformer_model.pretrained.readers.restricted_pickle import read_pickle
from maskformer_model.pretrained.readers.torch_files import read_torch_file
from maskformer_model.pretrained.readers.whole_file import require_whole_file

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
_MASK2FORMER_PIXEL_DECODER = "MSDeformAttnPixelDecoder"
_GOLDEN_PIXEL_DECODERS = {"BasePixelDecoder": "fpn", "TransformerEncoderPixelDecoder": "transformer_fpn"}
_HUGGING_FACE_BACKBONE = "convnext"  # Its own folders hold an ImageNet classifier and no settings of ours.
_STATE_KEYS = ("model", "state_dict")  # Under which training scripts keep the weights.


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in the official names.

    Attributes:
        arrays: Official name -> array.
        settings: Nested values of `ModelConfig` that arrays cannot show, as far as the source states them.
        labels: What the source says of its classes.
    """

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: Labels = Labels()

    @property
    def is_whole_model(self) -> bool:
        """Returns whether there is more than a backbone."""
        return eomt_architecture.is_eomt(self.arrays) or any(name.startswith("sem_seg_head.") for name in self.arrays)

    @property
    def lacks_heads(self) -> bool:
        """Returns whether it is a whole model but for its heads, as Hugging Face's base models are."""
        heads = ("sem_seg_head.predictor.class_embed.weight", "class_head.weight")
        return self.is_whole_model and not any(name in self.arrays for name in heads)


def read_checkpoint(source: str) -> Checkpoint:
    """Reads a published checkpoint.

    Args:
        source: A file or a folder; see the module.

    Raises:
        FileNotFoundError: if there is no such file, or the folder lacks its weights or one of their parts.
        UnsafePickleError: if the file asks for anything else than arrays.
        ValueError: if the format, the names or a setting are not known, or the file is damaged.
    """
    path = pathlib.Path(source)
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint at {source}. Check the path.")
    if (path / "golden.json").is_file():
        golden = _read_json(path / "golden.json")
        return Checkpoint(official_names(_read_file(path / "weights.npz")), golden_settings(golden))
    if (path / "config.json").is_file():
        config = _read_json(path / "config.json")
        if config.get("model_type") == _HUGGING_FACE_BACKBONE:
            return Checkpoint(official_names(_read_hugging_face_weights(path)))
        settings = hugging_face_settings(config)
        return Checkpoint(official_names(_read_hugging_face_weights(path)), settings, read_labels(path))
    if path.is_dir():
        raise FileNotFoundError(f"A checkpoint folder must hold config.json or golden.json. Received: {source}")
    return Checkpoint(official_names(_read_file(path)))


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    readers: dict[str, Callable[[str], Any]] = {".npz": read_npz, ".safetensors": read_safetensors, ".pkl": read_pickle}
    readers |= dict.fromkeys(_TORCH_SUFFIXES, read_torch_file)
    if path.suffix not in readers:
        raise ValueError(f"A checkpoint must end in one of {', '.join(readers)}. Received: {path}")
    require_whole_file(path)
    try:
        return _state_of(readers[path.suffix](str(path)))
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    require_whole_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}. Download or copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings. Received a {type(content).__name__}")
    return content


def _read_hugging_face_weights(folder: pathlib.Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for shard in _shards(folder):
        arrays.update(_read_file(shard))
    return arrays


def _shards(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of a Hugging Face model: those that its index names, or the only one."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = _read_json(index).get("weight_map")
            if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
                raise ValueError(f"{index} must say under `weight_map` which file holds which array.")
            names = sorted(set(parts.values()))
            if strange := [part for part in names if pathlib.PurePath(part).name != part]:
                raise ValueError(f"{index} must name files of its own folder. Received: {strange[0]!r}")
            if missing := [part for part in names if not (folder / part).is_file()]:
                raise FileNotFoundError(
                    f"{folder} lacks {', '.join(missing)} of the {len(names)} files that {index.name} names. "
                    "Download the missing ones"
                )
            return [folder / part for part in names]
        if (folder / name).is_file():
            return [folder / name]
    raise FileNotFoundError(f"A Hugging Face folder must hold model.safetensors. Received: {folder}")


def _state_of(content: Any) -> dict[str, np.ndarray]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(array, np.ndarray) for array in content.values()):
        raise ValueError("A checkpoint must map names to arrays, on its own, under `model` or under `state_dict`.")
    return {str(name): array for name, array in content.items()}


def golden_settings(golden: Mapping[str, Any]) -> dict[str, Any]:
    """What a `golden.json` (the official configuration's names) says of the model beyond the arrays.

    Raises:
        ValueError: if it asks for something that this model does not have.
    """
    if "network" in golden:
        return eomt_architecture.golden_settings(golden)
    head, options = golden["sem_seg_head"], golden["mask_former"]
    resnet, swin = golden.get("resnet") or {}, golden.get("swin") or {}
    for holder, key, only in (
        (head, "NORM", "GN"),
        (resnet, "STRIDE_IN_1X1", False),
        (resnet, "NORM", "FrozenBN"),
        (resnet, "NUM_GROUPS", 1),
        (resnet, "RES4_DILATION", 1),
        (resnet, "RES5_DILATION", 1),
        (swin, "APE", False),
        (swin, "PATCH_NORM", True),
        (swin, "PATCH_SIZE", 4),
        (swin, "QKV_BIAS", True),
        (swin, "QK_SCALE", None),
        (swin, "DROP_RATE", 0.0),
        (swin, "ATTN_DROP_RATE", 0.0),
        (swin, "OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
    ):
        if holder.get(key, only) != only:
            raise ValueError(f"golden.json: `{key}` must be {only!r}. Received: {holder[key]!r}")
    backbone: dict[str, Any] = {}
    if resnet:
        # detectron2's own builder does not look at the multi-grid, whatever the file says.
        is_deeplab = golden["backbone"] == "build_resnet_deeplab_backbone"
        backbone["res5_multi_grid"] = resnet["RES5_MULTI_GRID"] if is_deeplab else [1, 1, 1]
    if swin:
        backbone["drop_path_rate"] = swin["DROP_PATH_RATE"]
    if head["PIXEL_DECODER_NAME"] == _MASK2FORMER_PIXEL_DECODER:
        return {"backbone": backbone, **mask2former_architecture.golden_settings(golden)}
    return {
        "backbone": backbone,
        "num_classes": head["NUM_CLASSES"],
        "num_queries": options["NUM_OBJECT_QUERIES"],
        "hidden_dim": options["HIDDEN_DIM"],
        "pixel_decoder_dim": head["CONVS_DIM"],
        "mask_dim": head["MASK_DIM"],
        "feedforward_dim": options["DIM_FEEDFORWARD"],
        "num_decoder_layers": options["DEC_LAYERS"],
        "detr_encoder_layers": options["ENC_LAYERS"],
        "which_pixel_decoder": _GOLDEN_PIXEL_DECODERS[head["PIXEL_DECODER_NAME"]],
        "num_heads": options["NHEADS"],
        "dropout": options["DROPOUT"],
        "pre_norm": options["PRE_NORM"],
        "deep_supervision": options["DEEP_SUPERVISION"],
        "transformer_in_feature": options["TRANSFORMER_IN_FEATURE"],
    }
