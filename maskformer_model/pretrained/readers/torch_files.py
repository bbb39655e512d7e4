"""Files written by `torch.save`, old (several pickles in a row) and new (a zip), read with numpy alone.

Only tensors, numbers, strings and containers are read (see `restricted_pickle`); a tensor is checked to lie inside its
storage and is copied out of it. bfloat16 widens to float32.
"""

from __future__ import annotations

import dataclasses
import io
import math
import reprlib
import zipfile
from typing import IO, Any

import numpy as np

from maskformer_model.pretrained.readers.pickle_instructions import BoundedFile, UnsafePickleError
from maskformer_model.pretrained.readers.restricted_pickle import (
    DAMAGE,
    PickledArray,
    RestrictedUnpickler,
    numpy_globals,
    replace_leaves,
)
from maskformer_model.pretrained.readers.whole_file import Budget
from maskformer_model.pretrained.readers.zip_parts import require_separate_parts

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_AXES = 32
_LARGEST = 2**62
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
# Settings of a training that its checkpoints hold beside the weights: nothing of them is kept, and none of their code
# runs.
_UNUSED = (
    ("argparse", "Namespace"),
    ("collections", "Counter"),  # The milestones of a `MultiStepLR`.
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib._local", "PosixPath"),  # As Python 3.13 calls it.
    ("torch", "Size"),
    ("torch", "device"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
)


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

    def array(self, budget: Budget) -> np.ndarray:
        values = self.storage.values
        if values is None:
            raise ValueError(f"The file holds no storage {self.storage.key!r}.")
        num_values = math.prod(self.shape)
        if num_values == 0:
            return np.zeros(self.shape, values.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides)) < 0 or last >= values.size or num_values > values.size:
            raise ValueError(f"A tensor must lie inside its storage of {values.size} values. Received: {self}")
        budget.spend(num_values * values.itemsize)
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False).copy()


class _Unused(dict[Any, Any]):
    """Stands for an object that is not kept."""

    def __init__(self, *_arguments: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_flags: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UnsafePickleError(f"A tensor must refer to a storage. Received: {type(storage)}")
    for axes in (shape, strides):
        if not isinstance(axes, tuple) or len(axes) > _MAX_AXES:
            raise ValueError(f"A tensor must have at most {_MAX_AXES} axes. Received: {reprlib.repr(axes)}")
    for number in (offset, *shape, *strides):
        if not isinstance(number, int) or abs(number) >= _LARGEST:
            raise ValueError(f"A tensor must lie inside its storage. Received: {reprlib.repr(number)}")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: _Tensor, *_flags: Any) -> _Tensor:
    return tensor


def _torch_globals(budget: Budget) -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = numpy_globals(budget) | {
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    }
    table |= dict.fromkeys(_UNUSED, _Unused)
    return table | {("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()}


class _StorageTable:
    """Every storage that a pickle refers to, by key."""

    def __init__(self, file_bytes: int):
        self.storages: dict[str, _Storage] = {}
        self._file_bytes = file_bytes

    def load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6 or any(part is not None for part in pid[5:]):
            raise UnsafePickleError(f"A checkpoint may refer to plain storages only. Received: {reprlib.repr(pid)}")
        kind, dtype, key, _location, num_values = pid[:5]
        is_plain = kind == "storage" and isinstance(dtype, str) and dtype in _STORAGE_DTYPES.values()
        if not is_plain or not isinstance(key, (str, int)) or not isinstance(num_values, int):
            raise UnsafePickleError(f"A checkpoint may refer to plain storages only. Received: {reprlib.repr(pid)}")
        storage = self.storages.setdefault(str(key), _Storage(dtype, str(key), num_values))
        if not 0 <= storage.num_bytes <= self._file_bytes or storage.dtype != dtype:
            raise ValueError(f"Storage {reprlib.repr(key)} of {num_values} values does not fit into the file.")
        return storage


def read_torch_file(path: str) -> Any:
    """Reads a file written by `torch.save`.

    Args:
        path: A `.pth`, `.pt`, `.bin` or `.ckpt` file, legacy or zip.

    Returns:
        The containers as they were written, with numpy arrays for tensors.

    Raises:
        UnsafePickleError: if the file asks for anything else than tensors, numbers, strings and containers.
        ValueError: if the file is no such file, is cut off, would grow far beyond its size, or a tensor reaches beyond
            its storage.
    """
    with open(path, "rb") as file:
        budget = Budget.of_file(file)
        is_zip = file.read(2) == b"PK"
        file.seek(0)
        try:
            content = (_read_zip if is_zip else _read_legacy)(file, budget)
            return replace_leaves(content, (_Tensor, PickledArray), lambda leaf: leaf.array(budget))
        except DAMAGE as error:
            raise ValueError(f"Not a PyTorch file, or cut off: {path} ({error})") from error


def _read_zip(file: IO[bytes], budget: Budget) -> Any:
    table = _StorageTable(budget.file_bytes)
    with zipfile.ZipFile(file) as archive:
        require_separate_parts(archive, may_be_deflated=False)  # PyTorch does not compress.
        entry = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
        if entry is None:
            raise ValueError("A zip written by PyTorch must contain `data.pkl`.")
        folder = entry[: -len("data.pkl")]
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("A PyTorch file must be little-endian.")
        pickled = archive.read(entry)
        content = RestrictedUnpickler(io.BytesIO(pickled), len(pickled), _torch_globals(budget), table.load).load()
        for key, storage in table.storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return content


def _read_legacy(file: IO[bytes], budget: Budget) -> Any:
    table, size = _StorageTable(budget.file_bytes), budget.file_bytes
    magic, protocol, _system = (RestrictedUnpickler(file, size, {}).load() for _ in range(3))
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise ValueError(
            f"Not a PyTorch file of version {_LEGACY_PROTOCOL}. Received: {reprlib.repr(magic)}, "
            f"{reprlib.repr(protocol)}"
        )
    content = RestrictedUnpickler(file, size, _torch_globals(budget), table.load).load()
    data = BoundedFile(file, size)
    for key in RestrictedUnpickler(file, size, {}).load():
        storage = table.storages[key]
        num_values = int.from_bytes(data.read(8), "little", signed=True)
        if num_values != storage.num_values:
            raise ValueError(f"Storage {key!r} must hold {storage.num_values} values. Received: {num_values}")
        storage.fill(data.read(storage.num_bytes))
    return content
