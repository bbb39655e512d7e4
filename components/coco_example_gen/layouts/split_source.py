"""Where the files of one split are: plain paths, whatever data set and layout they come from.

`published` makes one from a data folder, `create_coco_tf_record` from flags; everything after that reads this value.
The data set's annotations say what is true of a photo in one of three ways (`truth`):

| truth     | read from                                                                        | segments            |
|-----------|----------------------------------------------------------------------------------|---------------------|
| panoptic  | `panoptic_file` and the PNGs of `panoptic_dir`                                   | things and stuff    |
| instances | the polygons and run lengths of `object_file`                                    | things; `stuff`     |
| labels    | label PNGs of `label_dir`, coded as `label_code` says; categories: `category_file` | depends on the code |
| none      | nothing: photos without segments                                                 | none                |
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from components.coco_example_gen.layouts.split_words import hash_share

PACKAGE_PREFIX = "package:"  # Of a path to a file that comes with this package instead of the data set.
BACKGROUND, VOID = "background", "void"  # What unlabelled pixels are.
PANOPTIC, INSTANCES, LABELS, NO_TRUTH = "panoptic", "instances", "labels", "none"

# What a field's path is, for people; these must exist where they are given. Captions and objects may be absent.
_MEANINGS = {
    "panoptic_file": "categories and segments",
    "panoptic_dir": "folder of the panoptic PNGs",
    "label_dir": "folder of the label PNGs",
    "category_file": "categories",
    "list_file": "list of the photos",
    "object_dir": "folder of the PNGs that tell objects apart",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSource:
    """The files of one split. Paths are absolute or of an object store; "" where there is no such file.

    Attributes:
        layout: its name, for messages.
        truth: "panoptic", "instances", "labels" or "none": the module's table.
        photo_dirs: folders of the photos; a photo must be in exactly one of them.
        image_file: a json whose `images` are the split's photos; "": every photo of the folder is one.
        panoptic_file: json of the panoptic segments.
        panoptic_dir: folder of the panoptic PNGs.
        object_file: COCO's instances json.
        caption_file: COCO's captions json.
        label_dir: folder of the label PNGs.
        label_code: how a label PNG is read, see `label_png`.
        category_file: what the labels mean.
        photo_suffix: The ending of photos' file names where the folder is listed, and what a label PNG's name replaces.
        label_suffix: The ending of the label PNGs' file names.
        photo_name_rule: "" takes the json's `file_name`; "cityscapes" finds the photo that Cityscapes' json means;
            "basename" drops the folders that a tool has put before the name.
        tool: the labelling tool that exported the data, for messages; "" where nothing tells.
        list_file: names of the photos without ending, a line each; "": every photo of the folder is one.
        object_dir: folder of PNGs that tell the objects of a label PNG apart, as VOC's `SegmentationObject`.
        things: Label PNGs: classes whose objects are separated.
        stuff: single objects: classes whose objects are one segment of stuff in each photo.
        unlabeled: what a pixel is that no object of a `coco_instances` json covers: "background" (the annotation is
            exhaustive) or "void" (only some objects are labelled).
        part: the photos of this split, by the hash of their ids: from the first number, 0..1, up to the second.
        areas: "pixels": the json's areas must be those of the pixels; "json": they may be larger, as `stated_extents`
            says of ADE20K's.
    """

    layout: str
    truth: str
    photo_dirs: tuple[str, ...]
    image_file: str = ""
    panoptic_file: str = ""
    panoptic_dir: str = ""
    object_file: str = ""
    caption_file: str = ""
    label_dir: str = ""
    label_code: str = ""
    category_file: str = ""
    photo_suffix: str = ".jpg"
    label_suffix: str = ".png"
    photo_name_rule: str = ""
    tool: str = ""
    list_file: str = ""
    object_dir: str = ""
    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    unlabeled: str = BACKGROUND
    part: tuple[float, float] = (0.0, 1.0)
    areas: str = "pixels"

    def takes(self, image_id: str) -> bool:
        """Returns whether a photo of these files belongs to the split."""
        return self.part == (0.0, 1.0) or self.part[0] <= hash_share(image_id) < self.part[1]

    def photo_name(self, file_name: str) -> str:
        """Returns where a photo lies below its folder, from its `file_name`."""
        if self.photo_name_rule == "cityscapes":
            # Its json names photos "<city>_<sequence>_<frame>_gtFine_leftImg8bit.png", without the city's folder.
            return f"{file_name.split('_')[0]}/{file_name.replace('_gtFine_leftImg8bit', '_leftImg8bit')}"
        if self.photo_name_rule == "basename":
            return posixpath.basename(file_name.replace("\\", "/"))
        return file_name

    def expected(self) -> dict[str, str]:
        """Lists what must exist: by path, what it is, without the files of this package."""
        paths = dict.fromkeys(self.photo_dirs, "folder of the photos")
        paths |= {getattr(self, name): meaning for name, meaning in _MEANINGS.items() if getattr(self, name)}
        if self.truth == INSTANCES:
            paths[self.object_file] = "categories, boxes and masks"
        return {path: meaning for path, meaning in paths.items() if not path.startswith(PACKAGE_PREFIX)}

    def missing(self, exists: Callable[[str], bool]) -> dict[str, str]:
        """Returns the entries of `expected` that do not exist."""
        return {path: meaning for path, meaning in self.expected().items() if not exists(path)}

    def input_paths(self) -> tuple[list[str], list[str]]:
        """Returns the single files and the folders that are read; some of the files may be absent."""
        names = ("image_file", "panoptic_file", "object_file", "caption_file", "category_file", "list_file")
        files = dict.fromkeys(getattr(self, name) for name in names if getattr(self, name))
        folders = [
            folder for folder in (*self.photo_dirs, self.panoptic_dir, self.label_dir, self.object_dir) if folder
        ]
        return list(files), list(dict.fromkeys(folders))

    def with_names(self, root: str, names: Mapping[str, str]) -> SplitSource:
        """Fills in a layout's template: `{split}` and the like become `names`, paths begin at `root`."""

        def path(template: str) -> str:
            return f"{root.rstrip('/')}/{template.format_map(names)}" if template else ""

        fields = ("image_file", "panoptic_file", "panoptic_dir", "object_file", "caption_file", "label_dir")
        filled: dict[str, Any] = {name: path(getattr(self, name)) for name in fields}
        if not self.category_file.startswith(PACKAGE_PREFIX):
            filled["category_file"] = path(self.category_file)
        return dataclasses.replace(self, photo_dirs=tuple(map(path, self.photo_dirs)), **filled)
