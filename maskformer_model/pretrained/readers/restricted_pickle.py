"""Pickles that may hold numbers and nothing else: read without ever running what the file asks for.

A pickle is a program. Only the names in a given table are looked up, and each stands for a small class or function of
this module that copies bytes into an array: neither numpy's nor PyTorch's own unpickling code runs. Files of PyTorch
are read by `torch_files`, which has a table of its own.

A list of numpy's own names would be shorter and not safe: `numpy.dtype` believes what a pickle says about its fields
and flags, so a file can pass its bytes off as an array of Python objects, and reading such an array follows addresses
that the file has chosen (numpy 2.4 crashes there). A test holds such a file.

Nor may a small file cost much: the instructions are counted, lengths are compared with the file before anything is
allocated, every instruction takes constant time (`pickle_instructions`), and arrays share one `Budget`.
"""

from __future__ import annotations

import pickle
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from maskformer_model.pretrained.readers.pickle_instructions import (
    BoundedFile,
    CountedUnpickler,
    UnsafePickleError,
)
from maskformer_model.pretrained.readers.whole_file import Budget

Globals = Mapping[tuple[str, str], Any]

# What the readers of damaged or foreign files raise.
DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    IndexError,
    KeyError,
    AttributeError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_MAX_DEPTH = 100


class RestrictedUnpickler(CountedUnpickler):
    """An unpickler that knows the names of one table only.

    Args:
        file: The open binary file.
        file_bytes: Its size.
        allowed: `(module, name)` -> what stands for it.
        load_storage: Answers persistent ids (PyTorch's storages); without it any of them is refused.

    Raises:
        UnsafePickleError: from `load`, at the first name that is not in the table, naming it.
    """

    def __init__(
        self, file: IO[bytes], file_bytes: int, allowed: Globals, load_storage: Callable[[Any], Any] | None = None
    ):
        super().__init__(BoundedFile(file, file_bytes), encoding="latin1")
        self._allowed = allowed
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"A checkpoint may hold arrays only. This pickle asks for `{module}.{name}` and was not loaded. "
                "If you trust it, save its weights alone, as a dict of names and tensors"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        """What an external reference stands for."""
        if self._load_storage is None:
            raise UnsafePickleError(f"A checkpoint may hold arrays only. This pickle refers to {reprlib.repr(pid)}.")
        return self._load_storage(pid)


class PlainDict(dict[Any, Any]):
    """Stands for `collections.OrderedDict`; attributes of it, such as PyTorch's `_metadata`, are not kept."""

    def __init__(self, *_arguments: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _PickledDtype:
    """Stands for `numpy.dtype`: a number type and a byte order."""

    def __init__(self, code: str, *_flags: Any):
        dtype = np.dtype(code) if isinstance(code, str) and len(code) < 10 else None
        if dtype is None or dtype.kind not in "biuf":
            raise UnsafePickleError(f"A checkpoint's arrays must hold numbers. Received the type: {reprlib.repr(code)}")
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class PickledArray:
    """Stands for `numpy.ndarray`; `array` makes it once the whole file was read."""

    def __init__(self, *_arguments: Any):
        self._content: tuple[Any, Any, Any, str] = (b"", _PickledDtype("f4"), (0,), "C")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, data = state
        self._content = (data, dtype, shape, "F" if is_fortran else "C")

    def array(self, budget: Budget) -> np.ndarray:
        """Returns the array, in native byte order."""
        data, dtype, shape, order = self._content
        if isinstance(data, str):  # Python 2 wrote bytes as a string.
            budget.spend(len(data))
            data = data.encode("latin1")
        is_known = isinstance(data, (bytes, bytearray)) and isinstance(dtype, _PickledDtype)
        if not is_known or order not in ("C", "F") or not isinstance(shape, tuple):
            raise UnsafePickleError("A checkpoint's arrays must be given as bytes of one number type.")
        budget.spend(len(data))
        flat = np.frombuffer(data, dtype.dtype)
        native = flat.astype(flat.dtype.newbyteorder("="))
        return native.reshape(shape, order="F" if order == "F" else "C")


def _array_from_buffer(data: Any, dtype: _PickledDtype, shape: tuple[int, ...], order: str) -> PickledArray:
    array = PickledArray()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: _PickledDtype, data: Any) -> Any:
    data = data.encode("latin1") if isinstance(data, str) and len(data) <= 16 else data
    if not isinstance(dtype, _PickledDtype) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise UnsafePickleError("A checkpoint's numbers must be given as the bytes of one number.")
    return np.frombuffer(data, dtype.dtype)[0].item()


