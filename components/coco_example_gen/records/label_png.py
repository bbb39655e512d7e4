"""Reads label images: what their numbers mean in each data set, and the segments they draw.

| code           | a pixel's number                        | segments                                       |
|----------------|-----------------------------------------|------------------------------------------------|
| ade20k         | 0 void, n = the n-th category           | one per category: all count as stuff           |
| ade20k_full    | n = the category n, 65535 void; a TIFF  | the same                                       |
| coco_stuff_10k | n = the n-th category from 0, 255 void  | the same                                       |
| cityscapes     | label id, or 1000 * label id + instance | one per thing; things not told apart: a crowd  |
| vistas         | 256 * label + instance                  | one per instance where the label has instances |
| vistas_labels  | label                                   | one per label; of things: a crowd              |

Labels that the data set does not evaluate become void. The ids of the categories are those of the same data set's
panoptic json, and for Cityscapes those of the segments too, so both forms of a data set make equal Examples.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from components.coco_example_gen.kept_aside import BadRecordError
from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import FieldError, flag_field, is_absent, shown, text_field, whole_of_text

# What Pillow raises of a file that is cut short or changed.
_DAMAGE = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)
_MODES = {"L": "8-bit grayscale", "P": "8-bit palette", "I;16": "16-bit grayscale", "I": "16-bit grayscale"}
_MAX_LABEL = 65535
# Codes whose numbers count the categories from 0, as the official preparation writes them, and their number for void.
_VOID_OF_CODE = {"ade20k_full": 65535, "coco_stuff_10k": 255}


@dataclasses.dataclass(frozen=True)
class _Label:
    """The meaning of a number: category (None: void), the segment's id in the panoptic PNG, whether it is a crowd."""

    category_id: int | None
    segment_id: int = 0
    iscrowd: bool = False


@functools.lru_cache(maxsize=4)
def label_categories(content: bytes, code: str) -> list[dict[str, Any]]:
    """Returns the evaluated categories, as COCO lists them.

    Args:
        content: ADE20K's `objectInfo150.txt`, Vistas' `config.json`, or this package's list of the others' labels.
        code: A code from the module's table.

    Raises:
        ValueError: if the content is not of that form.
    """
    if code == "ade20k":
        return _ade20k_categories(content.decode())
    if code in _VOID_OF_CODE:
        return json.loads(content)
    return [
        {
            "id": _category_id(place, label, code),
            "name": label["name"] if is_absent(label.get("readable")) else label["readable"],
            "isthing": int(label["instances"]),
            "color": label.get("color"),
        }
        for place, label in enumerate(_labels(content))
        if label["evaluate"]
    ]


def label_png_size(png_bytes: bytes) -> tuple[int, int]:
    """Reads height and width in px from the header.

    Raises:
        BadRecordError: if it is neither a PNG nor a TIFF.
    """
    with _opened(png_bytes) as image:
        return image.height, image.width


