"""Writes a safetensors file by its format alone, without the package of that name, which only some users have."""

from __future__ import annotations

import json
import pathlib
import struct
from collections.abc import Mapping

import numpy as np


def write_safetensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as float32: the header's length, the header, and the bytes one after the other."""
    entries, data = {}, b""
    for name, array in arrays.items():
        entries[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + 4 * array.size],
        }
        data += array.astype("<f4").tobytes()
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
