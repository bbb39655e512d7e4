"""Pickles that may hold numbers and nothing else: read without ever running what the file asks for.

A pickle is a program. Only the names in a given table are looked up, and each stands for a small class or function of
this module that copies bytes into an array: neither numpy's nor PyTorch's own unpickling code runs. Files of PyTorch
are read by `torch_files`, which has a table of its own.

A list of numpy's own names would be shorter and not safe: `numpy.dtype` believes what a pickle says about its fields
and flags, so a file can pass its bytes off as an array of Python objects, and reading such an array follows addresses
that the file has chosen (numpy 2.4 crashes there). A test holds such a file.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

Globals = Mapping[tuple[str, str], Any]


class UnsafePickleError(ValueError):
    """A pickle asked for something that is not an array, a number, a string or a container of them."""


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names of one table only.

    Args:
        file: The open binary file.
        allowed: `(module, name)` -> what stands for it.
        load_storage: Answers persistent ids (PyTorch's storages); without it any of them is refused.

    Raises:
        UnsafePickleError: from `load`, at the first name that is not in the table, naming it.
    """

    def __init__(self, file: IO[bytes], allowed: Globals, load_storage: Callable[[Any], Any] | None = None):
        super().__init__(file, encoding="latin1")
        self._allowed = allowed
        self._load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"A checkpoint may hold arrays only. This pickle asks for `{module}.{name}` and was not loaded."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        """What an external reference stands for."""
        if self._load_storage is None:
            raise UnsafePickleError(f"A checkpoint may hold arrays only. This pickle refers to {pid!r}.")
        return self._load_storage(pid)


class _PickledDtype:
    """Stands for `numpy.dtype`: a number type and a byte order."""

    def __init__(self, code: str, *_flags: Any):
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in "biuf":
            raise UnsafePickleError(f"A checkpoint's arrays must hold numbers. Received the type: {code!r}")
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _PickledArray:
    """Stands for `numpy.ndarray`; `value` is the array once its state is read."""

    def __init__(self, *_arguments: Any):
        self.value = np.zeros(0, np.float32)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, data = state
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data: Any, dtype: _PickledDtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    if isinstance(data, str):  # Python 2 wrote bytes as a string.
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, _PickledDtype) or order not in ("C", "F"):
        raise UnsafePickleError("A checkpoint's arrays must be given as bytes of one number type.")
    flat = np.frombuffer(data, dtype.dtype)
    native = flat.astype(flat.dtype.newbyteorder("="))
    return native.reshape(shape, order="F" if order == "F" else "C")


def _array_from_buffer(data: Any, dtype: _PickledDtype, shape: tuple[int, ...], order: str) -> _PickledArray:
    array = _PickledArray()
    array.value = _array(data, dtype, shape, order)
    return array


def _scalar(dtype: _PickledDtype, data: Any) -> Any:
    return _array(data, dtype, (), "C").item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"Pickled bytes must be encoded as latin1. Received: {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _numpy_globals() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _encode,
        ("__builtin__", "bytes"): _empty_bytes,  # How old protocols write an empty array's data.
        ("numpy", "ndarray"): _PickledArray,
        ("numpy", "dtype"): _PickledDtype,
    }
    for package in ("numpy.core", "numpy._core"):
        table[f"{package}.multiarray", "_reconstruct"] = _PickledArray
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
        ValueError: if the file is not a pickle.
    """
    with open(path, "rb") as file:
        try:
            content = RestrictedUnpickler(file, _numpy_globals()).load()
        except (pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"Not a pickle of arrays: {path} ({error})") from error
    return replace_leaves(content, _PickledArray, lambda array: array.value)


def replace_leaves(content: Any, kind: type, replace: Callable[[Any], Any]) -> Any:
    """A copy of nested dicts, lists and tuples in which every `kind` gave way to `replace(it)`."""
    if isinstance(content, kind):
        return replace(content)
    if isinstance(content, dict):
        return {key: replace_leaves(value, kind, replace) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(replace_leaves(item, kind, replace) for item in content)
    return content
