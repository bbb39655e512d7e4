"""The manifest of a data set: a hash of every file that an ingestion may read.

TFX fingerprints an ExampleGen's input by the sizes and whole-second times of the files that match a pattern: a photo
that changed behind an unchanged json goes unnoticed, and a copied data set looks new. A manifest is a function of the
content alone.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf

from components.coco_example_gen.data_files import walk_files
from components.coco_example_gen.split_source import PACKAGE_PREFIX, SplitSource

_HASHING_THREADS = 8
_CHUNK_BYTES = 1 << 22


def build_manifest(data_dir: str, sources: Iterable[SplitSource]) -> dict[str, str]:
    """Hashes annotations, captions, photos and PNGs.

    Args:
        data_dir: what the manifest's paths are relative to.
        sources: the splits that are read; their files must exist.

    Returns:
        By path relative to the data folder: SHA-256, hexadecimal. Files of other folders are left out.
    """
    paths = {os.path.relpath(path, data_dir): path for source in sources for path in _input_files(source)}
    names = sorted(paths)
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return dict(zip(names, pool.map(_sha256, (paths[name] for name in names)), strict=True))


def manifest_digest(manifest: Mapping[str, str]) -> str:
    """SHA-256, hexadecimal, of a manifest: equal for equal content, whatever its place and time."""
    return hashlib.sha256(json.dumps(dict(manifest), sort_keys=True).encode()).hexdigest()


def input_digest(data_dir: str, sources: Iterable[SplitSource]) -> str:
    """`manifest_digest(build_manifest(...))`."""
    return manifest_digest(build_manifest(data_dir, sources))


def _input_files(source: SplitSource) -> Iterator[str]:
    files, folders = source.input_paths()
    # Files of this package are covered by the hash of its code.
    yield from (path for path in files if not path.startswith(PACKAGE_PREFIX) and tf.io.gfile.exists(path))
    yield from walk_files(folders)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
