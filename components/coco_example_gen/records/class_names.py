"""Reads lists of class names: which number, or which colour, of a label PNG means which class.

| form                                    | number                       | colour        |
|-----------------------------------------|------------------------------|---------------|
| a name a line (`classes.txt`)           | the line, from 0             | none          |
| `0: sky`, `0 sky` or `0,sky` a line     | as written                   | none          |
| `label:r,g,b:parts:actions` (CVAT, VOC) | the line, from 0             | as written    |
| `r g b name` a line (SegNet)            | the line, from 0             | as written    |
| csv with `Pixel Value, Class`           | as written (Roboflow)        | none          |
| csv with `name, r, g, b`                | the line, from 0             | as written    |
| json: a list, or numbers and names      | the place, or as written     | none          |

labelme's list may begin with `__ignore__`, which is number -1. Names such as `Void`, `ignore` and `unlabeled` are void.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import re
from typing import Any

from maskformer_model.coco_schema import as_whole, shown, whole_of_text

Color = tuple[int, int, int]
_VOID_NAMES = {"void", "ignore", "ignored", "__ignore__", "unlabeled", "unlabelled", "undefined", "ignore_label"}
_BACKGROUND_NAMES = {"background", "_background_", "__background__"}
_NUMBERED = re.compile(r"(-?[0-9]+)\s*[:,;\s]\s*(\S.*)")
_COLORED = re.compile(r"([0-9]+)[\s,]+([0-9]+)[\s,]+([0-9]+)[\s,:]+(\S.*)")
_MOST_CLASSES = 65536


@dataclasses.dataclass(frozen=True)
class ClassName:
    """A line of a list of classes.

    Attributes:
        number: The number of the class in a label PNG.
        name: what people call it.
        color: in an RGB label PNG; None where the list has no colours.
    """

    number: int
    name: str
    color: Color | None = None

    @property
    def is_void(self) -> bool:
        """Returns whether its pixels are void."""
        return self.name.lower() in _VOID_NAMES

    @property
    def is_background(self) -> bool:
        """Returns whether it is what is left beside all other classes."""
        return self.name.lower() in _BACKGROUND_NAMES


@functools.lru_cache(maxsize=8)
def read_class_names(content: bytes) -> tuple[ClassName, ...]:
    """Reads a list of any form of the module's table.

    Raises:
        ValueError: if it is of none, or a number, name or colour comes twice.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"A list of class names must be UTF-8 text. {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("A list of class names must name a class. Received an empty file.")
    classes = _from_json(text) if lines[0][0] in "[{" else _from_lines(lines)
    _check(classes)
    return tuple(classes)


def category_entries(
    classes: tuple[ClassName, ...], things: tuple[str, ...], has_objects: bool
) -> list[dict[str, Any]]:
    """Returns the classes as COCO lists categories; void is none.

    Args:
        classes: The classes of the list.
        things: names of the countable ones.
        has_objects: Whether a second PNG separates objects, so that all but the background are countable unless
            `things` says which.

    Raises:
        ValueError: if `things` names a class that is not in the list.
    """
    names = [entry.name for entry in classes if not entry.is_void]
    if wrong := [name for name in things if name not in names]:
        raise ValueError(f"`things` must be of the classes {names}. Received: {wrong}")
    entries = []
    for entry in classes:
        if entry.is_void:
            continue
        is_thing = entry.name in things if things else has_objects and not entry.is_background
        colored: dict[str, Any] = {"color": list(entry.color)} if entry.color else {}
        entries.append({"id": entry.number, "name": entry.name, "isthing": int(is_thing)} | colored)
    return entries


def _from_json(text: str) -> list[ClassName]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"A list of class names that begins with a bracket must be json. {error}") from error
    pairs = enumerate(document) if isinstance(document, list) else document.items()
    return [ClassName(_number(number), _name(name)) for number, name in pairs]


def _from_lines(lines: list[str]) -> list[ClassName]:
    head = [cell.strip().lower() for cell in lines[0].split(",")]
    if head[:2] in (["pixel value", "class"], ["pixel_value", "class"]):
        return [ClassName(_number(row[0]), row[1].strip()) for row in _rows(lines, 2)]
    if len(head) >= 4 and head[0] in ("name", "class", "label") and head[1:4] == ["r", "g", "b"]:
        return [ClassName(place, row[0].strip(), _color(row[1:4])) for place, row in enumerate(_rows(lines, 4))]
    if all(line.count(":") >= 3 for line in lines):
        return [_of_labelmap(place, line) for place, line in enumerate(lines)]
    if matches := _all_match(_COLORED, lines):
        return [ClassName(place, match[4].strip(), _color(match.group(1, 2, 3))) for place, match in enumerate(matches)]
    if matches := _all_match(_NUMBERED, lines):
        return [ClassName(_number(match[1]), match[2].strip()) for match in matches]
    first = -1 if lines[0] == "__ignore__" else 0
    return [ClassName(first + place, line) for place, line in enumerate(lines)]


def _of_labelmap(place: int, line: str) -> ClassName:
    name, color, *_ = line.split(":")
    # Without colours VOC's palette is meant, by the place in the list.
    return ClassName(place, name.strip(), _color(color.split(",")) if color.strip() else voc_color(place))


def voc_color(number: int) -> Color:
    """Returns the colour of a number in VOC's palette: its bits, dealt out to red, green and blue from the top."""
    red = green = blue = 0
    for place in range(8):
        bits = number >> (3 * place)
        red |= (bits & 1) << (7 - place)
        green |= (bits >> 1 & 1) << (7 - place)
        blue |= (bits >> 2 & 1) << (7 - place)
    return red, green, blue


def _all_match(pattern: re.Pattern[str], lines: list[str]) -> list[re.Match[str]]:
    matches = [match for line in lines if (match := pattern.fullmatch(line))]
    return matches if len(matches) == len(lines) else []


def _color(cells: Any) -> Color:
    values = [value for value in map(whole_of_text, cells) if value is not None and 0 <= value <= 255]
    if not len(values) == len(cells) == 3:
        raise ValueError(f"A colour must be three numbers in 0..255. Received: {shown(list(cells))}")
    return values[0], values[1], values[2]


def _number(value: Any) -> int:
    number = as_whole(value) if isinstance(value, int) else whole_of_text(value)
    if number is None:
        raise ValueError(f"The number of a class must be a whole number. Received: {shown(value)}")
    return number


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"The name of a class must be text. Received: {shown(value)}")
    return value.strip()


def _rows(lines: list[str], num_cells: int) -> list[list[str]]:
    """The rows of a csv below its head."""
    try:
        rows = list(csv.reader(lines[1:], skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(f"A list of class names must be csv below its head {lines[0]!r}. {error}") from error
    if short := [row for row in rows if len(row) < num_cells]:
        rule = f"Each line of a list of class names with the head {lines[0]!r} must have {num_cells} cells"
        raise ValueError(f"{rule}. Received: {shown(short[0])}")
    return rows


def _check(classes: list[ClassName]) -> None:
    for what in ("number", "name", "color"):
        values = [getattr(entry, what) for entry in classes if getattr(entry, what) is not None]
        if repeated := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"A list of class names must have each {what} once. Received twice: {repeated[:5]}")
    if wrong := [entry.name for entry in classes if not -1 <= entry.number < _MOST_CLASSES]:
        raise ValueError(f"Class numbers must be in 0..{_MOST_CLASSES - 1}. Received others for: {wrong[:5]}")
