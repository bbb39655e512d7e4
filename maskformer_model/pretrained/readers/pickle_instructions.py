"""An unpickler whose instructions cannot cost more than the file is worth.

Python's own unpickler in C takes what a file says: a length of 2^60 or a memo slot of 2^31 is allocated at once, and a
key of nested tuples is hashed for minutes. The one in Python has an instruction a method, so each of them can be
counted, limited or refused.
"""

from __future__ import annotations

import pickle
import reprlib
import struct
from collections.abc import Callable
from typing import IO, Any

# A checkpoint has tens of thousands; each can allocate some hundred bytes.
MAX_INSTRUCTIONS = 5_000_000
_MAX_ARGUMENTS = 16


class UnsafePickleError(ValueError):
    """A pickle asked for something that is not an array, a number, a string or a container of them."""


class BoundedFile:
    """A binary file of a known size, of which no more is asked for than it holds.

    Args:
        file: The open file.
        file_bytes: Its size.
    """

    def __init__(self, file: IO[bytes], file_bytes: int):
        self._file = file
        self._file_bytes = file_bytes

    def readline(self) -> bytes:
        """Returns the bytes up to the end of the line.

        Raises:
            EOFError: if the line has no end.
        """
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the last line is cut off")
        return line

    def read(self, num_bytes: int) -> bytes:
        """Returns the next bytes.

        Raises:
            EOFError: if there are fewer.
        """
        left = self._file_bytes - self._file.tell()
        if not 0 <= num_bytes <= left:
            raise EOFError(f"the file has {left} bytes left where {num_bytes} are announced")
        return self._file.read(num_bytes)

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; the unpickler wants the method to exist."""
        data = self.read(len(buffer))
        buffer[:] = data
        return len(data)


class CountedUnpickler(pickle._Unpickler):
    """The unpickler written in Python, with an allow-list of instructions that take constant time each.

    Raises:
        UnsafePickleError: from `load`, at an instruction that no file of arrays needs.
        ValueError: from `load`, if there are too many of them.
    """

    num_instructions = 0
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    @staticmethod
    def require_plain_key(key: Any) -> None:
        """Refuses keys other than strings and small numbers: nested tuples share parts and are hashed part by part."""
        is_number = isinstance(key, (bool, float)) or (isinstance(key, int) and abs(key) < 2**64)
        if not (key is None or is_number or isinstance(key, (str, bytes))):
            raise UnsafePickleError(f"A checkpoint's keys must be strings or numbers. Received: {reprlib.repr(key)}")

    def _count(self) -> None:
        self.num_instructions += 1
        if self.num_instructions > MAX_INSTRUCTIONS:
            raise ValueError(f"A checkpoint's pickle must have at most {MAX_INSTRUCTIONS} instructions.")

    def load_setitem(self) -> None:
        """Sets an item of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """Sets several items of a dict."""
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_dict(self) -> None:
        """Makes a dict of what lies above the mark."""
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        self._set_items(made, items)
        self.append(made)

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            raise UnsafePickleError(f"Only a dict has items to set. Received: {reprlib.repr(target)}")
        for position in range(0, len(items), 2):
            self.require_plain_key(items[position])
            target[items[position]] = items[position + 1]

    def load_reduce(self) -> None:
        """Calls what stands for a name."""
        arguments = self._arguments()
        self.stack[-1] = self.stack[-1](*arguments)

    def load_newobj(self) -> None:
        """Makes an object of a class that stands for a name."""
        arguments = self._arguments()
        self.stack[-1] = self.stack[-1](*arguments)

    def _arguments(self) -> tuple[Any, ...]:
        arguments = self.stack.pop()
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise UnsafePickleError(f"A call must have a few arguments. Received: {reprlib.repr(arguments)}")
        return arguments

    def load_build(self) -> None:
        """Gives an object its state."""
        state = self.stack.pop()
        set_state = getattr(self.stack[-1], "__setstate__", None)
        if set_state is None:
            raise UnsafePickleError(f"A checkpoint's objects have no state. Received: {reprlib.repr(self.stack[-1])}")
        set_state(state)

    def load_bytearray8(self) -> None:
        """Reads bytes; Python's own version allocates them before it looks whether they are there."""
        (num_bytes,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(num_bytes)))


_OWN = {
    "SETITEM": CountedUnpickler.load_setitem,
    "SETITEMS": CountedUnpickler.load_setitems,
    "DICT": CountedUnpickler.load_dict,
    "REDUCE": CountedUnpickler.load_reduce,
    "NEWOBJ": CountedUnpickler.load_newobj,
    "BUILD": CountedUnpickler.load_build,
    "BYTEARRAY8": CountedUnpickler.load_bytearray8,
}
_PLAIN = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "PERSID", "BINPERSID"),
)


def _counted(instruction: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(unpickler: Any) -> None:
        unpickler._count()
        instruction(unpickler)

    return run


def _refused(code: int) -> Callable[[Any], None]:
    def refuse(unpickler: Any) -> None:
        raise UnsafePickleError(
            f"A checkpoint may hold arrays only. This pickle has the instruction {bytes([code])!r}."
        )

    return refuse


def _instructions() -> dict[int, Callable[[Any], None]]:
    theirs = pickle._Unpickler.dispatch
    table = {code: _refused(code) for code in theirs}
    table |= {getattr(pickle, name)[0]: _counted(theirs[getattr(pickle, name)[0]]) for name in _PLAIN}
    return table | {getattr(pickle, name)[0]: _counted(method) for name, method in _OWN.items()}


CountedUnpickler.dispatch = _instructions()
