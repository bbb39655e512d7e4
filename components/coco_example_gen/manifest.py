"""The manifest of a data set: one json with the hash of every file that an ingestion reads.

TFX decides whether to read a data set again from the names, sizes and whole-second times of the files that match the
component's input pattern. Matching the annotation files would never notice a changed photo; matching the photos would
take a copied data set for a new one and look at each of 118,000 files. So the manifest is the matched file: its name
holds the hash of what it says and its time is fixed, and TFX's fingerprint becomes a function of the content alone.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterator

from components.coco_example_gen.coco_layout import TRAIN, VAL, CocoSplit, check_layout

MANIFEST_PATTERN = "manifest-*.json"
_HASHES_FILE = "hashes.json"
_FIXED_TIME_S = 946_684_800  # 2000-01-01: any constant will do.
# A file that changed this shortly before it was hashed could change again without a new time stamp.
_SETTLING_TIME_NS = 2_000_000_000
_HASHING_THREADS = 8


def write_manifest(data_dir: str | os.PathLike[str], output_dir: str | os.PathLike[str]) -> str:
    """Hashes a data set and writes its manifest, unless the same manifest is there already.

    Args:
        data_dir: a data set in COCO's panoptic layout.
        output_dir: folder of the manifest, which holds nothing else; is made if it is missing. Beside the manifest it
            keeps the hashes of files by size, times and inode, so that a file that was not touched is not read again.

    Returns:
        Path of the manifest. Manifests of other content are removed from the folder.

    Raises:
        DataLayoutError: if the folder is not in COCO's panoptic layout.
    """
    root = pathlib.Path(os.path.abspath(data_dir))
    check_layout(root)
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    files = _hash_files(root, folder / _HASHES_FILE)
    text = json.dumps({"data_dir": str(root), "files": files}, indent=0, sort_keys=True)
    path = folder / f"manifest-{hashlib.sha256(text.encode()).hexdigest()}.json"
    for other in folder.glob(MANIFEST_PATTERN):
        if other != path:
            other.unlink()
    if not path.exists():
        _write_whole(path, text)
        os.utime(path, (_FIXED_TIME_S, _FIXED_TIME_S))
    return str(path)


def _hash_files(root: pathlib.Path, hashes_path: pathlib.Path) -> dict[str, str]:
    """SHA-256, hexadecimal, by path relative to `root`."""
    known = _known_hashes(hashes_path, root)
    begin_ns = time.time_ns()
    paths = sorted(_input_files(root))
    with concurrent.futures.ThreadPoolExecutor(_HASHING_THREADS) as pool:
        entries = dict(zip(paths, pool.map(lambda name: _hash_file(root / name, known.get(name)), paths), strict=True))
    settled = {name: entry for name, entry in entries.items() if max(entry[1:3]) < begin_ns - _SETTLING_TIME_NS}
    _write_whole(hashes_path, json.dumps({"data_dir": str(root), "files": settled}))
    return {name: entry[-1] for name, entry in entries.items()}


def _input_files(root: pathlib.Path) -> Iterator[str]:
    for split in (CocoSplit(str(root), name) for name in (TRAIN, VAL)):
        for path in (split.panoptic_json, split.captions_json):
            if os.path.isfile(path):
                yield os.path.relpath(path, root)
        for folder in (split.photo_dir, split.panoptic_png_dir):
            with os.scandir(folder) as entries:
                yield from (os.path.relpath(entry.path, root) for entry in entries if entry.is_file())


def _hash_file(path: pathlib.Path, known: list | None) -> list:
    """`[size, modification time, change time, inode, hash]`; the hash of `known` if the rest is still the same.

    The change time cannot be set back, unlike the modification time that copying tools restore.
    """
    with open(path, "rb") as file:
        stat = os.fstat(file.fileno())
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        if known is not None and known[:-1] == state:
            return known
        return [*state, hashlib.file_digest(file, "sha256").hexdigest()]


def _known_hashes(path: pathlib.Path, root: pathlib.Path) -> dict[str, list]:
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["files"] if content["data_dir"] == str(root) else {}


def _write_whole(path: pathlib.Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
