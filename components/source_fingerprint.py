"""Digests of Python sources, so that a result is not reused after the code that made it has changed.

TFX's cache compares inputs and parameters and knows nothing of the code of a node; handing it such a digest as a
parameter closes the gap. What a node depends on is read from its imports and is in no list.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterable

from components.import_graph import ImportGraph

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
WATCHED_PACKAGES = ("maskformer_model", "components")


def fingerprint_behind(module: str, project_dir: pathlib.Path = PROJECT_DIR) -> str:
    """Returns the SHA-256, hexadecimal, of a module and of every module that it reaches by imports.

    An experiment is not reached: it is looked up by name, and its settings travel as values.

    Args:
        module: A dotted name. A module outside the watched packages, such as a `run_fn` of one's own, counts with its
            file and what it imports from them.
        project_dir: The folder that holds the packages.

    Raises:
        KeyError: if there is no such module.
    """
    graph = _import_graph(project_dir)
    if module not in graph.paths:
        graph = graph.with_module(module, _file_of(module))
    digest = hashlib.sha256()
    for name in sorted(graph.behind(module)):
        content = graph.paths[name].read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _file_of(module: str) -> pathlib.Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise KeyError(f"There is no module {module}.")
    return pathlib.Path(spec.origin)


@functools.cache
def _import_graph(project_dir: pathlib.Path) -> ImportGraph:
    return ImportGraph.read(project_dir, WATCHED_PACKAGES)


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
