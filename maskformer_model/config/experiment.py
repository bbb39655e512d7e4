"""A whole experiment, to and from plain dicts, and `a.b=c` overrides of it."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from maskformer_model.config.flat_names import in_parts, without_settings_of_other_kinds
from maskformer_model.config.model import ModelConfig
from maskformer_model.config.rules import require
from maskformer_model.config.task import TaskConfig
from maskformer_model.config.trainer import RuntimeConfig, TrainerConfig
from maskformer_model.config.variant import Variant, as_kind

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

# Settings that were removed, with the reason. Models and training runs of earlier versions still name them in their
# `experiment.json`, so `from_dict` leaves them out; a user who sets one gets an error that says so.
RETIRED_SETTINGS = {
    "task.inference.convolution_method": (
        "all convolutions are computed directly, because the other method saved only 4 to 8 % of the latency"
    ),
}


LARGEST_INTEGER = 2**31 - 1
_CLOSING_BRACKETS = {"[": "]", "(": ")", "{": "}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """All settings of one experiment."""

    runtime: RuntimeConfig = RuntimeConfig()
    task: TaskConfig = TaskConfig()
    trainer: TrainerConfig = TrainerConfig()


def to_dict(config: Any) -> dict[str, Any]:
    """Returns the config as nested plain dicts; tuples become lists, so that json and yaml give the same back."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def differing_settings(config: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Returns the settings in which two configs of one class differ: dotted name -> value here, value there.

    A setting that only one of them has, because a part is of another type, is None in the other.
    """
    ours, theirs = _flat(to_dict(config)), _flat(to_dict(other))
    names = [*ours, *(name for name in theirs if name not in ours)]
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{path}{name}.") if isinstance(value, Mapping) else {f"{path}{name}": value}
    return found


def from_dict(values: Mapping[str, Any]) -> ExperimentConfig:
    """Returns the config that `to_dict` wrote, also in an earlier version; absent keys take the defaults.

    `RETIRED_SETTINGS` are left out, so that models and training runs of earlier versions can still be read.

    Raises:
        KeyError: if a key is unknown, naming it and the known ones.
        ValueError: if a value is of the wrong type or breaks a rule.
    """
    default = ExperimentConfig()
    values = _without_retired_settings(values)
    task = values.get("task", {})
    if isinstance(task, Mapping) and isinstance(task.get("model"), Mapping):
        model = without_settings_of_other_kinds(task["model"], default.task.model)
        values = {**values, "task": {**task, "model": model}}
    return merge(default, values)


def merge(config: Any, values: Mapping[str, Any], _path: str = "") -> Any:
    """Returns a copy of `config` with the nested `values` in place of its own.

    Raises:
        KeyError: if a key is unknown, naming it and the known ones, or was removed, with the reason.
        ValueError: if a value is of the wrong type or breaks a rule.
    """
    if isinstance(config, ModelConfig):
        values = in_parts(config, values)
    if isinstance(config, Variant) and "type" in values:
        config = as_kind(config, str(values["type"]), _path)
    known = {field.name: field for field in dataclasses.fields(config)}
    hints = typing.get_type_hints(type(config))
    changes = {}
    for key, value in values.items():
        path = f"{_path}{key}"
        if path in RETIRED_SETTINGS:
            raise KeyError(f"The setting `{path}` was removed: {RETIRED_SETTINGS[path]}. Leave it out.")
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
        KeyError: if a setting is unknown or was removed.
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


def _without_retired_settings(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    return {
        key: _without_retired_settings(value, f"{path}{key}.") if isinstance(value, Mapping) else value
        for key, value in values.items()
        if f"{path}{key}" not in RETIRED_SETTINGS
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _convert(value: Any, hint: Any, path: str) -> Any:
    converted = _as_type(value, hint, path)
    if isinstance(converted, float):
        require(math.isfinite(converted), f"`{path}` must be a finite number.", converted)
    elif isinstance(converted, int):
        # A number that TensorFlow's int32 cannot hold is a slip of the finger.
        require(abs(converted) <= LARGEST_INTEGER, f"`{path}` must be a number within 2^31.", converted)
    return converted


def _as_type(value: Any, hint: Any, path: str) -> Any:
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
    """Returns the settings of an override, whose lists keep their commas.

    Raises:
        ValueError: if a bracket has no partner: settings behind it would get lost.
    """
    pieces, open_brackets, start = [], [], 0
    for position, character in enumerate(text + ","):
        if character in _CLOSING_BRACKETS:
            open_brackets.append(_CLOSING_BRACKETS[character])
        elif character in _CLOSING_BRACKETS.values() and (not open_brackets or open_brackets.pop() != character):
            raise ValueError(
                f"A bracket in an override must have its partner. Received {character!r} without: {text!r}"
            )
        if character == "," and not open_brackets:
            pieces.append(text[start:position])
            start = position + 1
    if open_brackets:
        raise ValueError(f"A bracket in an override must have its partner. Missing {open_brackets[-1]!r} in: {text!r}")
    return [piece for piece in pieces if piece.strip()]
