"""Whether a data folder has COCO's panoptic layout, answered before anything heavy is imported.

`coco_example_gen.coco_files` checks the same again through TensorFlow's file systems where the data is read; folders of
object stores are left to it.
"""

from __future__ import annotations

import os

from components.coco_example_gen.options import SPLITS, IngestOptions


class DataFolderError(ValueError):
    """The data folder is not what it should be; the message is for the person who named it."""


def check_data_dir(data_dir: str, options: IngestOptions) -> None:
    """Looks for the folders and files that an ingestion will read.

    Args:
        data_dir: Local, or of an object store, which is not looked at.
        options: Say which splits are read.

    Raises:
        DataFolderError: if some are missing, naming each, where it was expected, and what is there instead.
    """
    if "://" in data_dir:
        return
    expected: dict[str, str] = {}
    for name in sorted({options.folder(split) for split in SPLITS}):
        expected[os.path.join(data_dir, name)] = "folder of the photos"
        expected[os.path.join(data_dir, "annotations", f"panoptic_{name}.json")] = "categories and segments"
        expected[os.path.join(data_dir, "annotations", f"panoptic_{name}")] = "folder of the panoptic PNGs"
    missing = [f"  {path}  ({meaning})" for path, meaning in expected.items() if not os.path.exists(path)]
    if missing:
        raise DataFolderError(
            "`--data` must name a folder in COCO's panoptic layout. Not found:\n"
            + "\n".join(missing)
            + f"\n{_what_is_there(data_dir)}"
        )


def _what_is_there(data_dir: str) -> str:
    if not os.path.isdir(data_dir):
        return f"{data_dir} is not a folder."
    return f"{data_dir} holds: {', '.join(sorted(os.listdir(data_dir))[:20]) or 'nothing'}."
