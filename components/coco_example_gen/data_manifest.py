"""The manifest of a data set: a hash of every file that an ingestion may read.

TFX fingerprints an ExampleGen's input by the sizes and whole-second times of the files that match a pattern: a photo
that changed behind an unchanged json goes unnoticed, and a copied data set looks new. A manifest is a function of the
content alone.

The driver makes one whenever it runs. With `trust_manifest` it takes the one beside the data, since a hundred million
photos cannot be hashed before every run. Where no driver of ours runs, as on Vertex, TFX's own fingerprint sees
that file change, and its digest can be a parameter. Users write and check a manifest with the command in `manifest.py`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping

import ijson
import tensorflow as tf

from components.coco_example_gen.layouts.data_files import is_readable, walk_files
from components.coco_example_gen.layouts.split_source import PACKAGE_PREFIX, SplitSource
from components.whole_files import write_text

MANIFEST_FILE = "manifest.json"

_HASHING_THREADS = 8
_FILES_AT_ONCE = 4096
_CHUNK_BYTES = 1 << 22
_UNREADABLE = hashlib.sha256(b"This file cannot be read.").hexdigest()


def build_manifest(data_dir: str, sources: Iterable[SplitSource]) -> dict[str, str]:
    """Hashes annotations, captions, photos and PNGs.

    Args:
        data_dir: The folder that the manifest's paths are relative to.
        sources: The splits that are read; their files must exist.

    Returns:
        By path relative to the data folder: SHA-256, hexadecimal. Files of other folders are left out. A file that
        cannot be read has the hash of that fact: it costs a record at most, and the ingestion names it.

    Raises:
        FileNotFoundError: if a file goes while it is read.
    """
    paths = {os.path.relpath(path, data_dir): path for source in sources for path in _input_files(source)}
    names = sorted(paths)
    manifest: dict[str, str] = {}
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        # A task that waits takes more memory than its result.
        for first in range(0, len(names), _FILES_AT_ONCE):
            few = names[first : first + _FILES_AT_ONCE]
            manifest.update(zip(few, pool.map(_sha256_or_unreadable, (paths[name] for name in few)), strict=True))
    return manifest


def manifest_digest(manifest: Mapping[str, str]) -> str:
    """Returns a manifest's SHA-256, hexadecimal: equal for equal content, whatever its place and time."""
    return _digest(sorted(manifest.items()))


def input_digest(data_dir: str, sources: Iterable[SplitSource]) -> str:
    """Returns the digest of the manifest that `build_manifest` would make."""
    return manifest_digest(build_manifest(data_dir, sources))


def stated_digest(data_dir: str, sources: Iterable[SplitSource]) -> str:
    """Returns the digest of the manifest beside the data; no photo and no PNG is opened.

    Annotation files are few and are hashed, so that a manifest which is older than they are is noticed. The manifest is
    read as a stream: memory does not grow with it.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: if it is damaged, or an annotation file is not as it says.
    """
    path = os.path.join(data_dir, MANIFEST_FILE)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"`trust_manifest` needs what `manifest write {data_dir}` makes. Not found: {path}")
    annotations = {os.path.relpath(file, data_dir): file for source in sources for file in _annotation_files(source)}
    found: dict[str, str] = {}

    def entries() -> Iterator[tuple[str, str]]:
        with tf.io.gfile.GFile(path, "rb") as file:
            for name, value in ijson.kvitems(file, "files"):
                if not isinstance(value, str):
                    raise ValueError(f"A manifest's `files` must be hashes by path. Received: {path}")
                if name in annotations:
                    found[name] = value
                yield name, value

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            stated = next(ijson.items(file, "digest"), None)
        is_whole = _digest(entries()) == stated
    except ijson.JSONError as error:
        raise ValueError(f"A manifest must be json with `digest` and `files`. Received: {path}") from error
    if not is_whole:
        raise ValueError(f"A manifest's digest must be that of its files. Received: {path}")
    changed = [name for name, file in sorted(annotations.items()) if found.get(name) != file_sha256(file)]
    if changed:
        raise ValueError(f"{path} is older than the data: write it again. Annotation files that differ: {changed}")
    return str(stated)


def write_manifest(path: str, manifest: Mapping[str, str]) -> str:
    """Writes a manifest as json; it appears whole or not at all. Returns its digest."""
    digest = manifest_digest(manifest)
    write_text(path, json.dumps({"digest": digest, "files": dict(manifest)}, indent=1, sort_keys=True))
    return digest


def read_manifest(path: str) -> dict[str, str]:
    """Reads what `write_manifest` wrote.

    Raises:
        FileNotFoundError: if it is gone.
        ValueError: if the file is no manifest, or its digest is not that of its files: it was edited or damaged.
    """
    with _there(path), tf.io.gfile.GFile(path, "r") as file:
        try:
            document = json.loads(file.read())
            digest, files = document["digest"], document["files"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"A manifest must be json with `digest` and `files`. Received: {path}") from error
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise ValueError(f"A manifest's `files` must be hashes by path. Received: {path}")
    if digest != manifest_digest(files):
        raise ValueError(f"A manifest's digest must be that of its files. Received: {path}")
    return files


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Lists what changed between two manifests, a few words per file."""
    found = [f"gone: {name}" for name in sorted(old.keys() - new.keys())]
    found += [f"new: {name}" for name in sorted(new.keys() - old.keys())]
    return found + [f"changed: {name}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]


def _input_files(source: SplitSource) -> Iterator[str]:
    yield from _annotation_files(source)
    yield from walk_files(source.input_paths()[1])


def _annotation_files(source: SplitSource) -> Iterator[str]:
    # Files of this package are covered by the hash of its code.
    files, _ = source.input_paths()
    yield from (path for path in files if not path.startswith(PACKAGE_PREFIX) and tf.io.gfile.exists(path))


def _digest(entries: Iterable[tuple[str, str]]) -> str:
    """Returns the SHA-256 of the entries as one json object."""
    digest, separator = hashlib.sha256(b"{"), ""
    for name, value in entries:
        digest.update(f"{separator}{json.dumps(name)}: {json.dumps(value)}".encode())
        separator = ", "
    digest.update(b"}")
    return digest.hexdigest()


@contextlib.contextmanager
def _there(path: str) -> Iterator[None]:
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error


def _sha256_or_unreadable(path: str) -> str:
    return file_sha256(path) if is_readable(path) else _UNREADABLE


def file_sha256(path: str) -> str:
    """Returns a file's SHA-256, hexadecimal, reading it piece by piece from any file system of TensorFlow's.

    Raises:
        FileNotFoundError: if it is gone.
    """
    digest = hashlib.sha256()
    with _there(path), tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
