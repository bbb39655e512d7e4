"""Looks into folders, of this machine or of an object store, through one small set of functions."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO

_FILE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".json", ".jsonl", ".txt", ".csv", ".xml", ".yaml", ".yml", ".md", ".html"),
    *(".npy", ".npz", ".pkl", ".tfrecord", ".zip", ".gz", ".tar", ".mp4"),
)


@dataclasses.dataclass(frozen=True)
class Files:
    """The functions that read a file system.

    Attributes:
        exists: whether there is a file or folder of a path.
        names: sorted names of a folder's entries, hidden ones left out; empty where there is no such folder.
        is_folder: whether a path is a folder.
        open: opens a file to read bytes.
    """

    exists: Callable[[str], bool]
    names: Callable[[str], list[str]]
    is_folder: Callable[[str], bool]
    open: Callable[[str], AbstractContextManager[BinaryIO]]

    def read(self, path: str) -> bytes:
        """Returns a whole file."""
        with self.open(path) as file:
            return file.read()


def visible(names: list[str]) -> list[str]:
    """Returns names without hidden files and folders (`.DS_Store`, `._photo.jpg`, `__MACOSX`), sorted."""
    return sorted(name.rstrip("/") for name in names if not name.startswith((".", "__MACOSX")))


def may_be_folder(name: str) -> bool:
    """Returns whether an entry may be a folder; a file is known by its ending, without a question to a bucket."""
    return not name.lower().endswith(_FILE_ENDINGS)


def _names(folder: str) -> list[str]:
    return visible(os.listdir(folder)) if os.path.isdir(folder) else []


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


LOCAL = Files(os.path.exists, _names, os.path.isdir, _open)
