"""Published checkpoints as they lie on disk -> arrays under official names, and what their settings say of the model.

Formats are told apart by the file: `.pkl` (official MaskFormer, detectron2), `.pth`, `.pt` and `.bin` (PyTorch),
`.safetensors`, `.npz`; a folder holds a Hugging Face model (`config.json`) or a golden one (`golden.json`). Nothing in
a file is executed.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.pretrained import mask2former_architecture
from maskformer_model.pretrained.foreign_names import official_names
from maskformer_model.pretrained.labels import Labels, read_labels
from maskformer_model.pretrained.restricted_pickle import read_pickle
from maskformer_model.pretrained.torch_files import read_torch_file

_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_MASK2FORMER_PIXEL_DECODER = "MSDeformAttnPixelDecoder"
_GOLDEN_PIXEL_DECODERS = {"BasePixelDecoder": "fpn", "TransformerEncoderPixelDecoder": "transformer_fpn"}
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
        return any(name.startswith("sem_seg_head.") for name in self.arrays)


def read_checkpoint(source: str) -> Checkpoint:
    """Reads a published checkpoint.

    Args:
        source: A file or a folder; see the module.

    Raises:
        FileNotFoundError: if there is no such file, or the folder lacks its weights.
        UnsafePickleError: if the file asks for anything else than arrays.
        ValueError: if the format or the names are not known.
    """
    path = pathlib.Path(source)
    if (path / "golden.json").is_file():
        golden = json.loads((path / "golden.json").read_text(encoding="utf-8"))
        return Checkpoint(official_names(_read_npz(path / "weights.npz")), golden_settings(golden))
    if (path / "config.json").is_file():
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        arrays = official_names(_read_hugging_face_weights(path))
        return Checkpoint(arrays, hugging_face_settings(config), read_labels(path))
    if path.is_dir():
        raise FileNotFoundError(f"A checkpoint folder must hold config.json or golden.json. Received: {source}")
    return Checkpoint(official_names(_read_file(path)))


def _read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".pkl":
        return _state_of(read_pickle(str(path)), path)
    if path.suffix in _TORCH_SUFFIXES:
        return _state_of(read_torch_file(str(path)), path)
    raise ValueError(f"A checkpoint must end in .pkl, .npz, .safetensors, .pth, .pt or .bin. Received: {path}")


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Reading {path.name} needs: pip install safetensors", name="safetensors") from error
    return load_file(path)


def _read_hugging_face_weights(folder: pathlib.Path) -> dict[str, np.ndarray]:
    shards = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not shards:
        raise FileNotFoundError(f"A Hugging Face folder must hold model.safetensors. Received: {folder}")
    arrays: dict[str, np.ndarray] = {}
    for shard in shards:
        arrays.update(_read_file(shard))
    return arrays


def _state_of(content: Any, path: pathlib.Path) -> dict[str, np.ndarray]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(array, np.ndarray) for array in content.values()):
        raise ValueError(f"A checkpoint must map names to arrays, on its own or under `model`. Received: {path}")
    return {str(name): array for name, array in content.items()}


def hugging_face_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a Hugging Face `config.json` says of the model beyond the arrays.

    Raises:
        ValueError: if it asks for something that the official MaskFormer does not have.
    """
    backbone, decoder = config.get("backbone_config", {}), config.get("decoder_config", {})
    for holder, key, only in (
        (decoder, "activation_function", "relu"),
        (backbone, "use_absolute_embeddings", False),
        (backbone, "qkv_bias", True),
        (backbone, "patch_size", 4),
        (backbone, "downsample_in_first_stage", False),
        (backbone, "downsample_in_bottleneck", False),
    ):
        if holder.get(key, only) != only:
            raise ValueError(f"config.json: `{key}` must be {only!r}. Received: {holder[key]!r}")
    settings: dict[str, Any] = {"backbone": {}}
    if config.get("model_type") == "mask2former":
        settings |= mask2former_architecture.hugging_face_settings(config)
    elif config.get("model_type", "maskformer") != "maskformer":
        raise ValueError(
            f"config.json: `model_type` must be 'maskformer' or 'mask2former'. Received: {config['model_type']!r}"
        )
    for name, holder, key in (("num_heads", decoder, "decoder_attention_heads"), ("dropout", decoder, "dropout")):
        if key in holder:
            settings[name] = holder[key]
    if "drop_path_rate" in backbone:
        settings["backbone"]["drop_path_rate"] = backbone["drop_path_rate"]
    return settings


def golden_settings(golden: Mapping[str, Any]) -> dict[str, Any]:
    """What a `golden.json` (the official configuration's names) says of the model beyond the arrays.

    Raises:
        ValueError: if it asks for something that this model does not have.
    """
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
