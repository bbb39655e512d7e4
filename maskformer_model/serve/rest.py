"""Reads requests and writes answers in TensorFlow Serving's REST form.

A request is `{"instances": [...]}` or `{"inputs": {...}}`, with bytes as `{"b64": "..."}`; the answer is `predictions`,
a list with a dict per photo, or `outputs`, a dict with a list per name. Knows nothing of HTTP.

A body comes from anybody. Python's JSON reader makes an object of every value and lets nothing else run meanwhile, so
what cannot be a request for a few photos is refused by the number of its values before it is read.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import re
from typing import Any

from maskformer_model.data import photo_header

PHOTO_INPUT = "image_bytes"
THRESHOLDS = ("object_mask_threshold", "overlap_threshold")
MAX_PHOTOS = 64
_COUNTS = ("num_segments", "num_instances")  # How many rows of an answer's lists are segments.

# A photo needs two pairs of brackets and a name, and PHP escapes each slash of base64 with a backslash.
_VALUES_PER_PHOTO, _OTHER_VALUES = 16, 256
_MAX_NUMBER_CHARACTERS = 100
_WHITE_SPACE = b" \t\r\n\v\f"
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]")
_SHOWN_CHARACTERS = 80


class BadRequestError(ValueError):
    """A request that no server could answer, and why."""


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """A request, read.

    Attributes:
        signature: The signature that the caller named, or `serving_default`.
        photos: Encoded photos.
        scalars: Thresholds, in the signature's order; empty for other signatures.
        by_row: Whether the answer is laid out as `predictions`.
    """

    signature: str
    photos: tuple[bytes, ...]
    scalars: tuple[tuple[str, float], ...]
    by_row: bool


def read_request(body: bytes | bytearray, max_photos: int = MAX_PHOTOS) -> PredictRequest:
    """Reads the body of a request for at most `max_photos` photos.

    Raises:
        BadRequestError: if it is not of the form, naming what is wrong.
    """
    document = read_json(body, max_photos)
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise BadRequestError("The body must be a JSON object with either `instances` or `inputs`.")
    signature = document.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise BadRequestError(f"`signature_name` must be a name. Received: {shown(signature)}")
    if "instances" in document:
        photos, scalars = _photos("instances", document["instances"], max_photos), {}
    else:
        inputs = document["inputs"]
        # A single input may stand for itself.
        inputs = inputs if isinstance(inputs, dict) and "b64" not in inputs else {PHOTO_INPUT: inputs}
        photos = _photos(f"inputs.{PHOTO_INPUT}", inputs.get(PHOTO_INPUT), max_photos)
        scalars = {name: value for name, value in inputs.items() if name != PHOTO_INPUT}
    return PredictRequest(signature, photos, read_scalars(signature, scalars), "instances" in document)


def read_json(body: bytes | bytearray, max_photos: int) -> Any:
    """Reads JSON that holds no more values than a request for so many photos can have.

    Raises:
        BadRequestError: if it is no JSON, or holds more.
    """
    num_values = sum(body.count(mark) for mark in (b",", b"[", b"{", b":"))
    most = _VALUES_PER_PHOTO * max_photos + _OTHER_VALUES
    if num_values > most:
        rule = f"The body must be JSON for at most {max_photos} photos, which has at most {most} values"
        raise BadRequestError(f"{rule}. Received: {num_values}")
    try:
        return json.loads(body, parse_int=_integer, parse_float=_number, parse_constant=_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadRequestError(f"The body must be JSON. Received: {error}") from error


def decode_base64(where: str, text: str) -> bytes:
    """Decodes base64 as TensorFlow Serving does: with white space, and without padding if that is left out.

    Raises:
        BadRequestError: if it is none, naming `where`.
    """
    encoded = text.encode("utf-8", "replace")
    if _NOT_BASE64.search(encoded):
        encoded = encoded.translate(None, _WHITE_SPACE)
    encoded += b"=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"`{where}` must be base64. Received: {error}") from error


def encode_base64(file_bytes: bytes) -> str:
    """Encodes a file."""
    return base64.b64encode(file_bytes).decode("ascii")


def read_scalars(signature: str, values: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    """Returns a signature's inputs beside the photos, in its order.

    Raises:
        BadRequestError: if they are not those that the signature takes, or no probabilities.
    """
    expected = THRESHOLDS if signature == "panoptic" else ()
    if set(values) != set(expected):
        received = shown([PHOTO_INPUT, *values])
        raise BadRequestError(f"The signature {signature} takes {[PHOTO_INPUT, *expected]}. Received: {received}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRequestError(f"`inputs.{name}` must be a number. Received: {shown(value)}")
        if not 0 <= value <= 1:
            raise BadRequestError(f"`inputs.{name}` must be a number in 0..1. Received: {shown(value)}")
    return tuple((name, float(values[name])) for name in expected)


def shown(value: Any) -> str:
    """Returns a value of a caller's as text that fits in a message, whatever it is."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _photos(where: str, values: Any, max_photos: int) -> tuple[bytes, ...]:
    if not isinstance(values, list) or not values:
        raise BadRequestError(f"`{where}` must be a list of at least one photo.")
    if len(values) > max_photos:
        raise BadRequestError(f"A request must have at most {max_photos} photos. Received: {len(values)}")
    return tuple(_photo(f"{where}[{index}]", value) for index, value in enumerate(values))


