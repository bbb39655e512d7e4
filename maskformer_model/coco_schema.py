"""The fields of COCO's jsons, and one answer to every kind of value, wherever such a json is read.

| value          | ids, sizes | image ids    | `iscrowd`, `isthing` | `area`, `bbox` | names   | `color`       |
|----------------|------------|--------------|----------------------|----------------|---------|---------------|
| whole float    | as 1       | as 1         | as 0 or 1            | taken          | refused | taken         |
| other float    | refused    | refused      | refused              | taken          | refused | default       |
| text           | refused    | "1" is 1     | refused              | refused        | taken   | "#rgb", "#rrggbb" |
| true, false    | refused    | refused      | as 1 and 0           | refused        | refused | default       |
| null, NaN      | absent     | absent       | absent               | absent         | absent  | default       |
| list, object   | refused    | refused      | refused              | four numbers   | refused | three or four numbers |

An absent field is refused where the table's caller needs it; an absent `iscrowd` is 0. No validation library has
these answers: pydantic reads "0" and true as whole numbers, or in its strict mode refuses 1.0, so that each of these
fields would need a function of ours all the same.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

MAX_SEGMENT_ID = 256**3 - 1
_MAX_INTEGER = 2**63 - 1  # What an Example's int64 holds.
_MAX_IMAGE_ID = 10**100  # Longer numbers cannot be turned into text.
_HALF_SURROGATES = range(0xD800, 0xE000)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,101}")

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother = 3, 8, 8, 80, 80


class FieldError(ValueError):
    """A field of a json is absent or of another kind than it must be."""


class ImageEntry(NamedTuple):
    """An entry of `images`.

    Attributes:
        image_id: As text: 1, 1.0 and "1" are the same image.
        file_name: The photo's file.
        size_px: Height and width; None where the json does not say them.
    """

    image_id: str
    file_name: str
    size_px: tuple[int, int] | None


class SegmentEntry(NamedTuple):
    """An entry of `segments_info`.

    Attributes:
        id: The segment's value in the panoptic PNG, 1..2**24-1.
        category_id: The file's number of the category.
        iscrowd: True for a group that is annotated as one region.
        area: Pixels, as the json states them; None where it does not.
        bbox: x, y, width, height in px, in the same way.
    """

    id: int
    category_id: int
    iscrowd: bool
    area: float | None
    bbox: tuple[float, float, float, float] | None


class ObjectEntry(NamedTuple):
    """An entry of `annotations` of an instances json.

    Attributes:
        id: The object's number or name; None where it has none.
        category_id: The file's number of the category.
        iscrowd: True for a group that is annotated as one region.
        area: Pixels, as the json states them; None where it does not.
        bbox: x, y, width, height in px, in the same way.
        segmentation: Polygons or run lengths, not yet checked; None where there is none.
    """

    id: int | str | None
    category_id: int
    iscrowd: bool
    area: float | None
    bbox: tuple[float, float, float, float] | None
    segmentation: Any


def shown(value: Any) -> str:
    """Returns a value as a message shows it: short, however long, deep or large it is."""
    try:
        return _SHORT.repr(value)
    except (ValueError, RecursionError):  # A number of thousands of digits, or more levels than Python can walk.
        return f"<{type(value).__name__}>"


def image_entry(entry: Any) -> ImageEntry:
    """Reads an entry of `images`.

    Raises:
        FieldError: if a field is absent or wrong.
    """
    fields = _fields(entry, "an entry of `images`")
    image_id, file_name = image_key(fields.get("id"), "id"), text_field(fields, "file_name")
    height_px, width_px = (whole_field(fields, key, low=1, optional=True) for key in ("height", "width"))
    if (height_px is None) != (width_px is None):
        raise FieldError(f"`height` and `width` must be given together. Received: {height_px} and {width_px}")
    return ImageEntry(image_id, file_name, None if height_px is None or width_px is None else (height_px, width_px))


def segment_entry(entry: Any) -> SegmentEntry:
    """Reads an entry of `segments_info`.

    Raises:
        FieldError: if a field is absent or wrong.
    """
    fields = _fields(entry, "an entry of `segments_info`")
    return SegmentEntry(
        whole_field(fields, "id", low=1, high=MAX_SEGMENT_ID),
        whole_field(fields, "category_id"),
        flag_field(fields, "iscrowd") or False,
        area_field(fields),
        bbox_field(fields),
    )


def object_entry(entry: Any) -> ObjectEntry:
    """Reads an entry of `annotations` of an instances json.

    Raises:
        FieldError: if a field is absent or wrong.
    """
    fields = _fields(entry, "an object")
    object_id = fields.get("id")
    if not isinstance(object_id, str) and not is_absent(object_id):
        object_id = whole_field(fields, "id", low=-_MAX_IMAGE_ID, high=_MAX_IMAGE_ID)
    segmentation = fields.get("segmentation")
    return ObjectEntry(
        None if is_absent(object_id) else object_id,
        whole_field(fields, "category_id"),
        flag_field(fields, "iscrowd") or False,
        area_field(fields),
        bbox_field(fields),
        None if is_absent(segmentation) else segmentation,
    )


def image_key(value: Any, key: str = "image_id") -> str:
    """Returns an image's id as text, so that 1, 1.0 and "1" of different files meet.

    Raises:
        FieldError: if it is neither a whole number nor text.
    """
    if isinstance(value, str):
        return whole_text(value)
    number = as_whole(value)
    if number is None or abs(number) > _MAX_IMAGE_ID:
        raise FieldError(f"`{key}` must be a whole number or text. Received: {shown(value)}")
    return str(number)


def whole_field(
    fields: Mapping[str, Any], key: str, *, low: int = -_MAX_INTEGER, high: int = _MAX_INTEGER, optional: bool = False
) -> Any:
    """Returns a field that holds a whole number in `low..high`, or None where it is absent and may be.

    Raises:
        FieldError: if it holds something else.
    """
    value = fields.get(key)
    if optional and is_absent(value):
        return None
    number = as_whole(value)
    if number is None or not low <= number <= high:
        limits = f" of at least {low}" if low > 0 and high == _MAX_INTEGER else f" in {low}..{high}" if low > 0 else ""
        raise FieldError(f"`{key}` must be a whole number{limits or ' of 64 bits'}. Received: {shown(value)}")
    return number


def flag_field(fields: Mapping[str, Any], key: str) -> bool | None:
    """Returns a field that holds 0 or 1, or None where it is absent.

    Raises:
        FieldError: if it holds something else.
    """
    value = fields.get(key)
    if is_absent(value):
        return None
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise FieldError(f"`{key}` must be the number 0 or 1. Received: {shown(value)}")


def text_field(fields: Mapping[str, Any], key: str) -> str:
    """Returns a field that holds text, with U+FFFD in the place of half surrogates, which no file can hold.

    Raises:
        FieldError: if it holds something else, or nothing.
    """
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise FieldError(f"`{key}` must be text. Received: {shown(value)}")
    return whole_text(value)


def whole_text(text: str) -> str:
    """Returns a text with U+FFFD in the place of every half surrogate, as in half of an emoji."""
    if text.isascii() or not any(ord(character) in _HALF_SURROGATES for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def area_field(fields: Mapping[str, Any]) -> float | None:
    """Returns `area`, or None where it is absent.

    Raises:
        FieldError: if it is no number of 0 or more.
    """
    value = fields.get("area")
    if is_absent(value):
        return None
    if not is_number(value) or value < 0:
        raise FieldError(f"`area` must be a number of 0 or more. Received: {shown(value)}")
    return as_whole(value) or float(value)


def bbox_field(fields: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Returns `bbox`, or None where it is absent: null, an empty list, or four times null.

    Raises:
        FieldError: if it is not four numbers.
    """
    value = fields.get("bbox")
    if is_absent(value) or (isinstance(value, list | tuple) and all(map(is_absent, value))):
        return None
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(map(is_number, value)):
        raise FieldError(f"`bbox` must be four numbers, x, y, width, height. Received: {shown(value)}")
    x, y, width, height = value
    return x, y, width, height


