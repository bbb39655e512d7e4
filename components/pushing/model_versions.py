"""Publishes, withdraws and lists versions in a folder of served models, which TensorFlow Serving can watch.

A version is named by the unix time at which it was pushed and appears whole or not at all: files are copied into a
folder that no server looks at, flushed to the disk, and the folder is renamed. It disappears in the same way. Which
model may be pushed is left to the gate. Local file systems only.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil

from maskformer_model.export.versions import SAVED_MODEL_FILE, is_saved_model, is_version, list_versions, version_dir

_UNFINISHED_PREFIX = ".incoming-"
_WITHDRAWN_PREFIX = ".withdrawn-"
_REMOVED_PREFIX = ".removed-"
_BLOCK_BYTES = 1 << 20


def content_hash(model_dir: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of every file's relative path and bytes; equal models in different folders agree.

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


def publish(model_dir: str | os.PathLike[str], serving_dir: str | os.PathLike[str], *, now_s: int) -> int:
    """Makes a SavedModel the newest version.

    Args:
        model_dir: A SavedModel.
        serving_dir: Made where it does not exist.
        now_s: Unix time in seconds. Where it is not later than the newest version (the clock was set back), the
            version is the newest one plus 1, because servers take the largest. Withdrawn numbers are not used again.

    Returns:
        The version.

    Raises:
        FileNotFoundError: if `model_dir` holds no SavedModel.
        OSError: if it cannot be copied; what served before still serves.
    """
    source, root = pathlib.Path(model_dir), pathlib.Path(serving_dir)
    if not is_saved_model(source):
        raise FileNotFoundError(f"`model_dir` must hold {SAVED_MODEL_FILE}. Received: {source}")
    root.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(root)
    version = max([now_s, *(newest + 1 for newest in [*list_versions(root), *list_withdrawn(root)])])
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


def keep_newest(serving_dir: str | os.PathLike[str], num_kept: int) -> list[int]:
    """Removes all but the newest versions; a version disappears at once, then its files do.

    Args:
        serving_dir: The folder of versions.
        num_kept: How many stay, at least 1; what was withdrawn is not counted and stays.

    Returns:
        The versions that were removed, oldest first.

    Raises:
        ValueError: if `num_kept` is not positive.
    """
    if num_kept < 1:
        raise ValueError(f"`num_kept` must be positive. Received: {num_kept}")
    removed = list_versions(serving_dir)[:-num_kept]
    root = pathlib.Path(serving_dir)
    for version in removed:
        doomed = root / f"{_REMOVED_PREFIX}{version}"
        (root / str(version)).rename(doomed)
        shutil.rmtree(doomed)
    return removed


def withdraw(serving_dir: str | os.PathLike[str], version: int) -> str:
    """Takes a version out of service, so that servers go back to the newest that is left; its files stay.

    Returns:
        Where they are now.

    Raises:
        FileNotFoundError: if there is no such version.
    """
    if version not in list_versions(serving_dir):
        raise FileNotFoundError(f"`version` must be one of {list_versions(serving_dir)}. Received: {version}")
    aside = os.path.join(serving_dir, f"{_WITHDRAWN_PREFIX}{version}")
    os.rename(version_dir(serving_dir, version), aside)
    _flush_to_disk(pathlib.Path(serving_dir))
    return aside


def list_withdrawn(serving_dir: str | os.PathLike[str]) -> list[int]:
    """Returns the versions that were taken out of service, oldest first."""
    names = [
        path.name.removeprefix(_WITHDRAWN_PREFIX) for path in pathlib.Path(serving_dir).glob(f"{_WITHDRAWN_PREFIX}*")
    ]
    return sorted(int(name) for name in names if is_version(name))


def withdrawn_hashes(serving_dir: str | os.PathLike[str]) -> set[str]:
    """Returns `content_hash` of every version that was taken out of service."""
    root = pathlib.Path(serving_dir)
    return {content_hash(root / f"{_WITHDRAWN_PREFIX}{version}") for version in list_withdrawn(root)}


def restore(serving_dir: str | os.PathLike[str], version: int) -> str:
    """Puts a version back that was withdrawn.

    Returns:
        Its folder.

    Raises:
        FileNotFoundError: if no such version was withdrawn.
    """
    if version not in list_withdrawn(serving_dir):
        raise FileNotFoundError(f"`version` must be one of {list_withdrawn(serving_dir)}. Received: {version}")
    folder = version_dir(serving_dir, version)
    os.rename(os.path.join(serving_dir, f"{_WITHDRAWN_PREFIX}{version}"), folder)
    _flush_to_disk(pathlib.Path(serving_dir))
    return folder


def _remove_unfinished(root: pathlib.Path) -> None:
    """Removes the files of an interrupted push or removal."""
    for prefix in (_UNFINISHED_PREFIX, _REMOVED_PREFIX):
        for path in root.glob(f"{prefix}*"):
            shutil.rmtree(path)


def _flush_to_disk(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
