"""A folder of served models, one sub-folder per version, as TensorFlow Serving watches it.

A version is named by the unix time at which it was pushed and appears whole or not at all: files are copied into a
folder that no server looks at, flushed to the disk, and the folder is renamed. Which model may be pushed is left to the
gate. Local file systems only.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil

_UNFINISHED_PREFIX = ".incoming-"
_SAVED_MODEL_FILE = "saved_model.pb"
_BLOCK_BYTES = 1 << 20


def content_hash(model_dir: str | os.PathLike[str]) -> str:
    """SHA-256, hexadecimal, of every file's relative path and bytes; equal models in different folders agree.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = pathlib.Path(model_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"`model_dir` must be a folder. Received: {root}")
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def list_versions(serving_dir: str | os.PathLike[str]) -> list[int]:
    """Versions that can be served, oldest first; empty where the folder does not exist yet."""
    root = pathlib.Path(serving_dir)
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if path.name.isdigit() and _is_saved_model(path))


def version_dir(serving_dir: str | os.PathLike[str], version: int) -> str:
    """The folder of one version."""
    return os.path.join(serving_dir, str(version))


def publish(model_dir: str | os.PathLike[str], serving_dir: str | os.PathLike[str], *, now_s: int) -> int:
    """Makes a SavedModel the newest version.

    Args:
        model_dir: A SavedModel.
        serving_dir: Made where it does not exist.
        now_s: Unix time in seconds. Where it is not later than the newest version (the clock was set back), the
            version is the newest one plus 1, because servers take the largest.

    Returns:
        The version.

    Raises:
        FileNotFoundError: if `model_dir` holds no SavedModel.
        OSError: if it cannot be copied; what served before still serves.
    """
    source, root = pathlib.Path(model_dir), pathlib.Path(serving_dir)
    if not _is_saved_model(source):
        raise FileNotFoundError(f"`model_dir` must hold {_SAVED_MODEL_FILE}. Received: {source}")
    root.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(root)
    version = max([now_s, *(newest + 1 for newest in list_versions(root))])
    incoming = root / f"{_UNFINISHED_PREFIX}{version}"
    try:
        shutil.copytree(source, incoming)
        for path in [*incoming.rglob("*"), incoming]:
            _flush_to_disk(path)
        incoming.rename(version_dir(root, version))
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    _flush_to_disk(root)
    return version


def _is_saved_model(path: pathlib.Path) -> bool:
    return (path / _SAVED_MODEL_FILE).is_file()


def _remove_unfinished(root: pathlib.Path) -> None:
    """Removes what a push left that was cut off before its end."""
    for path in root.glob(f"{_UNFINISHED_PREFIX}*"):
        shutil.rmtree(path)


def _flush_to_disk(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
