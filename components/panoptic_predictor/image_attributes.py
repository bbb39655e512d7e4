"""Reads the attributes of images from their Examples (short single values) and makes slices from them.

A slice is named after the feature and a value, or a range of values: an attribute with many numbers is cut into thirds
of the images, so that no slice is empty for want of a good guess.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

MAX_TEXT_BYTES = 64
FOLDER_KEY = "image/folder"  # Derived from the file's name, where that has a folder in it.
MAX_VALUES = 8  # An attribute with more numbers than this is cut into thirds; one with more texts is refused.

Attributes = Mapping[str, str | int | float]


def attributes_of(serialized: bytes) -> dict[str, str | int | float]:
    """Returns every feature of an Example with one finite number or short text, by its key, and `FOLDER_KEY`."""
    attributes: dict[str, str | int | float] = {}
    for key, feature in tf.train.Example.FromString(serialized).features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind") or "int64_list").value
        if len(values) != 1:
            continue
        [value] = values
        if isinstance(value, bytes):
            try:
                value = value.decode() if len(value) <= MAX_TEXT_BYTES else None
            except UnicodeDecodeError:
                continue  # No text; a short picture or mask, say.
        elif not math.isfinite(value):
            continue
        if value is not None:
            attributes[key] = value
    if folder := posixpath.dirname(str(attributes.get("image/filename", ""))):
        attributes[FOLDER_KEY] = folder
    return dict(sorted(attributes.items()))


def slice_images(images: Sequence[Attributes], feature: str) -> list[str]:
    """Returns the slice of every image by one attribute.

    Args:
        images: the attributes of every image.
        feature: key of the Example's feature, such as `image/statistics/brightness`.

    Returns:
        A label per image: `name=value`, or `name=low..high` where a number takes more than `MAX_VALUES` values; images
        without the attribute are `name=absent`. `name` is the last part of the key.

    Raises:
        ValueError: if no image has the attribute, or it is a text that takes more than `MAX_VALUES` values.
    """
    values = [attributes.get(feature) for attributes in images]
    known = sorted({value for value in values if value is not None}, key=lambda v: (str(type(v)), v))
    if images and not known:
        available = sorted({key for attributes in images for key in attributes})
        raise ValueError(
            f"A slice must name a feature of the Examples with one value, of {available}. Received: {feature!r}"
        )
    name = feature.rsplit("/", 1)[-1]
    if len(known) <= MAX_VALUES:
        return [f"{name}={'absent' if value is None else _text(value)}" for value in values]
    if any(isinstance(value, str) for value in known):
        raise ValueError(
            f"A text to slice by must take at most {MAX_VALUES} values. Received {len(known)} of {feature!r}"
        )
    numbers = np.array([float(value) for value in values if value is not None])
    edges = np.quantile(numbers, [0, 1 / 3, 2 / 3, 1])
    ranges = [f"{name}={_text(low)}..{_text(high)}" for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return [
        f"{name}=absent" if value is None else ranges[int(np.searchsorted(edges[1:3], float(value), side="right"))]
        for value in values
    ]


def _text(value: str | int | float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
