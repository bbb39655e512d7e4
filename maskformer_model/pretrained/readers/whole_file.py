"""Whether a file is what its name says, and how much it may grow when it is read.

Looked at before a reader of some format sees the file, because those say of a pointer of git-lfs or of an error page
only that their magic number is missing.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import IO

_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = (b"<!doctype", b"<html", b"<?xml")
# Widening doubles bfloat16, and weights that are tied are stored once and read several times.
_GROWTH, _ALLOWANCE_BYTES = 4, 64 * 2**20


@dataclasses.dataclass
class Budget:
    """How many bytes of arrays may still be made from a file.

    Attributes:
        file_bytes: The file's size.
        left_bytes: What is left.
    """

    file_bytes: int
    left_bytes: int

    @classmethod
    def of_size(cls, file_bytes: int) -> Budget:
        """Returns what a file of that size may grow to."""
        return cls(file_bytes, file_bytes * _GROWTH + _ALLOWANCE_BYTES)

    @classmethod
    def of_file(cls, file: IO[bytes]) -> Budget:
        """Returns what an open file may grow to."""
        return cls.of_size(os.fstat(file.fileno()).st_size)

    def spend(self, num_bytes: int) -> None:
        """Takes bytes from the budget.

        Raises:
            ValueError: if there are not so many left.
        """
        self.left_bytes -= num_bytes
        if self.left_bytes < 0:
            raise ValueError(
                f"A checkpoint of {self.file_bytes} bytes must not grow to more than "
                f"{self.file_bytes * _GROWTH + _ALLOWANCE_BYTES} bytes when it is read."
            )


def require_whole_file(path: str | os.PathLike[str]) -> None:
    """Refuses what is no file of weights, whatever its ending says.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be opened.
        ValueError: if it is a folder, empty, a pointer of git-lfs, or a web page.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Name the file in it.")
    with open(path, "rb") as file:
        start = file.read(200)
    if not start:
        raise ValueError(f"{path} is empty. Download or copy it again.")
    if start.startswith(_LFS):
        raise ValueError(f"{path} is a pointer of git-lfs and not the file itself. Run `git lfs pull` in its folder.")
    if start.lstrip().lower().startswith(_PAGE):
        raise ValueError(f"{path} is a web page and not a file of weights. Download the file that the page shows.")
