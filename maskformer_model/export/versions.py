"""Which versions a folder of exported models holds: sub-folders named by a number, as TensorFlow Serving watches them.

Reading only, and nothing heavy; how a version gets there is left to `components.pushing.model_versions`.
"""

from __future__ import annotations

import os
import pathlib

SAVED_MODEL_FILE = "saved_model.pb"


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a SavedModel."""
    return (pathlib.Path(path) / SAVED_MODEL_FILE).is_file()


def list_versions(serving_dir: str | os.PathLike[str]) -> list[int]:
    """Versions that can be served, oldest first; empty where the folder does not exist yet."""
    root = pathlib.Path(serving_dir)
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if path.name.isdigit() and is_saved_model(path))


def version_dir(serving_dir: str | os.PathLike[str], version: int) -> str:
    """The folder of one version."""
    return os.path.join(serving_dir, str(version))


def newest_model_dir(directory: str | os.PathLike[str]) -> str:
    """The folder itself where it is a SavedModel, else its newest version.

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
