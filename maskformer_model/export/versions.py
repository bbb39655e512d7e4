"""Lists the versions in a folder of exported models: sub-folders named by a number, as in TensorFlow Serving.

Reading only, and nothing heavy; how a version gets there is left to `components.pushing.model_versions`.
"""

from __future__ import annotations

import os
import pathlib
import re

SAVED_MODEL_FILE = "saved_model.pb"
# As TensorFlow Serving reads it: digits of ASCII (`"²".isdigit()` is true), without a leading zero, 64 bits.
_VERSION = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Returns whether a folder holds a SavedModel that can be seen; a folder that may not be entered holds none."""
    return os.path.isfile(os.path.join(path, SAVED_MODEL_FILE))


def list_versions(serving_dir: str | os.PathLike[str]) -> list[int]:
    """Returns the versions that can be served, oldest first; empty if the folder does not exist yet."""
    root = pathlib.Path(serving_dir)
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if is_version(path.name) and is_saved_model(path))


def is_version(name: str) -> bool:
    """Returns whether a folder's name is the number of a version."""
    return bool(_VERSION.fullmatch(name))


def content(model_dir: str | os.PathLike[str]) -> tuple[tuple[str, int, int], ...]:
    """Returns path, size and time of change (ns) of every file of a model, sorted.

    Two equal answers, one after the other, say that nobody is copying into the folder. A file that goes away while the
    folder is read is left out; a folder that cannot be read counts by the number of its error.
    """
    found: list[tuple[str, int, int]] = []

    def note(error: OSError) -> None:
        found.append((os.path.relpath(error.filename, model_dir), -1, error.errno or 0))

    for folder, _, names in os.walk(model_dir, onerror=note):
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            found.append((os.path.relpath(path, model_dir), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def version_dir(serving_dir: str | os.PathLike[str], version: int) -> str:
    """Returns the folder of one version."""
    return os.path.join(serving_dir, str(version))


def newest_model_dir(directory: str | os.PathLike[str]) -> str:
    """Returns the folder itself where it is a SavedModel, else its newest version.

    Raises:
        FileNotFoundError: if it is neither.
    """
    if is_saved_model(directory):
        return os.fspath(directory)
    versions = list_versions(directory)
    if not versions:
        raise FileNotFoundError(
            f"A model's folder must hold {SAVED_MODEL_FILE}, or numbered folders that do. Received: {directory}"
        )
    return version_dir(directory, versions[-1])
