"""TensorFlow Serving's REST form of a prediction: what a request says, how answers are laid out.

A request is `{"instances": [...]}` or `{"inputs": {...}}`, with bytes as `{"b64": "..."}`; the answer is `predictions`,
a list with a dict per photo, or `outputs`, a dict with a list per name. Knows nothing of HTTP.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import json
import math
from typing import Any

from PIL import Image

PHOTO_INPUT = "image_bytes"
THRESHOLDS = ("object_mask_threshold", "overlap_threshold")


class BadRequestError(ValueError):
    """A request that no server could answer, and why."""


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """A request, read.

    Attributes:
        signature: As the caller named it, or `serving_default`.
        photos: Encoded photos.
        scalars: Thresholds, in the signature's order; empty for other signatures.
        by_row: Whether the answer is laid out as `predictions`.
    """

    signature: str
    photos: tuple[bytes, ...]
    scalars: tuple[tuple[str, float], ...]
    by_row: bool


def read_request(body: bytes) -> PredictRequest:
    """Reads the body of a request.

    Raises:
        BadRequestError: if it is not of the form, naming what is wrong.
    """
    try:
        document = json.loads(body)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadRequestError(f"The body must be JSON. Received: {error}") from error
    if not isinstance(document, dict) or ("instances" in document) == ("inputs" in document):
        raise BadRequestError("The body must be a JSON object with either `instances` or `inputs`.")
    signature = document.get("signature_name", "serving_default")
    if not isinstance(signature, str):
        raise BadRequestError(f"`signature_name` must be a name. Received: {signature!r}")
    if "instances" in document:
        photos, scalars = _photos("instances", document["instances"]), {}
    else:
        inputs = document["inputs"]
        # A single input may stand for itself.
        inputs = inputs if isinstance(inputs, dict) and "b64" not in inputs else {PHOTO_INPUT: inputs}
        photos = _photos(f"inputs.{PHOTO_INPUT}", inputs.get(PHOTO_INPUT))
        scalars = {name: value for name, value in inputs.items() if name != PHOTO_INPUT}
    return PredictRequest(signature, photos, _scalars(signature, scalars), "instances" in document)


def _photos(where: str, values: Any) -> tuple[bytes, ...]:
    if not isinstance(values, list) or not values:
        raise BadRequestError(f"`{where}` must be a list of at least one photo.")
    return tuple(_photo(f"{where}[{index}]", value) for index, value in enumerate(values))


def _photo(where: str, value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {PHOTO_INPUT}:
        value = value[PHOTO_INPUT]
    if not isinstance(value, dict) or not isinstance(value.get("b64"), str):
        raise BadRequestError(f'`{where}` must be {{"b64": "..."}}, a whole JPEG or PNG file in base64.')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"`{where}` must be base64. Received: {error}") from error


def _scalars(signature: str, values: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    expected = THRESHOLDS if signature == "panoptic" else ()
    if set(values) != set(expected):
        raise BadRequestError(
            f"The signature {signature} takes {[PHOTO_INPUT, *expected]}. Received: {[PHOTO_INPUT, *values]}"
        )
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRequestError(f"`inputs.{name}` must be a number. Received: {value!r}")
    return tuple((name, float(values[name])) for name in expected)


def require_size(photos: tuple[bytes, ...], max_pixels: int) -> None:
    """Checks the photos' headers, decoding nothing. What is no photo at all is left to the model to refuse.

    Raises:
        BadRequestError: if one has more pixels.
    """
    for index, photo in enumerate(photos):
        try:
            with Image.open(io.BytesIO(photo), formats=("JPEG", "PNG")) as image:
                width, height = image.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
        if width * height > max_pixels:
            raise BadRequestError(
                f"`{PHOTO_INPUT}[{index}]` must have at most {max_pixels} pixels. Received: {height} x {width}"
            )


def answer_document(answers: list[dict[str, Any]], by_row: bool) -> dict[str, Any]:
    """The body of an answer."""
    if by_row:
        return {"predictions": answers}
    return {"outputs": {name: [answer[name] for answer in answers] for name in answers[0]}}
