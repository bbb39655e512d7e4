"""Checks a photo's file: what is known of it, or why it cannot be used. Training and serving decode it the same way.

The size is read from the header and judged first: a file that claims to be huge is never decoded. Whether a JPEG's data
are whole is asked of `jpeg_data`, because TensorFlow's decoder fills what is missing with gray and says nothing.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.jpeg_data import jpeg_problem
from maskformer_model.data import preprocessing

MAX_PHOTO_PIXELS = 100_000_000
_JPEG, _PNG = "jpeg", "png"
_IMAGE_FORMATS = {b"\xff\xd8\xff": _JPEG, b"\x89PNG\r\n\x1a\n": _PNG}
_PNG_SIZE = struct.Struct(">16xII")  # Width and height, after the signature and the head of the first chunk.
_LUMA_OF_RGB = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it.
_EXIF_ORIENTATION, _FIRST_TRANSPOSED = 0x0112, 5
_EXIF_MARKS, _EXIF_SEARCH_BYTES = (b"Exif\0", b"eXIf"), 1 << 17
_MAX_ROWS_OF_32_BITS = (2**32 - 1) // 255**2


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """The facts about a decoded photo.

    Attributes:
        image_format: "jpeg" or "png".
        size_px: height and width.
        channel_sums: sum of all red, of all green and of all blue values, 0..255 each.
        channel_square_sums: The sums of their squares.
        orientation: The EXIF orientation, 1..8; 1 where there is none.
    """

    image_format: str
    size_px: tuple[int, int]
    channel_sums: tuple[int, int, int]
    channel_square_sums: tuple[int, int, int]
    orientation: int = 1

    @property
    def brightness(self) -> float:
        """Computes the mean of the photo's luma, 0..1."""
        mean_rgb = np.array(self.channel_sums) / (self.size_px[0] * self.size_px[1])
        return float(mean_rgb @ _LUMA_OF_RGB / 255)


def check_photo(photo: bytes, expected_px: tuple[int, int] | None) -> PhotoFacts:
    """Decodes a photo.

    Args:
        photo: a whole file.
        expected_px: height and width that it should have; None takes any.

    Raises:
        BadRecordError: if it is not an image, damaged, too large, or of another size.
    """
    image_format = next((name for start, name in _IMAGE_FORMATS.items() if photo.startswith(start)), None)
    if image_format is None:
        raise BadRecordError("not_an_image", f"a photo must be a JPEG or PNG file; this one begins with {photo[:8]!r}")
    # One operation each, and not a graph: a graph's would be handed from thread to thread, which costs a millisecond.
    content = tf.constant(photo)
    try:
        height_px, width_px = _size_of(content, photo, image_format)
        _check_photo_size(photo, (height_px, width_px), expected_px)
        decode = preprocessing.decode_jpeg if image_format == _JPEG else preprocessing.decode_png
        rgb = np.asarray(memoryview(decode(content)))
    except tf.errors.InvalidArgumentError as error:
        raise BadRecordError("damaged_photo", f"it cannot be decoded: {_own_words(error.message)}") from error
    if image_format == _JPEG and (problem := jpeg_problem(photo)):
        raise BadRecordError("damaged_photo", f"it decodes, but its data are not whole: {problem}")
    sums, square_sums = channel_sums(rgb)
    return PhotoFacts(
        image_format=image_format,
        size_px=(height_px, width_px),
        channel_sums=sums,
        channel_square_sums=square_sums,
        orientation=_orientation(photo),
    )


def _own_words(message: str) -> str:
    """Returns what the decoder said, without the many lines about its place in the graph."""
    return message.partition("\n\t [[")[0].strip().splitlines()[-1]


def check_size(what: str, size_px: tuple[int, int], expected_px: tuple[int, int] | None, hint: str = "") -> None:
    """Refuses what is too large to decode, or has not the size that it should have.

    Raises:
        BadRecordError: if so.
    """
    if expected_px is not None and size_px != expected_px:
        detail = f"{what} has height and width {size_px} px, expected were {expected_px} px{hint}"
        raise BadRecordError("size_mismatch", detail)
    if size_px[0] * size_px[1] > MAX_PHOTO_PIXELS:
        detail = f"{what}: {size_px[0]} x {size_px[1]} px are more than {MAX_PHOTO_PIXELS} pixels"
        raise BadRecordError("too_large", detail)


def channel_sums(rgb: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Sums of the values, and of their squares, of each channel.

    Args:
        rgb: `[height, width, 3]` uint8.
    """
    height, width = rgb.shape[:2]
    # Rows first: adding whole rows is several times faster than adding up three interleaved channels.
    rows = rgb.reshape(height, 3 * width)
    whole = np.uint32 if height <= _MAX_ROWS_OF_32_BITS else np.uint64
    column_sums = rows.sum(axis=0, dtype=whole), np.square(rows, dtype=np.uint16).sum(axis=0, dtype=whole)
    sums, square_sums = (sums.reshape(width, 3).sum(axis=0, dtype=np.int64).tolist() for sums in column_sums)
    return tuple(sums), tuple(square_sums)


def _size_of(content: tf.Tensor, photo: bytes, image_format: str) -> tuple[int, int]:
    """Reads height and width from the header, before anything is decoded."""
    if image_format == _JPEG:
        height_px, width_px, _ = tf.io.extract_jpeg_shape(content).numpy().tolist()
    elif len(photo) < _PNG_SIZE.size:
        raise BadRecordError("damaged_photo", "it is truncated in its header")
    else:
        width_px, height_px = _PNG_SIZE.unpack_from(photo)
    return height_px, width_px


def _check_photo_size(photo: bytes, size_px: tuple[int, int], expected_px: tuple[int, int] | None) -> None:
    if (
        expected_px is not None
        and size_px == expected_px[::-1] != expected_px
        and _orientation(photo) >= _FIRST_TRANSPOSED
    ):
        rule = "its EXIF orientation turns it, and truth must be drawn for the stored pixels"
        raise BadRecordError(
            "exif_rotated", f"the photo is stored as {size_px} px, the json says {expected_px} px: {rule}"
        )
    check_size("the photo", size_px, expected_px)


def _orientation(photo: bytes) -> int:
    """Reads the orientation from the EXIF block; 1 if none can be read."""
    if not any(mark in photo[:_EXIF_SEARCH_BYTES] for mark in _EXIF_MARKS):
        return 1
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(photo)) as image:
            warnings.simplefilter("ignore")
            value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
