"""Checks whether the compressed data of a JPEG file are whole.

A JPEG decoder continues where data are missing: it fills the rest with gray, or shows what zeros happen to mean. A file
that was cut and closed with an end marker, whose middle was overwritten, or whose header states another size than its
data have, decodes without an error. libjpeg notices most of this and warns. This module asks for the warnings, with a
decoding at an eighth of the size. It also looks for two things that libjpeg cannot notice: zeros after which the codes
happen to meet again, and a progressive file that was cut between two of its scans.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg

_ZEROS = bytes(24)
_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_TABLES, _SCAN = 0xC4, 0xDA
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COLORSPACES = ("GRAY", "CMYK")


class _Segment(NamedTuple):
    """A marker with its content; `end` is where it ends in the file."""

    marker: int
    content: bytes
    end: int


def jpeg_problem(jpeg: bytes) -> str:
    """Says what is wrong with the data of a JPEG file that a decoder accepts; empty if nothing is.

    Args:
        jpeg: A whole file.
    """
    for colorspace in _COLORSPACES:  # Four colours cannot be had as gray.
        try:
            simplejpeg.decode_jpeg(jpeg, colorspace=colorspace, min_height=1, min_width=1, min_factor=8, strict=True)
            break
        except ValueError as error:
            if "unsupported" not in str(error).lower():
                return str(error)
    head = list(itertools.takewhile(lambda segment: segment.marker != _SCAN, _segments(jpeg)))
    kinds = {segment.marker for segment in head}
    if _PROGRESSIVE in kinds:
        return _problem_of_scans(jpeg)
    return _problem_of_zeros(jpeg, head) if kinds.intersection(_BASELINE) else ""


def _segments(jpeg: bytes) -> Iterator[_Segment]:
    position = 2
    while found := _NEXT_MARKER.search(jpeg, position):
        position = found.end()
        if found.group()[1] in (0x01, 0xD8, 0xD9) or position + 2 > len(jpeg):
            continue
        end = position + struct.unpack_from(">H", jpeg, position)[0]
        yield _Segment(found.group()[1], jpeg[position + 2 : end], end)
        position = end


def _problem_of_zeros(jpeg: bytes, head: list[_Segment]) -> str:
    """Finds a stretch of zeros that is no picture, for its codes do not all mean "no change"."""
    zeros = jpeg.find(_ZEROS, head[-1].end + 2)
    # Flat pictures with tables of their own are zeros, where both kinds of code begin with "nothing".
    tables = [segment.content for segment in head if segment.marker == _TABLES]
    if zeros < 0 or not any(symbol for table in tables for symbol in _first_symbols(table)):
        return ""
    return f"a stretch of zeros from byte {zeros} on"


def _first_symbols(content: bytes) -> Iterator[int]:
    """Returns what a code of zeros means in each Huffman table of a segment."""
    position = 0
    while position + 17 < len(content):
        yield content[position + 17]
        position += 17 + sum(content[position + 1 : position + 17])


def _problem_of_scans(jpeg: bytes) -> str:
    """Finds coefficients of a progressive file that no scan brings to their last bit."""
    missing_bits: dict[int, list[int]] = {}
    for marker, content, _ in _segments(jpeg):
        if marker == _PROGRESSIVE:
            missing_bits = {component: [16] * 64 for component in content[6::3]}
        elif marker == _SCAN:
            first, last, bits = content[-3], content[-2], content[-1] & 15
            for component in content[1 : 1 + 2 * content[0] : 2]:
                missing_bits[component][first : last + 1] = [bits] * (last + 1 - first)
    return "scans are missing at its end" if any(any(bits) for bits in missing_bits.values()) else ""
