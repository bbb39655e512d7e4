"""Recognises photos with one label PNG each and a list of class names (layout `label_png`).

Pairs of folders are found by their content: a folder of PNGs whose names are those of another folder's photos, or label
PNGs beside their photos under the same name with an ending such as `_mask`. VOC's form, which CVAT calls "Segmentation
mask 1.1", has lists of photos in `ImageSets/Segmentation` and a second PNG that tells objects apart.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Sequence

from components.coco_example_gen.layouts.files import Files, may_be_folder
from components.coco_example_gen.layouts.split_source import LABELS, PACKAGE_PREFIX, SplitSource
from components.coco_example_gen.layouts.split_words import TEST, split_of

LAYOUT = "label_png"
CLASSES_CODE = "classes"
VOC_CLASSES = f"{PACKAGE_PREFIX}voc_classes.txt"
NAME_FILES = (
    "classes.txt",
    "labelmap.txt",
    "_classes.csv",
    "class_dict.csv",
    "class_names.txt",
    "label_colors.txt",
    "labels.txt",
    "classes.csv",
    "names.txt",
    "id2label.json",
)
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_LABEL_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_seg", "_L", "_gt", "_labelIds", "_labelTrainIds")
_LABEL_WORDS = re.compile(r"label|mask|annot|seg|gt|truth", re.IGNORECASE)
_OBJECT_FOLDER, _CLASS_FOLDER = "SegmentationObject", "SegmentationClass"
_MOST_DEPTH = 3


@dataclasses.dataclass(frozen=True)
class _Pair:
    photo_dir: str
    label_dir: str
    label_suffix: str
    num_photos: int


def find_label_folders(data_dir: str, files: Files) -> tuple[dict[str, SplitSource], str]:
    """Finds pairs of photos and label PNGs.

    Returns:
        Sources by split ("" where nothing names one), and a sentence about what is missing where there is none.
    """
    root = data_dir.rstrip("/")
    folders = _image_folders(root, files)
    found, problem = _voc(root, folders, files)
    if found or problem:
        return found, problem
    pairs: dict[str, list[_Pair]] = {}
    for pair in _pairs(folders):
        pairs.setdefault(_split_of_pair(pair, root), []).append(pair)
    if not pairs:
        return {}, ""
    sources = {}
    for split, of_split in pairs.items():
        if len(of_split) > 1:
            names = [f"{_relative(p.photo_dir, root)} + {_relative(p.label_dir, root)}" for p in of_split]
            return {}, f"More than one pair of photos and label PNGs for one split: {'; '.join(names)}."
        [pair] = of_split
        names_file = _names_file((root, pair.label_dir, pair.photo_dir, posixpath.dirname(pair.label_dir)), files)
        if not names_file:
            where = f"{_relative(pair.photo_dir, root)} and {_relative(pair.label_dir, root)}"
            lists = ", ".join(NAME_FILES[:4])
            return {}, f"Photos and label PNGs were found ({where}), but no list of class names: one of {lists}."
        sources[split] = _source(pair, names_file)
    return sources, ""


def _source(pair: _Pair, names_file: str, *, list_file: str = "", object_dir: str = "") -> SplitSource:
    return SplitSource(
        layout=LAYOUT,
        truth=LABELS,
        photo_dirs=(pair.photo_dir,),
        photo_suffix="",
        label_dir=pair.label_dir,
        label_suffix=pair.label_suffix,
        label_code=CLASSES_CODE,
        category_file=names_file,
        list_file=list_file,
        object_dir=object_dir,
    )


def _image_folders(root: str, files: Files) -> dict[str, dict[str, set[str]]]:
    """Returns, by folder, the names of its images without ending, by ending."""
    found: dict[str, dict[str, set[str]]] = {}
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        stems: dict[str, set[str]] = {}
        children = []
        for name in files.names(folder):
            stem, ending = posixpath.splitext(name)
            if ending.lower() in PHOTO_ENDINGS:
                stems.setdefault(ending.lower(), set()).add(stem)
            elif depth < _MOST_DEPTH and may_be_folder(name):
                children.append(f"{folder}/{name}")
        if stems:
            found[folder] = stems
        pending += [(child, depth + 1) for child in children if files.is_folder(child)]
    return found


def _pairs(folders: dict[str, dict[str, set[str]]]) -> list[_Pair]:
    pairs = []
    for label_dir, endings in folders.items():
        labels = endings.get(".png", set())
        found: list[_Pair] = []
        for photo_dir, photo_endings in folders.items():
            if photo_dir == label_dir or (
                set(photo_endings) == {".png"} and not _looks_like_labels(label_dir, photo_dir)
            ):
                continue
            if set(endings) != {".png"}:
                continue
            pair = _pair(photo_dir, set().union(*photo_endings.values()), label_dir, labels, ("", *_LABEL_ENDINGS))
            found += [pair] if pair else []
        # Splits may number their photos alike, so what a folder is called counts for more than how many names fit.
        best = max(
            found,
            key=lambda pair: (split_of(pair.photo_dir) == split_of(pair.label_dir), pair.num_photos),
            default=None,
        )
        beside = _pair(label_dir, set().union(*endings.values()), label_dir, labels, _LABEL_ENDINGS)
        pairs += [pair for pair in (best or beside,) if pair]
    return pairs


def _pair(photo_dir: str, photos: set[str], label_dir: str, labels: set[str], endings: Sequence[str]) -> _Pair | None:
    """Returns the two folders as a pair if at least half of the label PNGs have a photo."""
    for ending in endings:
        of_labels = {label.removesuffix(ending) for label in labels if label.endswith(ending)}
        shared = of_labels & photos
        if shared and 2 * len(shared) >= len(of_labels):
            return _Pair(photo_dir, label_dir, f"{ending}.png", len(shared))
    return None


def _looks_like_labels(label_dir: str, photo_dir: str) -> bool:
    """Returns whether the first of two folders of PNGs is that of the labels."""
    words = [bool(_LABEL_WORDS.search(posixpath.basename(folder))) for folder in (label_dir, photo_dir)]
    if words[0] != words[1]:
        return words[0]
    words = [bool(_LABEL_WORDS.search(folder)) for folder in (label_dir, photo_dir)]
    return words[0] and not words[1]


def _split_of_pair(pair: _Pair, root: str) -> str:
    return split_of(_relative(pair.photo_dir, root)) or split_of(_relative(pair.label_dir, root))


def _names_file(folders: Sequence[str], files: Files) -> str:
    paths = (f"{folder}/{name}" for folder in dict.fromkeys(folders) for name in NAME_FILES)
    return next((path for path in paths if files.exists(path)), "")


def _voc(root: str, folders: dict[str, dict[str, set[str]]], files: Files) -> tuple[dict[str, SplitSource], str]:
    """VOC's form by its folder of class PNGs; the classes are VOC's where no list of names is there."""
    parents = [posixpath.dirname(folder) for folder in folders if posixpath.basename(folder) == _CLASS_FOLDER]
    bases = [base for base in parents if f"{base}/JPEGImages" in folders]
    if len(bases) != 1:
        names = ", ".join(_relative(base, root) for base in bases)
        return {}, f"More than one data set in VOC's form: {names}. Name one of these folders as data." if bases else ""
    [base] = bases
    class_dir, photo_dir = f"{base}/{_CLASS_FOLDER}", f"{base}/JPEGImages"
    names_file = _names_file((base, root), files) or VOC_CLASSES
    object_dir = f"{base}/{_OBJECT_FOLDER}" if f"{base}/{_OBJECT_FOLDER}" in folders else ""
    pair = _Pair(photo_dir, class_dir, ".png", len(folders[class_dir].get(".png", ())))
    lists_dir = f"{base}/ImageSets/Segmentation"
    lists: dict[str, list[str]] = {}
    for name in files.names(lists_dir):
        if name != "trainval.txt":
            lists.setdefault(split_of(name), []).append(name)
    if many := [names for split, names in lists.items() if len(names) > 1 and split != TEST]:
        listed = "; ".join(", ".join(names) for names in many)
        return {}, f"More than one list of photos for one split in {_relative(lists_dir, root)}: {listed}. Keep one."
    return {
        split: _source(pair, names_file, list_file=name and f"{lists_dir}/{name}", object_dir=object_dir)
        for split, [name, *_] in (lists or {"": [""]}).items()
    }, ""


def _relative(path: str, root: str) -> str:
    relative = posixpath.relpath(path, root)
    return "" if relative == "." else relative
