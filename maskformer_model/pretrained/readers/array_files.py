"""Reads `.npz` and `.safetensors` files with numpy alone; what they announce is compared with their size first."""

from __future__ import annotations

import json
import math
import os
import reprlib
import struct
import zipfile
from typing import IO, Any

import numpy as np

from maskformer_model.pretrained.readers.restricted_pickle import DAMAGE
from maskformer_model.pretrained.readers.whole_file import Budget
from maskformer_model.pretrained.readers.zip_parts import require_separate_parts

_MAX_HEADER_BYTES = 32 * 2**20
_BFLOAT16 = "BF16"
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    _BFLOAT16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file written by `numpy.savez` or `numpy.savez_compressed`.

    Raises:
        ValueError: if it is no such file, is cut off, holds objects, or would grow far beyond its size.
    """
    with open(path, "rb") as file:
        budget = Budget.of_file(file)
        try:
            with zipfile.ZipFile(file) as archive:
                require_separate_parts(archive, may_be_deflated=True)
                return {
                    part.filename.removesuffix(".npy"): _read_npy(archive, part, budget) for part in archive.infolist()
                }
        except DAMAGE as error:
            raise ValueError(f"Not a file of arrays (.npz), or cut off: {path} ({error})") from error


def _read_npy(archive: zipfile.ZipFile, part: zipfile.ZipInfo, budget: Budget) -> np.ndarray:
    budget.spend(part.file_size)
    with archive.open(part) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
        if dtype.hasobject or dtype.kind not in "biuf":
            raise ValueError(f"A checkpoint's arrays must hold numbers. Received the type {dtype} of {part.filename}")
        data = stream.read(part.file_size)
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{part.filename} announces an array of {shape} and holds {len(data)} bytes.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a file in Hugging Face's format; bfloat16 widens to float32.

    Raises:
        ValueError: if it is no such file, is cut off, or its arrays overlap.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            entries, start = _safetensors_header(file, size)
            return _safetensors_arrays(file, entries, start, size)
        except (*DAMAGE, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"Not a safetensors file, or cut off: {path} ({error})") from error


def _safetensors_header(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    (header_bytes,) = struct.unpack("<Q", file.read(8))
    if header_bytes > min(size - 8, _MAX_HEADER_BYTES):
        raise EOFError(f"its header announces {header_bytes} bytes, the file has {size}")
    entries = json.loads(file.read(header_bytes))
    entries.pop("__metadata__", None)
    return entries, 8 + header_bytes


def _safetensors_arrays(file: IO[bytes], entries: dict[str, Any], start: int, size: int) -> dict[str, np.ndarray]:
    arrays, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if dtype not in _DTYPES:
            raise ValueError(
                f"`{name}` must be of one of the types {', '.join(_DTYPES)}. Received: {reprlib.repr(dtype)}"
            )
        if first != end or any(not isinstance(axis, int) or axis < 0 for axis in shape):
            raise ValueError(f"`{name}` must begin where the array before it ends. Received: {reprlib.repr(entry)}")
        if last - first != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
            raise ValueError(f"`{name}` must have the bytes of its shape. Received: {reprlib.repr(entry)}")
        if last > size - start:
            raise EOFError(f"it announces {start + last} bytes and has {size}")
        file.seek(start + first)
        values = np.frombuffer(file.read(last - first), _DTYPES[dtype])
        if dtype == _BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        arrays[name], end = values.reshape(shape), last
    return arrays
