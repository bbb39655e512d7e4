"""Finds the files of each split for the options of an ingestion."""

from __future__ import annotations

import dataclasses

from components.coco_example_gen.layouts.drawn_split import draw_split
from components.coco_example_gen.layouts.files import Files
from components.coco_example_gen.layouts.find import find_data
from components.coco_example_gen.layouts.published import TRAIN, VAL
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.options import EVAL_SPLIT, SPLITS, TRAIN_SPLIT, IngestOptions


def sources_of(data_dir: str, options: IngestOptions) -> dict[str, SplitSource]:
    """Finds the files of each split of the Examples, on this machine or in an object store.

    Raises:
        UnknownLayoutError: if the data folder has no layout that can be read.
    """
    from components.coco_example_gen.layouts.data_files import ANYWHERE  # Imports TensorFlow.

    return sources_in(data_dir, options, ANYWHERE)


def sources_in(data_dir: str, options: IngestOptions, files: Files) -> dict[str, SplitSource]:
    """Finds the files of each split through `files`."""
    folders = {split: options.folder(split) for split in SPLITS}
    found = find_data(data_dir, list(folders.values()), files, options.layout, options.things, options.stuff)
    if options.eval_share:
        found = draw_split(found[TRAIN], files, options.eval_share)
        folders = {TRAIN_SPLIT: TRAIN, EVAL_SPLIT: VAL}
    return {split: dataclasses.replace(found[folders[split]], unlabeled=options.unlabeled) for split in SPLITS}
