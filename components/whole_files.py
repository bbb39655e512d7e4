"""Files that appear whole or not at all, on any file system that TensorFlow knows."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yields a temporary path beside `path` that becomes `path` at the end, or is removed after an error."""
    temporary = os.path.join(os.path.dirname(path), f"unfinished-{uuid.uuid4().hex}-{os.path.basename(path)}")
    try:
        yield temporary
        tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)


def write_text(path: str, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with whole_file(path) as temporary, tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
