"""Reads the jsons of tools in forms of their own as the lists of one COCO instances json: `images` and so on.

The jsons are read whole, without the photos that may be embedded in them, and again only where they have changed.
"""

from __future__ import annotations

import collections
import functools
import posixpath
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from components.coco_example_gen.kept_aside import UnreadPhoto
from components.coco_example_gen.layouts.files import visible
from components.coco_example_gen.layouts.tool_jsons import LABELME, parts_of
from components.coco_example_gen.records import label_studio, labelme

Stamp = tuple[tuple[str, int, int], ...]


def tool_list(address: str, name: str) -> Iterator[dict[str, Any] | UnreadPhoto]:
    """Yields the entries of a COCO list, and among the images an `UnreadPhoto` for each photo that cannot be read.

    Args:
        address: An address that `layouts.tool_jsons` made.
        name: "images", "annotations" or "categories".

    Raises:
        ValueError: if an export of Label Studio is not a json list.
    """
    tool, root, part = parts_of(address)
    if tool == LABELME:
        yield from labelme.coco_list(_documents(root, _stamp(root, ""), tool), name, part)
    else:
        [(_, tasks)] = _documents(root, _stamp(root, part), tool)
        yield from label_studio.coco_list(tasks, name, _photo_paths(root))


def _stamp(root: str, only: str) -> Stamp:
    """Returns names, sizes and times of the jsons, or of one of them, to notice that they have changed."""
    found = []
    for path in [posixpath.join(root, only)] if only else _jsons_below(root):
        facts = tf.io.gfile.stat(path)
        found.append((posixpath.relpath(path, root), int(facts.length), int(facts.mtime_nsec)))
    return tuple(sorted(found))


def _jsons_below(root: str) -> Iterator[str]:
    for folder, _, names in tf.io.gfile.walk(root):
        yield from (posixpath.join(folder, n) for n in names if n.lower().endswith(".json") and not n.startswith("."))


@functools.lru_cache(maxsize=4)
def _documents(root: str, stamp: Stamp, tool: str) -> list[tuple[str, Any]]:
    """Returns the jsons by path relative to the data folder."""
    read = labelme.read_document if tool == LABELME else label_studio.read_tasks
    documents = []
    for path, _, _ in stamp:
        with tf.io.gfile.GFile(posixpath.join(root, path), "rb") as file:
            documents.append((path, read(path, file.read())))
    return documents


def _photo_paths(root: str) -> dict[str, list[str]]:
    """Returns the files below a folder by their name, relative to it, without hidden ones."""
    paths: dict[str, list[str]] = collections.defaultdict(list)
    for folder, _, names in tf.io.gfile.walk(root):
        parts = [part for part in posixpath.relpath(folder, root).split("/") if part != "."]
        if len(visible(parts)) == len(parts):
            for name in visible(names):
                paths[name].append(posixpath.join(*parts, name))
    return dict(paths)
