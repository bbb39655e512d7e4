"""Recognises COCO jsons wherever labelling tools put them, and finds the photos and PNGs that belong to them.

| tool                        | where its export has the json and the photos                                |
|-----------------------------|-----------------------------------------------------------------------------|
| CVAT, Datumaro              | annotations/instances_NAME.json, images/NAME/                               |
| Roboflow                    | train, valid and test, each with _annotations.coco.json beside its photos   |
| Label Studio                | result.json, images/                                                        |
| FiftyOne                    | labels.json, data/                                                          |
| Supervisely                 | DATASET/annotations/instances.json, DATASET/images/                         |
| VGG Image Annotator (VIA)   | any json, beside the photos                                                 |

What counts is the content of a json and where the photos are that it names, so a folder that somebody has rearranged
is recognised too.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

import ijson

from components.coco_example_gen.layouts.files import Files, may_be_folder
from components.coco_example_gen.layouts.split_source import INSTANCES, PANOPTIC, SplitSource
from components.coco_example_gen.layouts.split_words import split_of

_BOXES = "boxes"  # Objects without masks, of which nothing can be learned here.
_SAMPLED_NAMES = 3
_MOST_JSONS = 50
_TOOLS = {
    "label studio": "Label Studio",
    "label-studio": "Label Studio",
    "roboflow": "Roboflow",
    "fiftyone": "FiftyOne",
    "voxel51": "FiftyOne",
    "supervisely": "Supervisely",
    "vgg image annotator": "VIA",
    "via project": "VIA",
    "coco annotator": "COCO Annotator",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CocoJson:
    """A json with COCO's lists.

    Attributes:
        path: The path of the file.
        truth: "panoptic", "instances", "boxes" (without masks), or "" without annotations.
        photo_names: the first photos' `file_name`.
        png_name: the first panoptic PNG's `file_name`.
        info: what the file says of its origin.
    """

    path: str
    truth: str
    photo_names: tuple[str, ...]
    png_name: str = ""
    info: str = ""

    @property
    def stem(self) -> str:
        """Returns the file's name without ending and kind, such as `default` of `instances_default.json`."""
        name = posixpath.basename(self.path).removesuffix(".json")
        return re.sub(r"^(instances|panoptic)_", "", name)


def find_jsons(data_dir: str, files: Files) -> tuple[list[CocoJson], list[str]]:
    """Returns the COCO jsons of a folder and of the two levels below, and those that are no whole json."""
    found, broken = [], []
    for path in _json_paths(data_dir, files):
        try:
            coco = _peek(path, files)
        except (ijson.JSONError, OSError):
            broken.append(path)
            continue
        if coco:
            found.append(coco)
    return found, broken


def source_of(coco: CocoJson, data_dir: str, files: Files) -> SplitSource | str:
    """Returns where the photos (and PNGs) of a json are, or what is missing, as a sentence."""
    name = _relative(coco.path, data_dir)
    if coco.truth == _BOXES:
        return f"{name} has boxes without masks: export polygons or masks (`segmentation`)."
    if not coco.truth:
        return f"{name} has no annotation."
    folders = _photo_folders(coco, data_dir, files)
    photo_dir, rule = _first_with_photos(coco.photo_names, folders, files)
    if photo_dir is None:
        first = coco.photo_names[0] if coco.photo_names else "none"
        places = ", ".join(dict.fromkeys(_relative(folder, data_dir) for folder in folders[:6]))
        return f"{name} names photos such as {first!r}, which are in none of: {places}. Put them into one of these."
    source = SplitSource(
        layout=f"coco_{coco.truth}",
        tool=tool_of(coco),
        truth=coco.truth,
        photo_dirs=(photo_dir,),
        photo_name_rule=rule,
        image_file=coco.path,
    )
    if coco.truth == INSTANCES:
        return dataclasses.replace(source, object_file=coco.path)
    png_dir = next((d for d in _png_folders(coco, data_dir) if files.exists(posixpath.join(d, coco.png_name))), None)
    if png_dir is None:
        return f"{name} names panoptic PNGs such as {coco.png_name!r}, which are not in {coco.path[:-5]}/."
    return dataclasses.replace(source, panoptic_file=coco.path, panoptic_dir=png_dir)


def split_of_json(coco: CocoJson, data_dir: str) -> str:
    """Returns "train", "val", "test" or "" by the names of the json and its folders."""
    return split_of(_relative(coco.path, data_dir))


def tool_of(coco: CocoJson) -> str:
    """Returns the name of the tool that wrote a json, or "" where nothing tells."""
    info = coco.info.lower()
    if found := next((tool for word, tool in _TOOLS.items() if word in info), ""):
        return found
    name, folder = posixpath.basename(coco.path), posixpath.basename(posixpath.dirname(coco.path))
    if name == "_annotations.coco.json":
        return "Roboflow"
    if re.fullmatch(r"(instances|panoptic)_default\.json", name):
        return "CVAT or Datumaro"
    if name == "instances.json" and folder == "annotations":
        return "Supervisely"
    if name == "result.json":
        return "Label Studio"
    if name == "labels.json":
        return "FiftyOne"
    if name.startswith("via_"):
        return "VIA"
    return ""


