"""Checks that a data folder has a layout that can be read, before anything heavy is imported.

`coco_example_gen.data_files` checks the same again through TensorFlow's file systems where the data is read; folders of
object stores are left to it.
"""

from __future__ import annotations

import os

from components.coco_example_gen.layouts.files import LOCAL
from components.coco_example_gen.layouts.find import UnknownLayoutError, notes_on
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_in


class DataFolderError(ValueError):
    """The data folder has no readable layout; the message is for the user."""


def check_data_dir(data_dir: str, options: IngestOptions) -> list[str]:
    """Checks that the folders and files to read exist, and describes their layout.

    Args:
        data_dir: The data set's folder; one in an object store is not checked.
        options: Which splits are read. With spans, only the folder itself is checked.

    Returns:
        Sentences about the layout; none if the folder was not checked.

    Raises:
        DataFolderError: if some are missing; it names each, where it was expected, and what is there instead.
    """
    if "://" in data_dir:
        return []
    if options.span_pattern:
        if not os.path.isdir(data_dir):
            raise DataFolderError(f"`--data` must name the folder of the spans. {_what_is_there(data_dir)}")
        return []
    try:
        return notes_on(sources_in(data_dir, options, LOCAL), options.eval_share)
    except UnknownLayoutError as error:
        raise DataFolderError(f"`--data`: {error}") from error


def _what_is_there(data_dir: str) -> str:
    if not os.path.isdir(data_dir):
        return f"{data_dir} is not a folder."
    return f"{data_dir} holds: {', '.join(sorted(os.listdir(data_dir))[:20]) or 'nothing'}."
