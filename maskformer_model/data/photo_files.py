"""Photos as people have them: files, folders, patterns, arrays, any orientation and format -> bytes a model takes.

An exported model reads JPEG and PNG and does not look at orientation tags, as COCO's coordinates do not. Here a photo
is turned upright first, as every viewer shows it, and other formats become PNG. Needs Pillow and numpy alone.
"""

from __future__ import annotations

import glob
import io
import os
import pathlib
import re
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from maskformer_model.data.photo_header import read_header

PhotoSource = str | os.PathLike[str] | bytes | np.ndarray | Image.Image

MODEL_FORMATS = ("JPEG", "PNG")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_ORIENTATION_TAG = 0x0112
_TENSORFLOW_S_OWN = (
    "Graph execution error",
    "Detected at node",
    "Stack trace",
    "<stack traces",
)  # Around what went wrong.


class PhotoError(ValueError):
    """A photo that cannot be segmented, and why."""


def find_photos(places: Iterable[str]) -> list[str]:
    """Files, the photos in folders and below them, and what patterns match; each once, sorted within a place.

    Raises:
        FileNotFoundError: if a place leads to no photo.
    """
    found: dict[str, None] = {}
    for place in places:
        if os.path.isdir(place):
            paths = sorted(
                str(path) for path in pathlib.Path(place).rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES
            )
        elif os.path.isfile(place):
            paths = [place]
        else:
            paths = sorted(path for path in glob.glob(place, recursive=True) if os.path.isfile(path))
        if not paths:
            raise FileNotFoundError(f"`images` must name photos: files, folders or patterns. Nothing found at: {place}")
        found.update(dict.fromkeys(paths))
    return list(found)


def photo_bytes(source: PhotoSource, max_pixels: int | None = None, *, upright: bool = True) -> bytes:
    """Returns a photo as a JPEG or PNG file. A file that already is one, and upright, is passed on unread.

    Args:
        source: A path, a file's bytes, `[height, width, 3]` uint8 RGB, or a Pillow image.
        max_pixels: A photo with more is refused before it is decoded.
        upright: Turn the photo as its orientation tag says; else the stored pixels are taken.

    Raises:
        PhotoError: if the bytes are no photo, it is animated or too large, or the array is of another form.
        OSError: if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise PhotoError(f"A photo must be uint8 [height, width, 3]. Received: {source.dtype} {list(source.shape)}")
        return _png(Image.fromarray(source))
    if isinstance(source, Image.Image):
        return _png((ImageOps.exif_transpose(source) if upright else source).convert("RGB"))
    file_bytes = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    try:
        with Image.open(io.BytesIO(file_bytes)) as image:
            return _for_model(image, file_bytes, max_pixels, upright)
    except PhotoError:
        raise
    # Pillow reports damage by several unrelated types, among them SyntaxError for a broken chunk.
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Its own words are the address of an object in memory.
        reason = "in no format that is known" if isinstance(error, UnidentifiedImageError) else error
        raise PhotoError(f"A photo must be a whole image file. Received {len(file_bytes)} bytes: {reason}") from error


def decode(file_bytes: bytes) -> np.ndarray:
    """Returns `[height, width, 3]` uint8 RGB of the stored pixels of a file that `photo_bytes` returned."""
    with Image.open(io.BytesIO(file_bytes)) as image:
        return np.asarray(image.convert("RGB"))


def gray_pixels(png_bytes: bytes) -> np.ndarray:
    """Returns `[height, width]` values of a grayscale PNG, as signatures give class maps and masks."""
    with Image.open(io.BytesIO(png_bytes), formats=("PNG",)) as image:
        return np.asarray(image)


def refusal(message: str) -> str:
    """Returns the sentence in an InvalidArgument error of an exported model, without TensorFlow's names of nodes."""
    found = re.search(r"assertion failed: \[(.*)\]", message)
    lines = [line for line in message.splitlines() if line.strip() and not line.startswith(_TENSORFLOW_S_OWN)]
    return (found[1] if found else (lines or [message])[0]).strip().replace('\\"', '"')


def _for_model(image: Image.Image, file_bytes: bytes, max_pixels: int | None, upright: bool) -> bytes:
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise PhotoError(f"A photo must have at most {max_pixels} pixels. Received: {height} x {width}")
    header = read_header(file_bytes)
    if header and not header.is_plausible:
        raise PhotoError(f"A photo must be a whole image file. {header.doubt()}")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise PhotoError(f"A photo must have one frame. Received an animation of {frames}")
    # Without the first condition Pillow decodes a whole PNG to look for the tag at its end.
    is_turned = upright and "exif" in image.info and image.getexif().get(_ORIENTATION_TAG, 1) != 1
    if image.format in MODEL_FORMATS and not is_turned:
        return file_bytes
    return _png((ImageOps.exif_transpose(image) if is_turned else image).convert("RGB"))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
