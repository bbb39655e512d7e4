"""Reads label PNGs whose numbers or colours are the classes of a list (layout `label_png`) into segments.

A class is one segment of a photo, unless it is a thing: then each connected region is one (pixels that touch at a
corner are connected), or each object of a second PNG, as VOC's `SegmentationObject` has them.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.class_names import ClassName

_IGNORED_NUMBER = 255  # Void by custom wherever the list does not name it.
_INDEX_MODES = ("L", "P", "I;16", "I", "1")
_COLOR_MODES = ("RGB", "RGBA")
_TOUCHING = np.ones((3, 3), int)


@dataclasses.dataclass(frozen=True)
class ClassPngs:
    """The PNGs of one photo.

    Attributes:
        labels: the label PNG's file.
        objects: the file of the PNG that tells objects apart; None without one.
    """

    labels: bytes
    objects: bytes | None = None


def read_class_png(
    pngs: ClassPngs, classes: tuple[ClassName, ...], things: set[int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Decodes the label PNG of a photo.

    Args:
        pngs: its files.
        classes: what numbers and colours mean.
        things: Numbers of the classes whose objects are separated.

    Returns:
        `[height, width]` int32 segment ids, 0 = void; and what COCO's `segments_info` says of them.

    Raises:
        BadRecordError: if a PNG is damaged or of another form, or a number or colour has no meaning.
    """
    numbers = _class_numbers(_decoded(pngs.labels), classes)
    regions = None if pngs.objects is None else _object_regions(pngs.objects, numbers.shape)
    ids = np.zeros(numbers.shape, np.int32)
    entries: list[dict[str, Any]] = []
    for entry in classes:
        mask = numbers == entry.number
        if entry.is_void or not mask.any():
            continue
        parts = _parts(mask, regions) if entry.number in things else [mask]
        for part in parts:
            ids[part] = len(entries) + 1
            entries.append({"id": len(entries) + 1, "category_id": entry.number, "iscrowd": 0})
    return ids, entries


def _parts(mask: np.ndarray, regions: np.ndarray | None) -> list[np.ndarray]:
    """Returns the objects of one class; pixels that no object PNG names are split into connected regions."""
    from scipy import ndimage

    if regions is None:
        connected, count = ndimage.label(mask, _TOUCHING)
        return [connected == number for number in range(1, count + 1)]
    named = [number for number in np.unique(regions[mask]).tolist() if number]
    parts = [mask & (regions == number) for number in named]
    rest = mask & (regions == 0)
    return parts + (_parts(rest, None) if rest.any() else [])


def _decoded(png: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(png), formats=("PNG",))
        image.load()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadRecordError("damaged_label_png", str(error)) from error
    if image.mode not in (*_INDEX_MODES, *_COLOR_MODES):
        rule = "a label PNG must be grayscale, palette or RGB"
        raise BadRecordError("unsuitable_label_png", f"{rule}. Received: {image.mode}")
    return image


def _class_numbers(image: Image.Image, classes: tuple[ClassName, ...]) -> np.ndarray:
    """Returns `[height, width]` int32 numbers of the list; -1 where it is void by custom."""
    if image.mode in _COLOR_MODES:
        return _numbers_of_colors(np.asarray(image.convert("RGB")), classes)
    numbers = np.asarray(image).astype(np.int32)
    known = {entry.number for entry in classes} | {_IGNORED_NUMBER}
    if unknown := sorted(set(np.unique(numbers).tolist()) - known):
        if image.mode == "P" and any(entry.color for entry in classes):
            # A palette that is not in the order of the list: its colours say what is meant.
            return _numbers_of_colors(np.asarray(image.convert("RGB")), classes)
        raise BadRecordError("unknown_label", f"the list of class names has no number {unknown[:5]}")
    return numbers


def _numbers_of_colors(rgb: np.ndarray, classes: tuple[ClassName, ...]) -> np.ndarray:
    packed = (rgb.astype(np.int32) * (65536, 256, 1)).sum(axis=2)
    number_of = {
        65536 * entry.color[0] + 256 * entry.color[1] + entry.color[2]: entry.number for entry in classes if entry.color
    }
    if not number_of:
        rule = "a label PNG in colour needs a list of class names with colours, such as labelmap.txt"
        raise BadRecordError("unsuitable_label_png", rule)
    colors, places = np.unique(packed, return_inverse=True)
    # VOC paints outlines in (224, 224, 192), the colour of 255 in its palette; black is void where nothing claims it.
    by_custom = {0xE0E0C0: -1, 0: -1}
    unknown = [color for color in colors.tolist() if color not in number_of and color not in by_custom]
    if unknown:
        named = [tuple(int(color).to_bytes(3, "big")) for color in unknown[:3]]
        raise BadRecordError("unknown_label", f"the list of class names has no colour {named}")
    table = np.array([number_of.get(color, by_custom.get(color, -1)) for color in colors.tolist()], np.int32)
    return table[places].reshape(packed.shape)


def _object_regions(png: bytes, size: tuple[int, ...]) -> np.ndarray:
    """Returns `[height, width]` int32, a number for each object, 0 for none and for outlines."""
    image = _decoded(png)
    if image.mode in _COLOR_MODES:
        rgb = np.asarray(image.convert("RGB")).astype(np.int32)
        regions = (rgb * (65536, 256, 1)).sum(axis=2)
        regions[regions == 0xE0E0C0] = 0
    else:
        regions = np.asarray(image).astype(np.int32)
        regions[regions == _IGNORED_NUMBER] = 0
    if regions.shape != size:
        raise BadRecordError("size_mismatch", f"the object PNG has {regions.shape} px, the label PNG {size} px")
    return regions
