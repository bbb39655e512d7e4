"""Recognises the jsons of tools in forms of their own: labelme's, one per photo, and Label Studio's, a list of tasks.

`records.labelme` and `records.label_studio` read them as COCO's lists. An address such as `labelme:FOLDER|PART` stands
for the COCO json that they would be: PART is what belongs to the split.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import ijson

from components.coco_example_gen.layouts.files import Files
from components.coco_example_gen.layouts.split_source import INSTANCES, SplitSource
from components.coco_example_gen.layouts.split_words import split_of

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


def find_tool_jsons(data_dir: str, files: Files, tool: str) -> dict[str, SplitSource]:
    """Returns the sources of a tool's jsons by split; "" where no folder or file names one."""
    root = data_dir.rstrip("/")
    sources: dict[str, SplitSource] = {}
    for path in _first_jsons(root, files) if tool == LABELME else _all_jsons(root, files):
        if _tool_of(path, files) == tool:
            part = posixpath.relpath(posixpath.dirname(path) if tool == LABELME else path, root)
            split = split_of(part)
            # labelme names photos relative to its jsons, which may lie elsewhere: names begin at the data folder.
            address = f"{_PREFIXES[tool]}{root}|{part if split or tool == LABEL_STUDIO else ''}"
            sources[split] = SplitSource(
                layout=tool,
                tool=_NAMES[tool],
                truth=INSTANCES,
                photo_dirs=(root,),
                image_file=address,
                object_file=address,
            )
    return sources


def labelme_ids(root: str, part: str, files: Files) -> Iterator[str]:
    """Yields the ids of labelme's photos: the paths of their jsons without ending."""
    pending = [f"{root}/{part}".rstrip("/")]
    while pending:
        folder = pending.pop()
        for name in files.names(folder):
            path = f"{folder}/{name}"
            if name.lower().endswith(".json"):
                yield posixpath.relpath(path, root).removesuffix(".json")
            elif "." not in name and files.is_folder(path):
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
            children = [f"{folder}/{name}" for name in files.names(folder) if "." not in name]
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