def read_label_png(
    png_bytes: bytes, code: str, categories: CategoryTable, category_content: bytes
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Decodes a label PNG.

    Args:
        png_bytes: a whole file.
        code: A code from the module's table.
        categories: The categories of the data set.
        category_content: The same as for `label_categories`.

    Returns:
        `[height, width]` int32 segment ids, 0 = void; and what COCO's `segments_info` says of them.

    Raises:
        BadRecordError: if the PNG is damaged or of another form, or a number has no meaning.
    """
    with _opened(png_bytes) as image:
        try:
            labels = np.asarray(image)
        except _DAMAGE as error:
            raise BadRecordError("damaged_label_png", str(error)) from error
    if labels.min() < 0 or labels.max() > _MAX_LABEL:
        raise BadRecordError("unknown_label", f"numbers must be in 0..{_MAX_LABEL}. Received: {labels.max()}")
    # A table of all 65,536 numbers is faster than sorting the pixels.
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=_MAX_LABEL + 1))
    meaning = {int(number): _meaning(int(number), code, categories, category_content) for number in present}
    table = np.zeros(_MAX_LABEL + 1, np.int32)
    segments: dict[int, dict[str, Any]] = {}
    for number, label in meaning.items():
        if label.category_id is not None:
            table[number] = label.segment_id
            entry = {"id": label.segment_id, "category_id": label.category_id, "iscrowd": int(label.iscrowd)}
            segments[label.segment_id] = entry
    return table[labels], list(segments.values())


def _opened(png_bytes: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(png_bytes), formats=("PNG", "TIFF"))
    except _DAMAGE as error:
        raise BadRecordError("damaged_label_png", str(error)) from error
    if image.mode not in _MODES:
        forms = ", ".join(dict.fromkeys(_MODES.values()))
        raise BadRecordError("unsuitable_label_png", f"a label PNG must be {forms}. Received: {image.mode}")
    return image


def _meaning(number: int, code: str, categories: CategoryTable, content: bytes) -> _Label:
    if code == "ade20k":
        return _ade20k_meaning(number, categories)
    if code in _VOID_OF_CODE:
        return _meaning_from_0(number, _VOID_OF_CODE[code], categories)
    labels = _labels(content)
    if code == "cityscapes":
        place, instance = (number, 0) if number < 1000 else divmod(number, 1000)
        found = next((label for label in labels if label["id"] == place), None)
    else:
        place, instance = divmod(number, 256) if code == "vistas" else (number, 0)
        found = labels[place] if place < len(labels) else None
    if found is None:
        raise BadRecordError("unknown_label", f"the data set has no label for the number {number}")
    if not found["evaluate"]:
        return _Label(None)
    category_id = _category_id(place, found, code)
    if code == "cityscapes":
        return _Label(category_id, number, iscrowd=bool(found["instances"]) and number < 1000)
    iscrowd = bool(found["instances"]) and code == "vistas_labels"
    return _Label(category_id, 256 * (place + 1) + (instance if found["instances"] else 0), iscrowd)


def _ade20k_meaning(number: int, categories: CategoryTable) -> _Label:
    if number > categories.num_classes:
        raise BadRecordError("unknown_label", f"the data set has {categories.num_classes} labels. Received: {number}")
    return _Label(number - 1, number) if number else _Label(None)


def _meaning_from_0(number: int, void: int, categories: CategoryTable) -> _Label:
    if number == void:
        return _Label(None)
    if number >= categories.num_classes:
        rule = f"the data set has the labels 0 to {categories.num_classes - 1}, and {void} for void"
        raise BadRecordError("unknown_label", f"{rule}. Received: {number}")
    return _Label(categories.category_id(number), number + 1)


def _category_id(place: int, label: dict[str, Any], code: str) -> int:
    # As in the panoptic jsons: Cityscapes' own ids; Vistas counts its labels from 1.
    return label["id"] if code == "cityscapes" else place + 1


@functools.lru_cache(maxsize=4)
def _labels(content: bytes) -> list[dict[str, Any]]:
    rule = "The data set's labels must be json with `labels`, each with name, instances and evaluate"
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{rule}. Failed with: {error!r}") from error
    labels = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(labels, list):
        raise ValueError(f"{rule}. Received: {shown(document)}")
    for place, label in enumerate(labels):
        if problem := _problem_of_label(label):
            raise ValueError(f"{rule}. Label {place}: {problem}")
    return labels


def _problem_of_label(label: Any) -> str:
    """Returns what is wrong with a label of a list, or "" where nothing is."""
    if not isinstance(label, dict):
        return f"it must be a json object. Received: {shown(label)}"
    try:
        text_field(label, "name")
        missing = [key for key in ("instances", "evaluate") if flag_field(label, key) is None]
    except FieldError as error:
        return str(error)
    return f"it must have {missing}. Received: {shown(label)}" if missing else ""


def _ade20k_categories(text: str) -> list[dict[str, Any]]:
    rows = [line.split("\t") for line in text.splitlines()[1:] if line.strip()]
    if wrong := [row for row in rows if len(row) != 6 or (whole_of_text(row[0]) or 0) < 1]:
        raise ValueError(
            "objectInfo150.txt must have six columns: number (from 1), ratio, train, val, stuff, name. "
            f"Received: {wrong[:1]}"
        )
    # Its column "stuff" is not used: without instances a thing is one region like stuff.
    return [{"id": int(row[0]) - 1, "name": row[5].split(",")[0].strip(), "isthing": 0} for row in rows]
