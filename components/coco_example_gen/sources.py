"""Where the files of each split are, for the options of one ingest."""

from __future__ import annotations

import tensorflow as tf

from components.coco_example_gen.layouts.published import find_sources
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.options import SPLITS, IngestOptions


def sources_of(data_dir: str, options: IngestOptions) -> dict[str, SplitSource]:
    """Where the files of each split of the Examples are.

    Raises:
        UnknownLayoutError: if the data folder has no layout that can be read.
    """
    found = find_sources(data_dir, [options.folder(split) for split in SPLITS], tf.io.gfile.exists, options.layout)
    return {split: found[options.folder(split)] for split in SPLITS}
