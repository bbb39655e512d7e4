"""Lets only one run at a time use a root."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

EXIT_ROOT_IN_USE = 3


class RootInUseError(RuntimeError):
    """Two runs at once in one root would write over each other."""


@contextlib.contextmanager
def only_run_in(root: str) -> Iterator[None]:
    """Locks the root for one run.

    Raises:
        RootInUseError: if another run holds it.
    """
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, ".lock"), "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RootInUseError(f"Another run is using {root}. Wait for it, or name another --root.") from error
        yield
