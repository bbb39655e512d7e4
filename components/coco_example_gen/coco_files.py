"""Where the files of one COCO-panoptic split are, and whether they are there.

    <data_dir>/train2017/*.jpg
    <data_dir>/annotations/panoptic_train2017.json
    <data_dir>/annotations/panoptic_train2017/*.png
    <data_dir>/annotations/captions_train2017.json     may be absent

All files are reached through `tf.io.gfile`, so that a folder of an object store works like a local one.
"""

from __future__ import annotations

import dataclasses
import os

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class CocoFiles:
    """The files of one split.

    Attributes:
        data_dir: the data set's folder.
        name: the split's name in it, such as "train2017".
    """

    data_dir: str
    name: str

    @property
    def photo_dir(self) -> str:
        """Folder of the photos."""
        return os.path.join(self.data_dir, self.name)

    @property
    def annotation_name(self) -> str:
        """The panoptic json, relative to the data folder."""
        return os.path.join("annotations", f"panoptic_{self.name}.json")

    @property
    def annotation_file(self) -> str:
        """The panoptic json."""
        return os.path.join(self.data_dir, self.annotation_name)

    @property
    def panoptic_dir(self) -> str:
        """Folder of the panoptic PNGs."""
        return os.path.join(self.data_dir, "annotations", f"panoptic_{self.name}")

    @property
    def captions_file(self) -> str:
        """The captions json, which may be absent."""
        return os.path.join(self.data_dir, "annotations", f"captions_{self.name}.json")

    def check(self) -> None:
        """Looks for what must be there.

        Raises:
            FileNotFoundError: if something is missing, naming each file or folder and where it was expected.
        """
        expected = {
            self.photo_dir: "folder of the photos",
            self.annotation_file: "categories and segments",
            self.panoptic_dir: "folder of the panoptic PNGs",
        }
        missing = [f"{path} ({meaning})" for path, meaning in expected.items() if not tf.io.gfile.exists(path)]
        if missing:
            raise FileNotFoundError(
                f"The data folder {self.data_dir} must have COCO's panoptic layout. Not found: {', '.join(missing)}"
            )


def read_file(path: str) -> bytes | None:
    """The whole file, or None if there is none."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()