def _json_paths(data_dir: str, files: Files) -> Iterator[str]:
    """Jsons of a folder and of two levels below it; of a folder with very many (a json per photo) none."""
    pending = [(data_dir.rstrip("/"), 0)]
    while pending:
        folder, depth = pending.pop(0)
        names = files.names(folder)
        jsons = [name for name in names if name.lower().endswith(".json")]
        if len(jsons) <= _MOST_JSONS:
            yield from (f"{folder}/{name}" for name in jsons)
        if depth < 2:
            children = [f"{folder}/{name}" for name in names if may_be_folder(name)]
            pending += [(child, depth + 1) for child in children if files.is_folder(child)]


def _peek(path: str, files: Files) -> CocoJson | None:
    """Reads a json as far as it takes to see what it is; None where it has no list `images` or no `annotations`."""
    photo_names: list[str] = []
    lists: set[str] = set()
    info: list[str] = []
    truth, png_name, has_box = "", "", False
    with files.open(path) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        for prefix, event, value in ijson.parse(file):
            if prefix == "" and event == "start_array":
                return None
            if event == "start_array" and prefix in ("images", "annotations", "categories"):
                lists.add(prefix)
            elif prefix == "images.item.file_name" and len(photo_names) < _SAMPLED_NAMES and isinstance(value, str):
                photo_names.append(value)
            elif prefix.startswith("info.") and event == "string":
                info.append(value)
            elif prefix == "annotations.item.segments_info":
                truth = PANOPTIC
            elif prefix == "annotations.item.segmentation" and event in ("start_array", "start_map"):
                truth = INSTANCES
            elif prefix == "annotations.item.bbox":
                has_box = True
            elif prefix == "annotations.item.file_name" and not png_name and isinstance(value, str):
                png_name = value
            if photo_names and "categories" in lists and _is_decided(truth, png_name):
                break
    if not {"images", "annotations"} <= lists and not (truth and photo_names):
        return None
    truth = truth or (_BOXES if has_box else "")
    return CocoJson(path=path, truth=truth, photo_names=tuple(photo_names), png_name=png_name, info=" ".join(info))


def _is_decided(truth: str, png_name: str) -> bool:
    return truth == INSTANCES or (truth == PANOPTIC and bool(png_name))


def _photo_folders(coco: CocoJson, data_dir: str, files: Files) -> list[str]:
    """Lists the folders where a tool may have put the photos, the likeliest first.

    Splits may number their photos alike, so what a folder is called counts for more than where it lies.
    """
    root, here = data_dir.rstrip("/"), posixpath.dirname(coco.path)
    above = posixpath.dirname(here) if here != root else here
    folders = [here]
    for base in dict.fromkeys((above, root, here)):
        for folder in ("images", "data", "img", "photos", "JPEGImages"):
            folders += [f"{base}/{folder}/{coco.stem}", f"{base}/{folder}"]
        folders += [f"{base}/{coco.stem}", base]
    # Any other folder of the data set: what counts is that the photos are there.
    for base in dict.fromkeys((above, root)):
        children = [f"{base}/{name}" for name in files.names(base) if may_be_folder(name)]
        folders += children + [
            f"{child}/{name}" for child in children for name in files.names(child) if may_be_folder(name)
        ]
    split = split_of_json(coco, data_dir)

    places = {split: 0, "": 1}  # Then those of other splits.
    return sorted(dict.fromkeys(folders), key=lambda folder: places.get(split_of(_relative(folder, data_dir)), 2))


def _first_with_photos(names: Sequence[str], folders: Sequence[str], files: Files) -> tuple[str | None, str]:
    """Finds the folder that has most of the named photos, and the rule by which their names lead there."""

    def count(folder: str, found: Sequence[str]) -> int:
        return sum(files.exists(posixpath.join(folder, name)) for name in found)

    safe = [name for name in names if not name.startswith("/") and ".." not in name and "\\" not in name]
    plain = [posixpath.basename(name.replace("\\", "/")) for name in names]
    for found, rule in ((safe, ""), (plain, "basename")):
        counts: list[tuple[int, Any]] = [(count(folder, found), folder) for folder in folders if found]
        best = max((number for number, _ in counts), default=0)
        if best:
            return next(folder for number, folder in counts if number == best), rule
    return None, ""


def _png_folders(coco: CocoJson, data_dir: str) -> list[str]:
    here, stem = posixpath.dirname(coco.path), posixpath.basename(coco.path).removesuffix(".json")
    root, above = data_dir.rstrip("/"), posixpath.dirname(here)
    folders = [f"{base}/{stem}" for base in (here, root, above)]
    folders += [f"{base}/{folder}" for base in (here, above) for folder in ("panoptic", "masks", "pngs", coco.stem)]
    return [*folders, here]


def _relative(path: str, data_dir: str) -> str:
    relative = posixpath.relpath(path, data_dir)
    return "the folder itself" if relative == "." else relative
