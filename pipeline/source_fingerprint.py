"""A digest of Python sources, so that a result is not reused after the code that made it has changed.

TFX's cache compares inputs and parameters and knows nothing of the code of a node; handing it this digest as a
parameter closes the gap.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable


def source_fingerprint(paths: Iterable[pathlib.Path]) -> str:
    """SHA-256, hexadecimal, of every `.py` file in `paths`.

    Args:
        paths: Files, and folders that are searched through.

    Raises:
        ValueError: if there is no source at all, which would make every code look the same.
    """
    paths = list(paths)
    files = [(path, file) for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    if not files:
        raise ValueError(f"`paths` must hold Python sources. Received: {[str(path) for path in paths]}")
    digest = hashlib.sha256()
    for path, file in files:
        name = f"{path.name}/{file.relative_to(path).as_posix()}"
        digest.update(f"{len(name)} {name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
