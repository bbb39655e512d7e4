"""Reads and writes panoptic PNG files: segment ids as colours, id = R + 256 G + 65536 B (the COCO panoptic format).

An 8-bit RGB PNG without transparency is the only form that carries ids unharmed, so every other form is refused from
the file's header, before any pixel is decoded. What the ids mean is in the json beside the PNG and not known here.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

MAX_SEGMENT_ID = 256**3 - 1
VOID_SEGMENT_ID = 0

_MAX_PIXELS = 178_956_970  # Pillow's own limit against files that claim to be huge.
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    # Pillow's decoder writes each RGB pixel into four bytes of ours: the id, and 255 on top, which makes it negative.
    # Going by way of an opened image would copy all of it three times, and cost as much again as the decoding.
    segment_ids = np.empty((height_px, width_px), "<i4")
    try:
        compressed, is_interlaced = _compressed_pixels(png_bytes)
        written_last = segment_ids if is_interlaced else segment_ids[-1]
        written_last.fill(0)
        image = Image.frombuffer("RGBX", (width_px, height_px), segment_ids, "raw", "RGBX", 0, 1)
        image.frombytes(compressed, "zip", "RGB", is_interlaced)
        # The decoder stops without a word where the compressed data ends before the last row.
        if (written_last >= 0).any():
            raise ValueError("not enough image data")
    except (ValueError, struct.error) as error:
        raise ValueError(f"A panoptic PNG must be a whole PNG file. Received one that fails with: {error}") from error
    np.bitwise_and(segment_ids, MAX_SEGMENT_ID, out=segment_ids)
    return segment_ids.astype(np.int32, copy=False)


def _compressed_pixels(png_bytes: bytes) -> tuple[bytes, int]:
    """Returns the data of all IDAT chunks, and 1 if the pixels are interlaced; raises where the file is not whole."""
    parts: list[bytes] = []
    position = len(_SIGNATURE)
    while True:
        length, kind = struct.unpack_from(">I4s", png_bytes, position)
        content = png_bytes[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", png_bytes, position + 8 + length)
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise ValueError(f"the checksum of the chunk {kind!r} at byte {position} is wrong")
        if kind == b"IEND":
            return b"".join(parts), png_bytes[28]  # The last byte of the header.
        if kind == b"IDAT":
            parts.append(content)
        elif kind[:1].isupper() and kind not in (b"IHDR", b"PLTE"):
            raise ValueError(f"the chunk {kind!r} at byte {position} must be understood, and is not")
        position += 12 + length


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
