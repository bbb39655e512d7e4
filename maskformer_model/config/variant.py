"""Defines groups of settings with several kinds: a backbone is a ResNet or a Swin, and `type` says which.

A kind is a frozen dataclass below its group's class, with a default for `type` that no other kind has. A new kind
needs nothing here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from maskformer_model.config.rules import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """The base of every group of settings that comes in kinds.

    Attributes:
        type: The kind; a class has only one.

    Raises:
        ValueError: if `type` is another kind's.
    """

    type: str = ""

    def __post_init__(self):
        require(self.type == self.__class__.type, f"`type` of a {self.__class__.__name__} is fixed.", self.type)


def kinds_of(value: Variant) -> dict[str, type[Variant]]:
    """Returns the kinds of the group that a value belongs to, by their `type`."""
    group = next(parent for parent in value.__class__.__mro__ if Variant in parent.__bases__)
    kinds: Sequence[type[Variant]] = group.__subclasses__()
    return {kind.type: kind for kind in kinds}


def as_kind(value: Variant, kind_type: str, path: str) -> Variant:
    """Returns a value as another kind: settings of the same name are kept, all others take their defaults.

    Args:
        value: A value of the group.
        kind_type: The `type` of the wanted kind.
        path: Where the group stands in the config, with a point at its end; for the message.

    Raises:
        ValueError: if there is no such kind.
    """
    kinds: dict[str, Any] = {**kinds_of(value)}
    require(kind_type in kinds, f"`{path}type` must be one of {tuple(sorted(kinds))}.", kind_type)
    kind = kinds[kind_type]
    if isinstance(value, kind):
        return value
    shared = {field.name for field in dataclasses.fields(kind)} - {"type"}
    return kind(**{name: getattr(value, name) for name in shared if hasattr(value, name)})