def _photo(where: str, value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {PHOTO_INPUT}:
        value = value[PHOTO_INPUT]
    if not isinstance(value, dict) or not isinstance(value.get("b64"), str):
        raise BadRequestError(f'`{where}` must be {{"b64": "..."}}, a whole JPEG or PNG file in base64.')
    return decode_base64(where, value["b64"])


def _integer(digits: str) -> int:
    return int(_bearable(digits))


def _number(digits: str) -> float:
    return float(_bearable(digits))


def _bearable(digits: str) -> str:
    if len(digits) > _MAX_NUMBER_CHARACTERS:
        raise BadRequestError(f"A number must have at most {_MAX_NUMBER_CHARACTERS} digits. Received: {len(digits)}")
    return digits


def _constant(name: str) -> float:
    return float(name)  # NaN and infinities, which no value of a request may be; what names the value refuses them.


def require_size(photos: tuple[bytes, ...], max_pixels: int) -> list[int]:
    """Checks the photos' headers, decoding nothing. What is no photo at all is left to the model to refuse.

    Returns:
        The pixels of each; 0 for what is no photo.

    Raises:
        BadRequestError: if one has more than `max_pixels`, or claims more than its data can hold.
    """
    pixels = []
    for index, photo in enumerate(photos):
        header = photo_header.read_header(photo)
        if header and header.pixels > max_pixels:
            raise BadRequestError(
                f"`{PHOTO_INPUT}[{index}]` must have at most {max_pixels} pixels. "
                f"Received: {header.height_px} x {header.width_px}"
            )
        if header and not header.is_plausible:
            raise BadRequestError(f"`{PHOTO_INPUT}[{index}]` must be a whole JPEG or PNG file. {header.doubt()}")
        pixels.append(header.pixels if header else 0)
    return pixels


def answer_document(answers: list[dict[str, Any]], by_row: bool) -> dict[str, Any]:
    """Returns the body of an answer.

    In rows, each photo's lists end with its last segment. Columns are tensors, so they keep the model's padding.
    """
    if by_row:
        return {"predictions": [_without_padding(answer) for answer in answers]}
    return {"outputs": {name: [answer[name] for answer in answers] for name in answers[0]}}


def _without_padding(answer: dict[str, Any]) -> dict[str, Any]:
    count = next((answer[name] for name in _COUNTS if name in answer), None)
    if count is None:
        return answer
    return {name: value[:count] if isinstance(value, list) else value for name, value in answer.items()}


def write_answer(answers: list[dict[str, Any]], by_row: bool) -> bytes:
    """Returns the body of an answer as it is sent."""
    return json.dumps(answer_document(answers, by_row)).encode()


def num_bytes(answers: list[dict[str, Any]]) -> int:
    """Returns about how many bytes of text the answers are, files alone."""
    files = (value for answer in answers for value in answer.values())
    return sum(_length(one) for value in files for one in (value if isinstance(value, list) else [value]))


def _length(value: Any) -> int:
    return len(value["b64"]) if isinstance(value, dict) else 8
