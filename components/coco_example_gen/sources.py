"""Finds the files of each split for the options of an ingestion."""

from __future__ import annotations

import dataclasses

from components.coco_example_gen.layouts.files import Files
from components.coco_example_gen.layouts.find import find_data
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.options import SPLITS, IngestOptions


def sources_of(data_dir: str, options: IngestOptions) -> dict[str, SplitSource]:
    """Finds the files of each split of the Examples, on this machine or in an object store.

    Raises:
        UnknownLayoutError: if the data folder has no layout that can be read.
    """
    from components.coco_example_gen.layouts.data_files import ANYWHERE  # Imports TensorFlow.

    return sources_in(data_dir, options, ANYWHERE)


def sources_in(data_dir: str, options: IngestOptions, files: Files) -> dict[str, SplitSource]:
    """Finds the files of each split through `files`."""
    found = find_data(data_dir, [options.folder(split) for split in SPLITS], files, options.layout, options.things)
    return {split: dataclasses.replace(found[options.folder(split)], unlabeled=options.unlabeled) for split in SPLITS}
