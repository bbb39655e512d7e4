"""Lists of a json file, entry by entry: an annotation file of any length is read in the memory of one entry.

ijson's C parser reads 118,000 entries with 1.3 million segments in seven seconds, as fast as the standard library reads
the whole file into a gigabyte of objects. What that parser cannot take, and other programs write all the same (NaN,
integers of more than 64 bits, half surrogates), is read a second time, more slowly, from the entry where it stopped.
"""

from __future__ import annotations

import decimal
import itertools
from collections.abc import Iterator
from typing import Any

import ijson
import tensorflow as tf

from components.coco_example_gen.layouts.tool_jsons import is_tool_address
from components.coco_example_gen.records.json_text import MendingReader, Utf8Reader
from components.coco_example_gen.records.tool_lists import tool_list

_BUFFER_BYTES = 1 << 20


def stream_list(path: str, name: str) -> Iterator[Any]:
    """Yields the entries of the list `name` at the top of a json file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: while reading, if the file is not json, is truncated, or has no such list. The entries
            before that place have been yielded by then.
    """
    if is_tool_address(path):
        yield from tool_list(path, name)
        return
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"The annotation file must exist. Not found: {path}")
    num_entries = 0
    try:
        for entry in _read_fast(path, name):
            num_entries += 1
            yield entry
    except (ijson.JSONError, UnicodeDecodeError):
        for entry in itertools.islice(_read_all_forms(path, name), num_entries, None):
            num_entries += 1
            yield entry
    if not num_entries and not _has_list(path, name):
        raise ValueError(f"An annotation file must have the list `{name}`. Not found in {path}")


def _read_fast(path: str, name: str) -> Iterator[Any]:
    with tf.io.gfile.GFile(path, "rb") as file:
        yield from ijson.items(Utf8Reader(file), f"{name}.item", use_float=True, buf_size=_BUFFER_BYTES)


def _read_all_forms(path: str, name: str) -> Iterator[Any]:
    """Reads json, and also what is not quite json; integers may have any length."""
    num_entries = 0
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            for entry in ijson.items(MendingReader(Utf8Reader(file)), f"{name}.item", buf_size=_BUFFER_BYTES):
                num_entries += 1
                yield _with_floats(entry)
        except ijson.IncompleteJSONError as error:
            raise ValueError(
                f"An annotation file must be whole json. Received {path}, which ends or breaks after {num_entries} "
                f"entries of `{name}`: {_in_a_line(error)}"
            ) from error
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise ValueError(
                f"An annotation file must be json in UTF-8. Received {path}, which fails with: {_in_a_line(error)}"
            ) from error


def _has_list(path: str, name: str) -> bool:
    with tf.io.gfile.GFile(path, "rb") as file:
        events = ijson.parse(MendingReader(Utf8Reader(file)), buf_size=_BUFFER_BYTES)
        return any((prefix, event) == (name, "start_array") for prefix, event, _ in events)


def _with_floats(entry: Any) -> Any:
    """Returns the entry with floats instead of decimals; a deep nesting makes no deep calls."""
    holder = [entry]
    pending: list[Any] = [holder]
    while pending:
        values = pending.pop()
        for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
            if isinstance(value, decimal.Decimal):
                values[key] = float(value)
            elif isinstance(value, dict | list):
                pending.append(value)
    return holder[0]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
