"""Draws a split from the photos of one, by a hash of their ids.

The border is at a fixed share of the hashes, so a photo stays on its side when others come or go. Below
`EXACT_BELOW` photos a fixed border can give a share that is far from the one that was asked for (3 of 40 for a fifth).
There the border moves to the hash that gives exactly the share, and neither side is ever empty.
"""

from __future__ import annotations

import dataclasses
import itertools
import posixpath
from collections.abc import Iterator

import ijson

from components.coco_example_gen.layouts.class_folders import PHOTO_ENDINGS
from components.coco_example_gen.layouts.files import Files
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.layouts.split_words import TRAIN, VAL, hash_share
from components.coco_example_gen.layouts.tool_jsons import LABELME, is_tool_address, labelme_ids, parts_of

DEFAULT_EVAL_SHARE = 0.2  # Of the photos.
EXACT_BELOW = 1000  # Photos.
_SMALLEST_SHARE = 0.02  # A smaller share of so many photos might be none.


def draw_split(source: SplitSource, files: Files, share: float = DEFAULT_EVAL_SHARE) -> dict[str, SplitSource]:
    """Returns the sources of "train" and "val", drawn from the same photos.

    Args:
        source: The files of all photos.
        files: how the folder is read.
        share: The share of the photos that go to "val", 0..1.
    """
    border = _border(map(hash_share, _photo_ids(source, files)), share)
    parts = {TRAIN: (border, 1.0), VAL: (0.0, border)}
    return {split: dataclasses.replace(source, part=part) for split, part in parts.items()}


def _border(hashes: Iterator[float], share: float) -> float:
    """Returns the hash below which a photo is kept for "val"."""
    found = set(itertools.islice(hashes, EXACT_BELOW))
    if len(found) == EXACT_BELOW and _SMALLEST_SHARE <= share <= 1 - _SMALLEST_SHARE:
        return share
    in_order = sorted(found.union(hashes))
    if len(in_order) < 2:
        return share
    return in_order[min(max(round(share * len(in_order)), 1), len(in_order) - 1)]


def _photo_ids(source: SplitSource, files: Files) -> Iterator[str]:
    if is_tool_address(source.image_file):
        tool, root, part = parts_of(source.image_file)
        if tool == LABELME:
            yield from labelme_ids(root, part, files)
        else:
            yield from _json_ids(f"{root}/{part}", "item.id", files)
    elif source.image_file:
        yield from _json_ids(source.image_file, "images.item.id", files)
    elif source.list_file:
        # The ingestion says which list is not UTF-8.
        lines = files.read(source.list_file).decode("utf-8-sig", errors="replace").splitlines()
        yield from (line.split()[0] for line in lines if line.strip())
    else:
        names = files.names(source.photo_dirs[0])
        yield from (posixpath.splitext(name)[0] for name in names if name.lower().endswith(PHOTO_ENDINGS))


def _json_ids(path: str, place: str, files: Files) -> Iterator[str]:
    with files.open(path) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        try:
            for value in ijson.items(file, place):
                yield str(value)
        except ijson.JSONError:
            return  # The ingestion says where the file breaks.
