"""Keeps a copy of ML Metadata from before the last run, in case its file is damaged.

sqlite itself survives a killed process and a power cut, but not a file that was truncated or overwritten: then every
run would be done again. So the retraining loop copies the file before every run and restores the copy if the file is
damaged. Only the last run's records are lost, and that run is done again.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import sqlite3
from urllib.parse import quote

BACKUP_SUFFIX = ".backup"
DAMAGED_SUFFIX = ".damaged"
SCHEMA_VERSION = 10  # Of the installed ml-metadata.
_BUSY_TIMEOUT_S = 10.0


class UnusableMetadataError(RuntimeError):
    """The database cannot be used as it is."""


class MetadataLockedError(RuntimeError):
    """Another process has locked the database for a while."""


def is_whole(path: str) -> bool:
    """Returns whether the file is a database that can be read to its end.

    Raises:
        MetadataLockedError: if somebody holds it.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S)
        try:
            connection.execute("SELECT COUNT(*) FROM Execution")  # sqlite takes an empty file as a valid database.
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise MetadataLockedError(f"{path} is locked by another program. End that, and start again.") from error
        return False
    except sqlite3.DatabaseError:
        return False


def schema_version(path: str) -> int | None:
    """Returns the version of ML Metadata's tables; None if the database has none yet, as after a kill at its start."""
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
    try:
        if not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            return None
        return int(connection.execute("SELECT schema_version FROM MLMDEnv").fetchone()[0])
    finally:
        connection.close()


def require_usable(path: str) -> None:
    """Refuses a database that a run could not use, before the run begins.

    Args:
        path: The path of the database, which may be missing.

    Raises:
        MetadataLockedError: if another process has locked it.
        UnusableMetadataError: if it is damaged, or of a later version of ML Metadata.
    """
    if not os.path.exists(path) or not os.path.getsize(path):
        return
    try:
        version = schema_version(path)
        whole = version is None or is_whole(path)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise MetadataLockedError(f"{path} is locked by another program. End that, and start again.") from error
        whole = False
    except (sqlite3.DatabaseError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UnusableMetadataError(
            f"{path} is damaged. Put a copy of it there, or move it away: then every node runs again, and the next "
            "model is compared with none."
        )
    if version is not None and version > SCHEMA_VERSION:
        raise UnusableMetadataError(
            f"{path} is of version {version} of ML Metadata's tables, and this environment knows up to "
            f"{SCHEMA_VERSION}. Run with the environment that wrote it, or name another --root."
        )


def back_up(path: str) -> None:
    """Copies the database, whole or not at all; does nothing if there is none.

    A damaged database is not copied, so that the last good copy stays.

    Raises:
        MetadataLockedError: if another process has locked it.
        OSError: if it cannot be copied, as on a full disk.
    """
    if not os.path.exists(path) or not is_whole(path):
        return
    unfinished = f"{path}{BACKUP_SUFFIX}.unfinished"
    pathlib.Path(unfinished).unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)) as source,
            contextlib.closing(sqlite3.connect(unfinished)) as target,
        ):
            # Takes the read lock here: `backup` itself would wait for ever for a writer.
            source.execute("BEGIN")
            source.execute("SELECT COUNT(*) FROM sqlite_master")
            source.backup(target)
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise MetadataLockedError(f"{path} is locked by another program.") from error
        raise OSError(f"{path} cannot be copied to {unfinished}: {error}") from error
    os.replace(unfinished, f"{path}{BACKUP_SUFFIX}")


def ensure_whole(path: str, artifacts_dir: str) -> str:
    """Replaces a damaged database by the copy, and removes artifacts that the copy does not list.

    Args:
        path: The path of the database, which may be missing.
        artifacts_dir: The folder of the executions' folders; their numbers will be used again.

    Returns:
        What was done, in words; empty if the database is whole, or never existed.

    Raises:
        MetadataLockedError: if another process has locked the database.
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
    return (
        f"{path} was damaged; it is replaced by the copy from before the last run, without {removed} executions' files."
    )


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
