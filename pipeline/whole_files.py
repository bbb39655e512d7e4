"""Writes files that appear whole or not at all, and are then on the disk. Imports nothing heavy."""

from __future__ import annotations

import os
import pathlib
import uuid


def write_durably(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all, and flushes it to the disk; creates its folder if needed.

    Half surrogates, which no file can hold, become question marks.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(unfinished, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