def color_field(fields: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Returns `color` as red, green, blue in 0..255; None where it is absent or no colour, since it is for drawings."""
    value = fields.get("color")
    if isinstance(value, str):
        digits = value.strip().removeprefix("#")
        if len(digits) == 3:
            digits = "".join(digit * 2 for digit in digits)
        try:
            value = list(bytes.fromhex(digits))
        except ValueError:
            return None
    if not isinstance(value, list | tuple) or len(value) not in (3, 4):
        return None
    red, green, blue = (as_whole(channel) for channel in value[:3])
    if red is None or green is None or blue is None or not all(0 <= c <= 255 for c in (red, green, blue)):
        return None
    return red, green, blue


def is_absent(value: Any) -> bool:
    """Returns whether a field holds nothing: it is not there, null, or NaN, which pandas writes in place of null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_whole(value: Any) -> int | None:
    """Returns a whole number, also one that is written 1.0; None for everything else, true and false among it."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def whole_of_text(text: Any) -> int | None:
    """Returns the whole number that a text of a list or a table says, or None where it says none.

    `int` and `str.isdigit` take more: digits of other scripts, such as the superscript two, and "1_0".
    """
    match = _WHOLE_NUMBER.fullmatch(text.strip()) if isinstance(text, str) else None
    return int(match[0]) if match else None


def is_number(value: Any) -> TypeGuard[int | float]:
    """Returns whether a value is a finite number that a float can hold; true and false are none."""
    return (type(value) is int and abs(value) < 1 << 1000) or (isinstance(value, float) and math.isfinite(value))


def _fields(entry: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise FieldError(f"{what} must be a json object. Received: {shown(entry)}")
    return entry


def list_field(fields: Mapping[str, Any], key: str) -> Sequence[Any]:
    """Returns a field that holds a list.

    Raises:
        FieldError: if it holds something else, or nothing.
    """
    value = fields.get(key)
    if not isinstance(value, list):
        raise FieldError(f"`{key}` must be a list. Received: {shown(value)}")
    return value
