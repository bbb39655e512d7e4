"""Reads a json file's bytes as a strict parser takes them: UTF-8 without a byte-order mark, and no NaN.

Files that people have were written by Windows editors (byte-order mark, UTF-16), by pandas and Python's json (NaN,
which no json has) and by JavaScript that cut a text in the middle of an emoji (half a surrogate).
"""

from __future__ import annotations

import codecs
import re
from typing import Protocol

_READ_BYTES = 1 << 20
# UTF-32's mark begins like UTF-16's, so it stands before it.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?(?:NaN|Infinity)\b|-?\d[\d.eE+-]*', re.DOTALL)
_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\."
)
_LONGEST_NUMBER = 1000
_UNFINISHED = re.compile(rb"[-+.\w]*\Z")


class ByteReader(Protocol):
    """An object that is read piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, none at the end."""


class Utf8Reader:
    """The bytes of a file as UTF-8 without a byte-order mark, whichever of the Unicode forms it has.

    Args:
        file: Opened for bytes.
    """

    def __init__(self, file: ByteReader):
        self._file = file
        start = file.read(4)
        mark, encoding = next(((mark, name) for mark, name in _MARKS if start.startswith(mark)), (b"", "utf-8"))
        self._start = start[len(mark) :]
        self._decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, none at the end.

        Raises:
            UnicodeDecodeError: if the file is not of the form that its mark says.
        """
        if size == 0:  # ijson asks whether it gets bytes or text.
            return b""
        while True:
            read, self._start = self._start + self._file.read(size), b""
            if self._decoder is None:
                return read
            text = self._decoder.decode(read, final=not read).encode()
            if text or not read:
                return text


class MendingReader:
    """The bytes of a json file with null in the place of NaN and infinities, and U+FFFD in that of half surrogates.

    Numbers of more than a thousand digits become null too. What is between quotation marks is otherwise left alone.

    Args:
        file: A `Utf8Reader`.
    """

    def __init__(self, file: ByteReader):
        self._file = file
        self._held = b""

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, none at the end."""
        if size == 0:
            return b""
        wanted = max(size, _READ_BYTES)
        while True:
            read = self._file.read(wanted)
            text, self._held = self._held + read, b""
            if not read:
                return _mended(text)
            end = _end_of_whole_tokens(text)
            text, self._held = text[:end], text[end:]
            if text:
                return _mended(text)
            wanted = max(
                wanted, len(self._held)
            )  # A long text: twice as much each time, so that its length counts once.


def _end_of_whole_tokens(text: bytes) -> int:
    """Finds the end of the last whole token, where a text was cut inside a string, a number or a name."""
    position = 0
    while (quote := text.find(b'"', position)) >= 0:
        found = _TOKEN.match(text, quote)
        if found is None:
            return quote
        position = found.end()
    unfinished = _UNFINISHED.search(text, position)
    return unfinished.start() if unfinished else len(text)


def _mended(text: bytes) -> bytes:
    return _TOKEN.sub(_mended_token, text)


def _mended_token(found: re.Match[bytes]) -> bytes:
    token = found.group()
    if token.startswith(b'"'):
        return _ESCAPES.sub(_mended_escape, token) if b"\\u" in token else token
    return b"null" if token[-1:] in (b"N", b"y") or len(token) > _LONGEST_NUMBER else token


def _mended_escape(found: re.Match[bytes]) -> bytes:
    escape = found.group()
    return b"\\ufffd" if len(escape) == 6 and escape[2:3] in b"dD" else escape
