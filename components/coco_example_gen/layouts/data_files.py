"""Files of a data set through TensorFlow's file systems, so that a folder of an object store works like a local one."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

import tensorflow as tf

from components.coco_example_gen.layouts.files import Files, visible
from components.coco_example_gen.layouts.split_source import PACKAGE_PREFIX


class UnreadableFileError(OSError):
    """The error of a path that exists and cannot be read."""


def _names(folder: str) -> list[str]:
    return visible(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else []


# Folders of this machine and of object stores.
ANYWHERE = Files(tf.io.gfile.exists, _names, tf.io.gfile.isdir, lambda path: tf.io.gfile.GFile(path, "rb"))


def read_file(path: str) -> bytes | None:
    """Reads the whole file, or returns None if there is none.

    Raises:
        UnreadableFileError: if there is something that cannot be read: a pipe, a circle of links, too long a name.
    """
    if "://" not in path and not _is_file(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError, tf.errors.PermissionDeniedError) as error:
        # A folder of that name answers with FailedPrecondition, and so does a file in the place of a folder.
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise UnreadableFileError(f"{path}: {error.message}") from error
        return None


def is_readable(path: str) -> bool:
    """Returns whether a file can be opened: no pipe, which would wait for ever, and no link to nothing or to itself."""
    try:
        if "://" in path or _is_file(path):
            with tf.io.gfile.GFile(path, "rb") as file:
                file.read(1)
            return True
    except (UnreadableFileError, tf.errors.PermissionDeniedError, tf.errors.NotFoundError):
        return False
    return False


def _is_file(path: str) -> bool:
    """Returns whether a local path is a file; opening a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise UnreadableFileError(f"{path} is a link to what is not there") from None
        return False
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path[:300]}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UnreadableFileError(f"{path} is a pipe, a socket or a device and not a file")
    return stat.S_ISREG(mode)


def read_category_file(path: str) -> bytes:
    """Reads a file of categories, of the data set or (`package:`) of this package.

    Raises:
        FileNotFoundError: if there is none.
    """
    if path.startswith(PACKAGE_PREFIX):
        return (pathlib.Path(__file__).parent / path.removeprefix(PACKAGE_PREFIX)).read_bytes()
    content = read_file(path)
    if content is None:
        raise FileNotFoundError(f"The file of the categories must exist. Not found: {path}")
    return content


def walk_files(folders: Iterable[str]) -> Iterator[str]:
    """Yields the paths of all files below the folders, each once, without hidden ones such as macOS's `._x.jpg`."""
    for folder in folders:
        walk = tf.io.gfile.walk(folder) if "://" in folder else _walk_local(folder)
        for parent, _, names in walk:
            yield from (f"{parent.rstrip('/')}/{name}" for name in names if not name.startswith("."))


def _walk_local(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walks as `os.walk` and follows links, but into no folder twice: a link may lead back to where it is."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(parent, name)) not in seen)
        yield parent, folders, sorted(names)
