"""Recognises the jsons of tools in forms of their own: labelme's, one per photo, and Label Studio's, a list of tasks.

`records.labelme` and `records.label_studio` read them as COCO's lists. An address such as `labelme:FOLDER|PART` stands
for the COCO json that they would be: PART is what belongs to the split.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import ijson

from components.coco_example_gen.layouts.files import Files, may_be_folder
from components.coco_example_gen.layouts.split_source import INSTANCES, SplitSource
from components.coco_example_gen.layouts.split_words import TEST, split_of

LABELME, LABEL_STUDIO = "labelme", "label_studio"
_PREFIXES = {LABELME: "labelme:", LABEL_STUDIO: "label_studio:"}
_NAMES = {LABELME: "labelme", LABEL_STUDIO: "Label Studio"}
TOOL_PREFIXES = tuple(_PREFIXES.values())
_MOST_DEPTH = 2


def is_tool_address(path: str) -> bool:
    """Returns whether a path is an address of this module."""
    return path.startswith(TOOL_PREFIXES)


def parts_of(address: str) -> tuple[str, str, str]:
    """Returns the tool, the data folder and the part of an address."""
    tool, _, rest = address.partition(":")
    root, _, part = rest.partition("|")
    return tool, root, part


def find_tool_jsons(data_dir: str, files: Files, tool: str) -> tuple[dict[str, SplitSource], str]:
    """Finds a tool's jsons.

    Returns:
        Sources by split ("" where no folder or file names one), and a sentence where it is not clear which are meant.
    """
    root = data_dir.rstrip("/")
    parts: dict[str, set[str]] = {}
    for path in _first_jsons(root, files) if tool == LABELME else _all_jsons(root, files):
        if _tool_of(path, files) == tool:
            relative = posixpath.relpath(path, root)
            part = _part_of_split(posixpath.dirname(relative)) if tool == LABELME else relative
            parts.setdefault(split_of(part), set()).add(part)
    if many := [sorted(found) for split, found in parts.items() if len(found) > 1 and split != TEST]:
        listed = "; ".join(", ".join(found[:4]) for found in many)
        kind = "folder of labelme's jsons" if tool == LABELME else "export of Label Studio"
        return (
            {},
            f"More than one {kind} for one split: {listed}. Put them together, or name one folder of them as data.",
        )
    if tool == LABELME and "" in parts and len(parts) > 1:
        named = ", ".join(sorted(set().union(*parts.values()) - {""})[:4])
        return {}, f"labelme's jsons lie in {named} and outside of it. Move those outside into a folder `train`."
    # labelme names photos relative to its jsons, which may lie elsewhere: names begin at the data folder.
    return {split: _source(tool, root, min(found)) for split, found in parts.items()}, ""


def _part_of_split(folder: str) -> str:
    """Returns the folder that names the split of a folder: itself, one above it, or "" where none does."""
    while folder and not split_of(posixpath.basename(folder)):
        folder = posixpath.dirname(folder)
    return folder


def _source(tool: str, root: str, part: str) -> SplitSource:
    address = f"{_PREFIXES[tool]}{root}|{part}"
    return SplitSource(
        layout=tool,
        tool=_NAMES[tool],
        truth=INSTANCES,
        photo_dirs=(root,),
        image_file=address,
        object_file=address,
    )


def labelme_ids(root: str, part: str, files: Files) -> Iterator[str]:
    """Yields the ids of labelme's photos: the paths of their jsons without ending."""
    pending = [f"{root}/{part}".rstrip("/")]
    while pending:
        folder = pending.pop()
        for name in files.names(folder):
            path = f"{folder}/{name}"
            if name.lower().endswith(".json"):
                yield posixpath.relpath(path, root).removesuffix(".json")
            elif may_be_folder(name) and files.is_folder(path):
                pending.append(path)


def _all_jsons(root: str, files: Files) -> Iterator[str]:
    for folder in _folders(root, files):
        yield from (f"{folder}/{name}" for name in files.names(folder) if name.lower().endswith(".json"))


def _first_jsons(root: str, files: Files) -> Iterator[str]:
    for folder in _folders(root, files):
        names = (name for name in files.names(folder) if name.lower().endswith(".json"))
        if first := next(names, ""):
            yield f"{folder}/{first}"


def _folders(root: str, files: Files) -> Iterator[str]:
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        yield folder
        if depth < _MOST_DEPTH:
            children = [f"{folder}/{name}" for name in files.names(folder) if may_be_folder(name)]
            pending += [(child, depth + 1) for child in children if files.is_folder(child)]


def _tool_of(path: str, files: Files) -> str:
    """Returns the tool whose form a json has, or "". Only the first entry of a list is read."""
    keys: set[tuple[str, str]] = set()
    try:
        with files.open(path) as file:
            for prefix, event, value in ijson.parse(file):
                if event == "map_key" and prefix in ("", "item"):
                    keys.add((prefix, value))
                elif (prefix, event) == ("item", "end_map"):
                    break
    except (ijson.JSONError, OSError):
        return ""
    if {("", "shapes"), ("", "imagePath")} <= keys:
        return LABELME
    return LABEL_STUDIO if {("item", "annotations"), ("item", "data")} <= keys else ""