def _empty_bytes() -> bytes:
    return b""


def numpy_globals(budget: Budget) -> dict[tuple[str, str], Any]:
    """What stands for the names that pickles of numpy arrays ask for."""

    def encode(text: str, encoding: str = "latin1") -> bytes:
        if encoding != "latin1" or not isinstance(text, str):
            raise UnsafePickleError(f"Pickled bytes must be encoded as latin1. Received: {reprlib.repr(encoding)}")
        budget.spend(len(text))
        return text.encode("latin1")

    def ordered_dict(*arguments: Any) -> PlainDict:
        """Python 2 gives the items as one list of pairs."""
        made, items = PlainDict(), arguments[0] if arguments else []
        budget.spend(100 * len(items))
        for key, value in items:
            CountedUnpickler.require_plain_key(key)
            made[key] = value
        return made

    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): ordered_dict,
        ("_codecs", "encode"): encode,
        ("__builtin__", "bytes"): _empty_bytes,  # How old protocols write an empty array's data.
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): _PickledDtype,
    }
    for package in ("numpy.core", "numpy._core"):
        table[f"{package}.multiarray", "_reconstruct"] = PickledArray
        table[f"{package}.multiarray", "scalar"] = _scalar
        table[f"{package}.numeric", "_frombuffer"] = _array_from_buffer
    return table


def read_pickle(path: str) -> Any:
    """Reads a pickle of numpy arrays, such as the published MaskFormer and detectron2 checkpoints.

    Args:
        path: The file.

    Returns:
        The containers as they were written, with numpy arrays in native byte order.

    Raises:
        UnsafePickleError: if the file asks for anything else than arrays, numbers, strings and containers.
        ValueError: if the file is not a pickle, is cut off, or would grow far beyond its size.
    """
    with open(path, "rb") as file:
        budget = Budget.of_file(file)
        try:
            content = RestrictedUnpickler(file, budget.file_bytes, numpy_globals(budget)).load()
            return replace_leaves(content, (PickledArray,), lambda array: array.array(budget))
        except DAMAGE as error:
            raise ValueError(f"Not a pickle of arrays, or cut off: {path} ({error})") from error


def replace_leaves(content: Any, kinds: tuple[type, ...], replace: Callable[[Any], Any]) -> Any:
    """Returns a copy of nested dicts, lists and tuples in which each object of `kinds` gave way to `replace(it)`.

    What is in several places is copied once: a file of some lines can hold 2^40 ways to one list.

    Raises:
        ValueError: if the nesting is deeper than 100, or has no end.
    """
    done: dict[int, Any] = {}

    def copy(item: Any, depth: int) -> Any:
        if not isinstance(item, (dict, list, tuple, *kinds)):
            return item
        if id(item) not in done:
            if depth > _MAX_DEPTH:
                raise ValueError(f"A checkpoint's containers must be nested at most {_MAX_DEPTH} deep.")
            if isinstance(item, kinds):
                done[id(item)] = replace(item)
            elif isinstance(item, dict):
                done[id(item)] = {key: copy(value, depth + 1) for key, value in item.items()}
            elif isinstance(item, (list, tuple)):
                copies = [copy(value, depth + 1) for value in item]
                done[id(item)] = tuple(copies) if isinstance(item, tuple) else copies
        return done[id(item)]

    return copy(content, 0)
