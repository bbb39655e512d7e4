"""Files of a data set through TensorFlow's file systems, so that a folder of an object store works like a local one."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator

import tensorflow as tf

from components.coco_example_gen.layouts.files import Files, visible
from components.coco_example_gen.layouts.split_source import PACKAGE_PREFIX


def _names(folder: str) -> list[str]:
    return visible(tf.io.gfile.listdir(folder)) if tf.io.gfile.isdir(folder) else []


# Folders of this machine and of object stores.
ANYWHERE = Files(tf.io.gfile.exists, _names, tf.io.gfile.isdir, lambda path: tf.io.gfile.GFile(path, "rb"))


def read_file(path: str) -> bytes | None:
    """The whole file, or None if there is none."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError, tf.errors.PermissionDeniedError):
        # A folder of that name answers with FailedPrecondition, and so does a file in the place of a folder.
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise
        return None


def read_category_file(path: str) -> bytes:
    """A file of categories, of the data set or (`package:`) of this package.

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
    """The paths of all files below the folders."""
    for folder in folders:
        for parent, _, names in tf.io.gfile.walk(folder):
            yield from (f"{parent.rstrip('/')}/{name}" for name in names)
