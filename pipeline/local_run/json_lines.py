"""Reads files of json lines that are appended to, past lines that were cut when a process or a disk died."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any


def read_json_lines(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Returns the json objects of a file, one a line; empty where there is no file.

    A damaged line is skipped with a warning that names it: the next line is whole again, because `append_json_line`
    begins a new one.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            found.append(entry)
        else:
            logging.warning("%s, line %d is damaged and is skipped.", path, number)
    return found


def append_json_line(path: str | pathlib.Path, entry: dict[str, Any]) -> None:
    """Adds a line, and ends the line before it where that was cut."""
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(entry).encode() + b"\n")
