"""Reads and writes panoptic PNG files: segment ids as colours, id = R + 256 G + 65536 B (the COCO panoptic format).

An 8-bit RGB PNG without transparency is the only form that carries ids unharmed, so every other form is refused from
the file's header, before any pixel is decoded. What the ids mean is in the json beside the PNG and not known here.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pyspng
from PIL import Image

MAX_SEGMENT_ID = 256**3 - 1
VOID_SEGMENT_ID = 0

_MAX_PIXELS = 178_956_970  # Pillow's own limit against files that claim to be huge.
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KNOWN_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_COLOR_TYPES = {0: "grayscale", 2: "RGB", 3: "palette", 4: "grayscale with alpha", 6: "RGB with alpha"}


def rgb_to_segment_ids(rgb: np.ndarray) -> np.ndarray:
    """Turns colours into segment ids.

    Args:
        rgb: `[height, width, 3]` uint8.

    Returns:
        `[height, width]` int32 in 0..2**24-1, 0 = void.

    Raises:
        ValueError: if `rgb` has another shape or dtype.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"`rgb` must be uint8 [height, width, 3]. Received: {rgb.dtype} {list(rgb.shape)}")
    channels = rgb.astype(np.int32)
    return channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]


def segment_ids_to_rgb(segment_ids: np.ndarray) -> np.ndarray:
    """Turns segment ids into colours; the inverse of `rgb_to_segment_ids`.

    Args:
        segment_ids: `[height, width]` integers in 0..2**24-1.

    Returns:
        `[height, width, 3]` uint8.

    Raises:
        ValueError: if `segment_ids` is not two-dimensional, not integer, or has an id outside 24 bits.
    """
    if segment_ids.ndim != 2 or not np.issubdtype(segment_ids.dtype, np.integer):
        raise ValueError(
            f"`segment_ids` must be integer [height, width]. Received: {segment_ids.dtype} {list(segment_ids.shape)}"
        )
    if segment_ids.size and not (segment_ids.min() >= 0 and segment_ids.max() <= MAX_SEGMENT_ID):
        raise ValueError(
            f"`segment_ids` must be in 0..{MAX_SEGMENT_ID}. Received: {segment_ids.min()}..{segment_ids.max()}"
        )
    return np.stack([segment_ids & 255, (segment_ids >> 8) & 255, (segment_ids >> 16) & 255], axis=-1).astype(np.uint8)


def panoptic_png_size(png_bytes: bytes) -> tuple[int, int]:
    """Reads `(height_px, width_px)` from the header of a panoptic PNG, without decoding it.

    Raises:
        ValueError: if the bytes are not a PNG, or one of another form than 8-bit RGB.
    """
    if len(png_bytes) < 33 or png_bytes[:8] != _SIGNATURE or png_bytes[12:16] != b"IHDR":
        raise ValueError(f"A panoptic PNG must begin with a PNG header. Received: {png_bytes[:16]!r}")
    width_px, height_px, bit_depth, color_type = struct.unpack(">IIBB", png_bytes[16:26])
    if (bit_depth, color_type) != (8, 2):
        form = _COLOR_TYPES.get(color_type, f"colour type {color_type}")
        raise ValueError(f"A panoptic PNG must be 8-bit RGB. Received: {bit_depth}-bit {form}")
    return height_px, width_px


def decode_panoptic_png(png_bytes: bytes) -> np.ndarray:
    """Decodes a panoptic PNG.

    Args:
        png_bytes: a whole file.

    Returns:
        `[height, width]` int32 segment ids, 0 = void.

    Raises:
        ValueError: if the bytes are not a whole 8-bit RGB PNG.
    """
    height_px, width_px = panoptic_png_size(png_bytes)
    if not 0 < height_px * width_px <= _MAX_PIXELS:
        raise ValueError(f"A panoptic PNG must have 1 to {_MAX_PIXELS} pixels. Received: {height_px} x {width_px}")
    try:
        _require_whole(png_bytes)
        rgba = pyspng.load(png_bytes, format="RGBA")
    except (ValueError, struct.error, RuntimeError) as error:
        raise ValueError(f"A panoptic PNG must be a whole PNG file. Received one that fails with: {error}") from error
    # Read as one number, the four bytes of a pixel are the id, and its opacity on top of it.
    segment_ids = rgba.view("<i4")[..., 0]
    np.bitwise_and(segment_ids, MAX_SEGMENT_ID, out=segment_ids)
    return segment_ids.astype(np.int32, copy=False)


def _require_whole(png_bytes: bytes) -> None:
    """Raises where a chunk is cut off, has a wrong checksum, or must be understood and is not."""
    position = len(_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", png_bytes, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", png_bytes, end)
        if zlib.crc32(memoryview(png_bytes)[position + 4 : end]) != checksum:  # pyspng passes over checksums.
            raise ValueError(f"the checksum of the chunk {kind!r} at byte {position} is wrong")
        if kind[:1].isupper() and kind not in _KNOWN_CHUNKS:
            raise ValueError(f"the chunk {kind!r} at byte {position} must be understood, and is not")
        position = end + 4


def encode_panoptic_png(segment_ids: np.ndarray) -> bytes:
    """Encodes segment ids as a panoptic PNG; the inverse of `decode_panoptic_png`.

    Args:
        segment_ids: `[height, width]` integers in 0..2**24-1, at least one pixel.

    Returns:
        A whole PNG file.

    Raises:
        ValueError: as `segment_ids_to_rgb`, or if there is no pixel.
    """
    if not segment_ids.size:
        raise ValueError(f"`segment_ids` must have at least one pixel. Received shape: {list(segment_ids.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(segment_ids_to_rgb(segment_ids)).save(buffer, format="PNG")
    return buffer.getvalue()


def segment_extents(segment_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measures every segment of a map.

    Args:
        segment_ids: `[height, width]` integers, at least one pixel; 0 = void.

    Returns:
        The ids that occur, ascending, without void: `[segments]`; their areas in px: `[segments]` int64; the x, y,
        width and height of their pixels: `[segments, 4]` int64.
    """
    # A map has far fewer runs of equal ids along its rows than pixels, so all sorting is done on the runs.
    starts_run = np.ones(segment_ids.shape, dtype=bool)
    starts_run[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    starts = np.flatnonzero(starts_run)
    lengths = np.diff(starts, append=segment_ids.size)
    run_ids = segment_ids.ravel().take(starts)
    # Stable, so that the runs of a segment stay in the order of their rows.
    order = np.argsort(run_ids, kind="stable")
    run_ids, starts, lengths = run_ids.take(order), starts.take(order), lengths.take(order)
    firsts = np.flatnonzero(np.append(True, run_ids[1:] != run_ids[:-1]))
    lasts = np.append(firsts[1:], run_ids.size) - 1
    rows, lefts = np.divmod(starts, segment_ids.shape[1])
    ids, areas = run_ids.take(firsts), np.add.reduceat(lengths, firsts)
    left, right = np.minimum.reduceat(lefts, firsts), np.maximum.reduceat(lefts + lengths, firsts)
    top, bottom = rows.take(firsts), rows.take(lasts) + 1
    boxes = np.stack([left, top, right - left, bottom - top], axis=-1)
    present = ids != VOID_SEGMENT_ID
    return ids[present], areas[present], boxes[present]
