"""Where COCO's panoptic layout keeps its files.

    <data_dir>/{split}/*.jpg                            photos, for split in train2017, val2017
    <data_dir>/annotations/panoptic_{split}.json        images, categories, segments
    <data_dir>/annotations/panoptic_{split}/*.png       segment ids
    <data_dir>/annotations/captions_{split}.json        optional
"""

from __future__ import annotations

import dataclasses
import os
import posixpath

TRAIN, VAL = "train2017", "val2017"


class DataLayoutError(ValueError):
    """The data folder or an annotation file is not what it should be, so that nothing can be read."""


@dataclasses.dataclass(frozen=True)
class CocoSplit:
    """The files of one split.

    Attributes:
        data_dir: folder of the data set.
        name: "train2017" or another name of the same form.
    """

    data_dir: str
    name: str

    @property
    def photo_dir(self) -> str:
        """Folder of the photos."""
        return posixpath.join(self.data_dir, self.name)

    @property
    def panoptic_json(self) -> str:
        """Annotation file with images, categories and segments."""
        return posixpath.join(self.data_dir, "annotations", f"panoptic_{self.name}.json")

    @property
    def panoptic_png_dir(self) -> str:
        """Folder of the panoptic PNGs."""
        return posixpath.join(self.data_dir, "annotations", f"panoptic_{self.name}")

    @property
    def captions_json(self) -> str:
        """Annotation file with captions, which may be absent."""
        return posixpath.join(self.data_dir, "annotations", f"captions_{self.name}.json")


def check_layout(data_dir: str | os.PathLike[str], names: tuple[str, ...] = (TRAIN, VAL)) -> None:
    """Looks for the folders and files that every split must have.

    Raises:
        DataLayoutError: if one is absent; the message names each, where it was expected.
    """
    splits = [CocoSplit(os.fspath(data_dir), name) for name in names]
    folders = [path for split in splits for path in (split.photo_dir, split.panoptic_png_dir)]
    missing = [f"folder {path}" for path in folders if not os.path.isdir(path)]
    missing += [f"file {split.panoptic_json}" for split in splits if not os.path.isfile(split.panoptic_json)]
    if missing:
        raise DataLayoutError(
            f"`data_dir` must hold a COCO panoptic data set. Expected but not found: {'; '.join(missing)}. "
            f"Received: {os.fspath(data_dir)}"
        )
