"""Lets a root be moved: ML Metadata names every artifact by its absolute path, so those paths move with it.

Without this a run in a moved root would not find the last blessed model, and would look for its artifacts in a place
where there is nothing, or the artifacts of another root.
"""

from __future__ import annotations

import os
import pathlib
import sqlite3

_ARTIFACTS = "/pipeline/"


def follow_moved_root(metadata_path: str, root: str) -> str:
    """Replaces the paths of artifacts that lie in this root now and are noted where it lay before.

    Args:
        metadata_path: The database, which may be missing.
        root: The absolute path of the root.

    Returns:
        What was done, in words; empty if the root was not moved.
    """
    if not os.path.exists(metadata_path) or not os.path.getsize(metadata_path):
        return ""
    connection = sqlite3.connect(metadata_path)
    try:
        with connection:
            earlier = _earlier_roots(connection, root)
            for before in earlier:
                _replace_prefix(connection, "Artifact", "uri", before, root)
                _replace_prefix(connection, "ArtifactProperty", "string_value", before, root)
    finally:
        connection.close()
    return f"The root was moved here from {', '.join(earlier)}; its artifacts are found here now." if earlier else ""


def _earlier_roots(connection: sqlite3.Connection, root: str) -> list[str]:
    """Returns the folders that artifacts of this root are noted in and do not lie in any more."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Artifact'").fetchone():
        return []
    earlier = set()
    for (uri,) in connection.execute("SELECT uri FROM Artifact WHERE uri IS NOT NULL"):
        before, separator, rest = uri.rpartition(_ARTIFACTS)
        if separator and before != root and not os.path.exists(uri) and pathlib.Path(root, "pipeline", rest).exists():
            earlier.add(before)
    return sorted(earlier)


def _replace_prefix(connection: sqlite3.Connection, table: str, column: str, before: str, after: str) -> None:
    start = f"{before}/"
    connection.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
        (f"{after}/", len(start) + 1, len(start), start),
    )
