"""The size that a JPEG or PNG file claims, and whether its data can hold that many pixels; nothing is decoded.

A decoder takes memory and time for the pixels that a header claims, whatever follows. Huffman coding spends at least a
bit on each block of 8 x 8 px, and deflate shrinks to no less than a 1032nd: a file with less data than that for its
pixels lies about its size or is cut off. Only what the formats call image data counts; comments, profiles and bytes
after the end of the photo do not.
"""

from __future__ import annotations

import dataclasses
import re

_JPEG_SIGNATURE, _PNG_SIGNATURE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_JPEG_PIXELS_PER_BYTE = 512  # Eight blocks of 64 px, a bit each, as a progressive file's first scan can have.
_DEFLATE_RATIO = 1032
_MAX_SEGMENTS = 10_000  # A file with more is made to be slow to read.

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xff]")  # Decoders pass over anything that stands before one.
# Inside a scan 0xFF is followed by zero, by a restart marker or by another 0xFF.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # By color type.


@dataclasses.dataclass(frozen=True)
class PhotoHeader:
    """The format and size that a photo's header states.

    Attributes:
        height_px: The height that the header claims.
        width_px: The width that the header claims, at least 0.
        data_bytes: How many bytes of image data follow.
        max_pixels: The largest number of pixels that so many bytes can hold.
    """

    height_px: int
    width_px: int
    data_bytes: int
    max_pixels: int

    @property
    def pixels(self) -> int:
        """Returns height times width."""
        return self.height_px * self.width_px

    @property
    def is_plausible(self) -> bool:
        """Returns whether the data can hold the pixels."""
        return self.pixels <= self.max_pixels

    def doubt(self) -> str:
        """Returns what is not plausible, in words."""
        return (
            f"Received one that claims {self.height_px} x {self.width_px} px, and has {self.data_bytes} bytes of image "
            f"data, enough for {self.max_pixels} px at most: it is cut off, or its header is wrong"
        )


def read_header(file_bytes: bytes) -> PhotoHeader | None:
    """Reads the header of a JPEG or PNG file.

    Returns:
        None for what is neither, or is damaged before its size is said. A decoder says what is wrong with it.
    """
    if file_bytes.startswith(_JPEG_SIGNATURE):
        return _jpeg_header(file_bytes)
    if file_bytes.startswith(_PNG_SIGNATURE):
        return _png_header(file_bytes)
    return None


def _jpeg_header(file_bytes: bytes) -> PhotoHeader | None:
    size_px: tuple[int, int] | None = None
    data_bytes, at = 0, 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(file_bytes, at)
        if not found or found.end() + 2 > len(file_bytes):
            break
        at, marker = found.end() - 2, file_bytes[found.end() - 1]
        if marker == _END_OF_IMAGE:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # Markers without a segment.
            at += 2
            continue
        end = at + 2 + int.from_bytes(file_bytes[at + 2 : at + 4])
        if marker in _START_OF_FRAME and size_px is None and at + 9 <= len(file_bytes):
            size_px = int.from_bytes(file_bytes[at + 5 : at + 7]), int.from_bytes(file_bytes[at + 7 : at + 9])
        if marker == _START_OF_SCAN:
            found = _NEXT_MARKER.search(file_bytes, end)
            start, end = end, found.start() if found else len(file_bytes)
            # Repeated 0xFF are padding wherever they stand.
            data_bytes += max(0, end - start - 2 * file_bytes.count(b"\xff\xff", start, end))
        at = end
    if size_px is None:
        return None
    return PhotoHeader(*size_px, data_bytes, _JPEG_PIXELS_PER_BYTE * data_bytes)


def _png_header(file_bytes: bytes) -> PhotoHeader | None:
    if len(file_bytes) < 33 or file_bytes[12:16] != b"IHDR":
        return None
    width_px, height_px = int.from_bytes(file_bytes[16:20]), int.from_bytes(file_bytes[20:24])
    bits_per_pixel = file_bytes[24] * _PNG_CHANNELS.get(file_bytes[25], 1)
    data_bytes, at = 0, 8
    for _ in range(_MAX_SEGMENTS):
        length, name = int.from_bytes(file_bytes[at : at + 4]), file_bytes[at + 4 : at + 8]
        if len(name) < 4 or name == b"IEND":
            break
        if name == b"IDAT":
            data_bytes += min(length, max(0, len(file_bytes) - at - 8))
        at += 12 + length
    max_pixels = _DEFLATE_RATIO * data_bytes * 8 // max(1, bits_per_pixel)
    return PhotoHeader(height_px, width_px, data_bytes, max_pixels)
