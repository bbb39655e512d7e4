"""Finds spans, which are folders of new data, and checks whether a span is whole.

A span is read when it has a `manifest.json` and every file matches it (`coco_example_gen/data_manifest.py`). The
manifest is written last, so a span that is still being copied is not whole. Its digest identifies the data: two spans
with one digest hold the same data. Folders are read through TFX's file system layer, so `gs://` and every other file
system that it has a plugin for work like local paths.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import tensorflow as tf

from components.coco_example_gen import data_manifest
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of

DEFAULT_PATTERN = "span-{SPAN}"
# What local disks and TensorFlow's file systems, such as `gs://`, raise.
STORAGE_ERRORS = (OSError, tf.errors.OpError)
_FIELDS = {
    "SPAN": "span",
    "VERSION": "version",
    "YYYY": "year",
    "MM": "month",
    "DD": "day",
}
_FIELD = re.compile(r"\{(?P<name>[A-Z]+)(?::(?P<width>\d+))?\}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """A folder of data.

    Attributes:
        name: The path below the folder of spans.
        path: The whole path.
        number: The value of the pattern's `{SPAN}`, or of a date as YYYYMMDD.
        version: The value of `{VERSION}`; 0 if there is none.
    """

    name: str
    path: str
    number: int
    version: int = 0


class NotWholeError(ValueError):
    """A span has no manifest, or does not match it: it is still being written, or was damaged."""


def span_regex(pattern: str) -> re.Pattern[str]:
    """Turns a pattern like "span-{SPAN}", "span-{SPAN:3}/v{VERSION}" or "{YYYY}-{MM}-{DD}" into a regular expression.

    Raises:
        ValueError: if it has an unknown field, one twice, or none that numbers the spans.
    """
    parts, end, seen = [], 0, []
    for match in _FIELD.finditer(pattern):
        if match["name"] not in _FIELDS:
            raise ValueError(f"A span pattern's fields must be of {list(_FIELDS)}. Received: {pattern!r}")
        width = match["width"] or {"YYYY": "4", "MM": "2", "DD": "2"}.get(match["name"])
        digits = f"{{{width}}}" if width else "+"
        parts += [re.escape(pattern[end : match.start()]), rf"(?P<{_FIELDS[match['name']]}>[0-9]{digits})"]
        seen.append(match["name"])
        end = match.end()
    numbered = seen.count("SPAN") == 1 or all(name in seen for name in ("YYYY", "MM", "DD"))
    if not numbered or len(set(seen)) < len(seen) or ("SPAN" in seen and "YYYY" in seen):
        raise ValueError(f"A span pattern must have {{SPAN}}, or {{YYYY}}, {{MM}} and {{DD}}. Received: {pattern!r}")
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def find_spans(folder: str, pattern: str = DEFAULT_PATTERN) -> list[Span]:
    """Returns the newest version of each span below a folder, in the order of their numbers.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the pattern is not valid.
    """
    from tfx.dsl.io import fileio

    regex = span_regex(pattern)
    if not fileio.isdir(folder):
        raise FileNotFoundError(f"The folder of the spans must exist. Received: {folder}")
    names = [""]
    for _ in pattern.split("/"):
        names = [f"{name}/{entry}".strip("/") for name in names for entry in _entries(fileio, folder, name)]
    newest: dict[int, Span] = {}
    for name in names:
        match = regex.fullmatch(name)
        if match:
            span = _span(folder, name, match.groupdict())
            if span.number not in newest or newest[span.number].version < span.version:
                newest[span.number] = span
    return [newest[number] for number in sorted(newest)]


def _entries(fileio, folder: str, name: str) -> list[str]:
    path = f"{folder.rstrip('/')}/{name}".rstrip("/")
    return [entry.rstrip("/") for entry in fileio.listdir(path)] if fileio.isdir(path) else []


def _span(folder: str, name: str, fields: dict[str, str]) -> Span:
    number = int(fields["span"]) if "span" in fields else int(fields["year"] + fields["month"] + fields["day"])
    path = f"{folder.rstrip('/')}/{name}"
    return Span(name=name, path=path, number=number, version=int(fields.get("version", 0)))


def parse_names(text: str) -> list[int]:
    """Returns the numbers in a text such as "3,7-9".

    Raises:
        ValueError: if a part is neither a number nor a range.
    """
    numbers: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", piece)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError(f"Spans must be named like 3,7-9. Received: {text!r}")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return numbers


def stated_manifest(span: Span) -> dict[str, str]:
    """Returns the entries of the span's manifest, SHA-256 by path, without checking the files.

    Raises:
        NotWholeError: if there is no manifest, or it is truncated.
    """
    from tfx.dsl.io import fileio

    path = f"{span.path}/{data_manifest.MANIFEST_FILE}"
    if not fileio.exists(path):
        raise NotWholeError(f"{data_manifest.MANIFEST_FILE} is not there yet")
    try:
        return data_manifest.read_manifest(path)
    except FileNotFoundError as error:
        raise NotWholeError(f"{data_manifest.MANIFEST_FILE} is gone again") from error
    except ValueError as error:
        raise NotWholeError(f"{data_manifest.MANIFEST_FILE} is not whole: {error}") from error


def check_whole(span: Span, stated: dict[str, str]) -> None:
    """Checks every file against the manifest.

    Raises:
        NotWholeError: if a file differs; it names the files.
    """
    try:
        found = data_manifest.build_manifest(span.path, sources_of(span.path, IngestOptions()).values())
    except FileNotFoundError as error:
        raise NotWholeError(f"its folders are not all there: {str(error).splitlines()[-1].strip()}") from error
    changes: Sequence[str] = data_manifest.differences(stated, found)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise NotWholeError(f"its files do not match the manifest: {', '.join(changes[:3])}{more}")
