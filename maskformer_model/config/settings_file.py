"""Reads YAML files of settings."""

from __future__ import annotations

import os
from typing import Any

_MAX_BYTES = 2**20  # No settings need more; a wrong path often names something large.


def read_settings(path: str | os.PathLike[str], flag: str) -> dict[str, Any]:
    """Returns the keys and values of a YAML file; of an empty one none.

    Args:
        path: The file.
        flag: The flag that named it, for messages.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is no YAML, is too large, or holds something else than keys and values.
    """
    import yaml

    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"`{flag}` must name a file of at most {_MAX_BYTES} bytes. Received a larger one: {path}")
    try:
        document = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"`{flag}` must name a YAML file. Received {path}: {reason}") from error
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ValueError(
            f"`{flag}` must name a YAML file of settings, each as `name: value`. Received in {path} a value "
            f"of type {type(document).__name__}"
        )
    return document
