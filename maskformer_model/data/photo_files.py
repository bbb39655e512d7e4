"""Photos as people have them: files, folders, patterns, arrays, any orientation and format -> bytes a model takes.

An exported model reads JPEG and PNG and does not look at orientation tags, as COCO's coordinates do not. Here a photo
is turned upright first, as every viewer shows it, and other formats become PNG. Of 16 bits per channel the upper eight
are taken, as a model takes them. Needs Pillow and numpy alone.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from maskformer_model.data.photo_header import read_header

PhotoSource = str | os.PathLike[str] | bytes | np.ndarray | Image.Image

MODEL_FORMATS = ("JPEG", "PNG")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_ORIENTATION_TAG = 0x0112
_TIFF_BITS_TAG = 258
_TIFF_COLORS_TAG, _TIFF_WHITE_IS_ZERO = 262, 0
# What undoes the turn that each orientation asks for.
_BACK_AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
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
            # A link that leads nowhere stays in the list: whoever reads it reports it.
            paths = sorted(
                str(path)
                for path in pathlib.Path(place).rglob("*")
                if path.suffix.lower() in PHOTO_SUFFIXES and not path.is_dir()
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
        PhotoError: if the bytes are no photo, it is too large or holds several pictures, its values are not unsigned
            ones of at most 16 bits, or the array is of another form.
        OSError: if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or not source.size:
            raise PhotoError(f"A photo must be uint8 [height, width, 3]. Received: {source.dtype} {list(source.shape)}")
        return _png(Image.fromarray(source))
    if isinstance(source, Image.Image):
        return _png(_rgb(source, upright))
    file_bytes = source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    with _opened(file_bytes) as image:
        return _for_model(image, file_bytes, max_pixels, upright)


def decode(file_bytes: bytes) -> np.ndarray:
    """Returns `[height, width, 3]` uint8 RGB of the stored pixels of a file that `photo_bytes` returned.

    Raises:
        PhotoError: if Pillow cannot read the file.
    """
    with _opened(file_bytes) as image:
        return np.asarray(_rgb(image, upright=False))


def gray_pixels(png_bytes: bytes) -> np.ndarray:
    """Returns `[height, width]` values of a grayscale PNG, as signatures give class maps and masks."""
    with Image.open(io.BytesIO(png_bytes), formats=("PNG",)) as image:
        return np.asarray(image)


def refusal(message: str) -> str:
    """Returns the sentence in an InvalidArgument error of an exported model, without TensorFlow's names of nodes."""
    found = re.search(r"assertion failed: \[(.*)\]", message)
    lines = [line for line in message.splitlines() if line.strip() and not line.startswith(_TENSORFLOW_S_OWN)]
    return (found[1] if found else (lines or [message])[0]).strip().replace('\\"', '"')


@contextlib.contextmanager
def _opened(file_bytes: bytes) -> Iterator[Image.Image]:
    """Opens a file with Pillow, whose errors become `PhotoError` within the block."""
    try:
        with Image.open(io.BytesIO(file_bytes)) as image:
            yield image
    except PhotoError:
        raise
    # Pillow reports damage by several unrelated types, among them SyntaxError for a broken chunk.
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Its own words are the address of an object in memory.
        reason = "in no format that is known" if isinstance(error, UnidentifiedImageError) else error
        raise PhotoError(f"A photo must be a whole image file. Received {len(file_bytes)} bytes: {reason}") from error


def _for_model(image: Image.Image, file_bytes: bytes, max_pixels: int | None, upright: bool) -> bytes:
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise PhotoError(f"A photo must have at most {max_pixels} pixels. Received: {height} x {width}")
    header = read_header(file_bytes)
    if header and not header.is_plausible:
        raise PhotoError(f"A photo must be a whole image file. {header.doubt()}")
    # Phones and drones write previews and depth maps after the photo: a JPEG, which Pillow calls MPO.
    image_format = "JPEG" if image.format == "MPO" else image.format
    frames = 1 if image_format == "JPEG" else getattr(image, "n_frames", 1)
    if frames > 1 and image_format == "TIFF":
        raise PhotoError(f"A photo must be one picture. Received a TIFF that holds {frames}")
    if frames > 1:
        raise PhotoError(f"A photo must have one frame. Received an animation of {frames}")
    # Without the first condition Pillow decodes a whole PNG to look for the tag at its end.
    is_turned = upright and "exif" in image.info and image.getexif().get(_ORIENTATION_TAG, 1) != 1
    if image_format in MODEL_FORMATS and not is_turned:
        return file_bytes
    return _png(_rgb(image, upright))


def _rgb(image: Image.Image, upright: bool) -> Image.Image:
    """Returns an image in mode RGB, turned as its orientation tag says if it is to be `upright`."""
    # Older versions of Pillow open a 16-bit PNG in mode I.
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode in ("I", "F") and not is_16_bit:
        kind = "signed or 32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise PhotoError(
            f"A photo must have unsigned values of 8 or 16 bits. Received {kind} (Pillow's mode {image.mode}), whose "
            "range is not known: convert it to 8 bits"
        )
    tags = getattr(image, "tag_v2", {})  # Only a TIFF has them, and a turned copy of it has none.
    turn_back = None if upright else _BACK_AS_STORED.get(tags.get(_ORIENTATION_TAG, 1))
    shown = ImageOps.exif_transpose(image) if upright else image
    if turn_back is not None:  # Pillow turns a TIFF upright while it reads the pixels.
        shown = shown.transpose(turn_back)
    if is_16_bit:
        # Pillow's own conversion clips at 255. Values of a 12-bit TIFF lie in the lower twelve bits.
        (bits, *_) = tags.get(_TIFF_BITS_TAG, (16,))
        values = (np.asarray(shown) >> (bits - 8)).astype(np.uint8)
        is_inverted = tags.get(_TIFF_COLORS_TAG) == _TIFF_WHITE_IS_ZERO
        shown = Image.fromarray(255 - values if is_inverted else values)
    return shown.convert("RGB")


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
