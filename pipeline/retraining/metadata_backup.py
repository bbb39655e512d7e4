"""A copy of ML Metadata from before the last run, for the day on which its file is damaged.

sqlite itself survives a killed process and a power cut. It does not survive a file that was cut short or overwritten:
then everything ever run would run again. So the retraining loop copies the file before every run and, where it is
damaged, takes the copy: what was lost is the last run's records, and that run is done again.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sqlite3

BACKUP_SUFFIX = ".backup"
DAMAGED_SUFFIX = ".damaged"
_BUSY_TIMEOUT_S = 10.0


class MetadataLockedError(RuntimeError):
    """Somebody else holds the database; it will be free again."""


def is_whole(path: str) -> bool:
    """Whether the file is a database that can be read to its end.

    Raises:
        MetadataLockedError: if somebody holds it.
    """
    try:
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            connection.execute("SELECT COUNT(*) FROM Execution")  # A file cut to nothing is an empty, sound database.
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise MetadataLockedError(f"{path} is locked by another program.") from error
        return False
    except sqlite3.DatabaseError:
        return False


def back_up(path: str) -> None:
    """Copies the database, whole or not at all; without one it does nothing.

    Raises:
        MetadataLockedError: if somebody holds it.
    """
    if not os.path.exists(path):
        return
    unfinished = f"{path}{BACKUP_SUFFIX}.unfinished"
    pathlib.Path(unfinished).unlink(missing_ok=True)
    source = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    target = sqlite3.connect(unfinished)
    try:
        # Held for reading from here on: `backup` itself would wait for ever for somebody who writes.
        source.execute("BEGIN")
        source.execute("SELECT COUNT(*) FROM sqlite_master")
        source.backup(target)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise MetadataLockedError(f"{path} is locked by another program.") from error
        raise
    finally:
        target.close()
        source.close()
    os.replace(unfinished, f"{path}{BACKUP_SUFFIX}")


def ensure_whole(path: str, artifacts_dir: str) -> str:
    """Puts the copy in the place of a damaged database, and takes away artifacts that it knows nothing of.

    Args:
        path: The path of the database; may not exist.
        artifacts_dir: where executions have folders of their own, named by their numbers, which will be given again.

    Returns:
        What was done, in words; empty where the database is whole, or there is none and never was.

    Raises:
        MetadataLockedError: if somebody holds the database.
    """
    backup = f"{path}{BACKUP_SUFFIX}"
    if os.path.exists(path):
        if is_whole(path):
            return ""
        os.replace(path, f"{path}{DAMAGED_SUFFIX}")
        pathlib.Path(f"{path}-journal").unlink(missing_ok=True)
    elif not os.path.exists(backup):
        return ""
    if not os.path.exists(backup):
        return f"{path} was damaged and is kept as {path}{DAMAGED_SUFFIX}; there was no copy, so everything runs again."
    shutil.copyfile(backup, f"{path}.unfinished")
    os.replace(f"{path}.unfinished", path)
    removed = _remove_unknown_executions(path, artifacts_dir)
    return f"{path} was damaged; the copy from before the last run took its place, {removed} executions' files went."


def _remove_unknown_executions(path: str, artifacts_dir: str) -> int:
    connection = sqlite3.connect(path)
    try:
        [(newest,)] = connection.execute("SELECT COALESCE(MAX(id), 0) FROM Execution").fetchall()
    finally:
        connection.close()
    # <node>/<output>/<execution>, and <node>/.system/<kind>/<execution>.
    folders = [
        folder
        for pattern in ("*/*/*", "*/.system/*/*")
        for folder in pathlib.Path(artifacts_dir).glob(pattern)
        if folder.name.isascii() and folder.name.isdigit() and int(folder.name) > newest
    ]
    for folder in folders:
        shutil.rmtree(folder)
    return len({folder.name for folder in folders})
