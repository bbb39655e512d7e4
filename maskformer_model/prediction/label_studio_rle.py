"""Packs and unpacks the run lengths of Label Studio's brush: a bit stream of an RGBA picture, whose alpha is the mask.

The stream begins with the number of values (32 bits), the size of a value less one (5 bits) and four sizes of run
lengths less one (4 bits each). Then come blocks: one bit says whether one value repeats or values follow each other,
two bits which of the four sizes its length has, then its length less one, then the value or the values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_LENGTH_BITS = (3, 6, 10, 16)
_CHANNELS = 4


def pack_mask(mask: np.ndarray) -> list[int]:
    """Returns the bytes of a mask as Label Studio's json lists them.

    Args:
        mask: `[height, width]` bool.
    """
    flat = np.asarray(mask, bool).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = [0, *edges.tolist()] if flat.size else []
    lengths = np.diff([*starts, flat.size]).tolist()
    pieces = [f"{_CHANNELS * flat.size:032b}", f"{7:05b}", *(f"{bits - 1:04b}" for bits in _LENGTH_BITS)]
    for start, length in zip(starts, lengths, strict=True):
        value = f"{255 if flat[start] else 0:08b}"
        left = _CHANNELS * length
        while left:
            piece = min(left, 1 << _LENGTH_BITS[-1])
            place = next(i for i, bits in enumerate(_LENGTH_BITS) if piece <= 1 << bits)
            pieces.append(f"1{place:02b}{piece - 1:0{_LENGTH_BITS[place]}b}{value}")
            left -= piece
    stream = "".join(pieces)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def unpack_mask(values: Iterable[int], size_px: tuple[int, int]) -> np.ndarray:
    """Returns the mask of packed bytes: `[height, width]` bool.

    Raises:
        ValueError: if the bytes are truncated, or of a picture of another size.
    """
    packed = bytes(values)
    stream = f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}" if packed else ""
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        if place > len(stream):
            raise ValueError(f"Label Studio's run lengths are truncated after {len(packed)} bytes.")
        return int(stream[place - size : place], 2)

    count, value_bits = read(32), read(5) + 1
    if count != _CHANNELS * size_px[0] * size_px[1]:
        raise ValueError(f"Label Studio's run lengths must be of {size_px} px in RGBA. Received {count} values.")
    length_bits = [read(4) + 1 for _ in range(4)]
    pixels = np.zeros(count, np.uint8)
    start = 0
    while start < count:
        repeats = read(1)
        end = start + 1 + read(length_bits[read(2)])
        if repeats:
            pixels[start:end] = read(value_bits)
        else:
            pixels[start:end] = [read(value_bits) for _ in range(start, end)]
        start = end
    return pixels.reshape(*size_px, _CHANNELS)[:, :, -1] > 0
