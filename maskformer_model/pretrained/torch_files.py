"""Files written by `torch.save`, old (several pickles in a row) and new (a zip), read with numpy alone.

Only tensors, numbers, strings and containers are read (see `restricted_pickle`); a tensor is checked to lie inside its
storage and is copied out of it. bfloat16 widens to float32.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import pickle
import zipfile
from typing import IO, Any

import numpy as np

from maskformer_model.pretrained.restricted_pickle import RestrictedUnpickler, UnsafePickleError, replace_leaves

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_BFLOAT16 = "bfloat16"
_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclasses.dataclass
class _Storage:
    """A run of numbers in the file, named by `key`; `values` is filled once its bytes are read."""

    dtype: str
    key: str
    num_values: int
    values: np.ndarray | None = None

    @property
    def num_bytes(self) -> int:
        return self.num_values * (2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize)

    def fill(self, data: bytes) -> None:
        if len(data) != self.num_bytes:
            raise ValueError(f"Storage {self.key!r} must hold {self.num_bytes} bytes. Received: {len(data)}")
        if self.dtype == _BFLOAT16:
            self.values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            self.values = np.frombuffer(data, self.dtype)


@dataclasses.dataclass
class _Tensor:
    """A strided view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        values = self.storage.values
        if values is None:
            raise ValueError(f"The file holds no storage {self.storage.key!r}.")
        num_values = math.prod(self.shape)
        if num_values == 0:
            return np.zeros(self.shape, values.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or last >= values.size or num_values > values.size:
            raise ValueError(f"A tensor must lie inside its storage of {values.size} values. Received: {self}")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False).copy()


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_flags: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UnsafePickleError(f"A tensor must refer to a storage. Received: {type(storage)}")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _rebuild_parameter(tensor: _Tensor, *_flags: Any) -> _Tensor:
    return tensor


def _torch_globals() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }
    return table | {("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()}


class _StorageTable:
    """Every storage that a pickle refers to, by key."""

    def __init__(self, file_bytes: int):
        self.storages: dict[str, _Storage] = {}
        self._file_bytes = file_bytes

    def load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, num_values, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise UnsafePickleError(f"A checkpoint may refer to plain storages only. Received: {pid!r}")
        storage = self.storages.setdefault(str(key), _Storage(dtype, str(key), int(num_values)))
        if not 0 <= storage.num_bytes <= self._file_bytes or storage.dtype != dtype:
            raise ValueError(f"Storage {key!r} of {num_values} values does not fit into the file.")
        return storage


def read_torch_file(path: str) -> Any:
    """Reads a file written by `torch.save`.

    Args:
        path: A `.pth`, `.pt` or `.bin` file, legacy or zip.

    Returns:
        The containers as they were written, with numpy arrays for tensors.

    Raises:
        UnsafePickleError: if the file asks for anything else than tensors, numbers, strings and containers.
        ValueError: if the file is no such file, is cut off, or a tensor reaches beyond its storage.
    """
    table = _StorageTable(os.path.getsize(path))
    read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
    with open(path, "rb") as file:
        try:
            content = read(file, table)
        except (pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"Not a PyTorch file: {path} ({error})") from error
    return replace_leaves(content, _Tensor, _Tensor.array)


def _read_zip(file: IO[bytes], table: _StorageTable) -> Any:
    with zipfile.ZipFile(file) as archive:
        entry = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
        if entry is None:
            raise ValueError("A zip written by PyTorch must contain `data.pkl`.")
        folder = entry[: -len("data.pkl")]
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("A PyTorch file must be little-endian.")
        with archive.open(entry) as pickled:
            content = RestrictedUnpickler(pickled, _torch_globals(), table.load).load()
        for key, storage in table.storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return content


def _read_legacy(file: IO[bytes], table: _StorageTable) -> Any:
    magic, protocol, _system = (RestrictedUnpickler(file, {}).load() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ValueError(f"Not a PyTorch file of version {_LEGACY_PROTOCOL}. Received: {magic!r}, {protocol!r}")
    content = RestrictedUnpickler(file, _torch_globals(), table.load).load()
    for key in RestrictedUnpickler(file, {}).load():
        storage = table.storages[key]
        num_values = int.from_bytes(file.read(8), "little", signed=True)
        if num_values != storage.num_values:
            raise ValueError(f"Storage {key!r} must hold {storage.num_values} values. Received: {num_values}")
        storage.fill(file.read(storage.num_bytes))
    return content
