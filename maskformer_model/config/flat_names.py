"""tf-maskformer's flat names of a network's settings, and those of this project's earlier versions.

`task.model.num_heads=4` once meant both the decoder and the pixel decoder's encoder, and files of earlier versions
hold such names. They are understood wherever a config is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from maskformer_model.config.model import ModelConfig
from maskformer_model.config.variant import Variant, kinds_of

# A flat name -> the settings that it stands for.
PLACES = {
    "hidden_dim": ("decoder.hidden_dim",),
    "num_heads": ("decoder.num_heads", "pixel_decoder.num_heads"),
    "feedforward_dim": ("decoder.feedforward_dim", "pixel_decoder.feedforward_dim"),
    "dropout": ("decoder.dropout", "pixel_decoder.dropout"),
    "pre_norm": ("decoder.pre_norm", "pixel_decoder.pre_norm"),
    "which_pixel_decoder": ("pixel_decoder.type",),
    "pixel_decoder_dim": ("pixel_decoder.hidden_dim",),
    "fpn_encoder_layers": ("pixel_decoder.encoder_layers",),
    "num_decoder_layers": ("decoder.num_layers",),
    "detr_encoder_layers": ("decoder.encoder_layers",),
    "deep_supervision": ("decoder.deep_supervision",),
    "enforce_input_projection": ("decoder.enforce_input_projection",),
    "transformer_in_feature": ("decoder.input_feature",),
}
_OF_BOTH_PARTS = [name for name, places in PLACES.items() if len(places) > 1]


def in_parts(model: ModelConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for `ModelConfig` with every flat name in its place.

    Args:
        model: The value that is changed; it says which settings the parts have.
        values: Nested values, flat names among them. What is named in both ways keeps the nested value.
    """
    flat = {name: value for name, value in values.items() if name in PLACES}
    nested = {name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items() if name not in PLACES}
    kind = flat.get("which_pixel_decoder", model.pixel_decoder.type)
    if kind != model.pixel_decoder.type:
        # A pixel decoder that gets an encoder takes the decoder's settings, as when both had the same name.
        flat = {name: getattr(model.decoder, name) for name in _OF_BOTH_PARTS if hasattr(model.decoder, name)} | flat
    kinds = {
        "pixel_decoder": _kind(model.pixel_decoder, {"type": kind} | _mapping(nested, "pixel_decoder")),
        "decoder": _kind(model.decoder, _mapping(nested, "decoder")),
    }
    for name, value in flat.items():
        for place in PLACES[name]:
            part, _, setting = place.partition(".")
            if setting in {field.name for field in dataclasses.fields(kinds[part])}:
                nested.setdefault(part, {}).setdefault(setting, value)
    return nested


def _mapping(nested: Mapping[str, Any], part: str) -> dict[str, Any]:
    return nested[part] if isinstance(nested.get(part), dict) else {}


def _kind(value: Variant, settings: Mapping[str, Any]) -> type[Variant]:
    """Returns the kind that a part will have; a kind that is not known is refused where the part is merged."""
    return kinds_of(value).get(settings.get("type", value.type), type(value))


def without_settings_of_other_kinds(model_values: Mapping[str, Any], model: ModelConfig) -> Mapping[str, Any]:
    """Returns the `task.model` of a file, of which an earlier version wrote every backbone's settings side by side."""
    backbone = model_values.get("backbone")
    if "which_pixel_decoder" not in model_values or not isinstance(backbone, Mapping):
        return model_values
    kinds = kinds_of(model.backbone)
    kind = kinds.get(backbone.get("type", model.backbone.type), type(model.backbone))
    others = {field.name for other in kinds.values() for field in dataclasses.fields(other)}
    others -= {field.name for field in dataclasses.fields(kind)}
    return {**model_values, "backbone": {name: v for name, v in backbone.items() if name not in others}}
