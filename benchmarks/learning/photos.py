"""What a learning benchmark trains on and is scored on: the experiment that fits a data folder, and its records."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config import ExperimentConfig
    from maskformer_model.data.examples import ExampleRecord

EXPERIMENTS = {"camvid": "camvid_small", "nuclei": "nuclei_small"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photos:
    """A data folder as records.

    Attributes:
        config: The experiment whose crops, batches and test size are used, with the folder's number of classes.
        categories: The folder's categories.
        train_files: Record files to train from, as a glob.
        val_files: Record files to score on, as a glob.
    """

    config: ExperimentConfig
    categories: CategoryTable
    train_files: str
    val_files: str

    def truth(self) -> Iterator[ExampleRecord]:
        """Returns the photos that models are scored on, with their truth."""
        return read_records(self.val_files)


def read(data_dir: str, records_dir: str, config: ExperimentConfig | None = None) -> Photos:
    """Converts a data folder to records, unless that was done before.

    Args:
        data_dir: The folder, in a layout that `maskformer train --data` reads.
        records_dir: A folder for the records.
        config: The experiment; by default the one that `EXPERIMENTS` has for the folder's name.

    Raises:
        ValueError: if there is no experiment for the folder.
    """
    from components.coco_example_gen.options import IngestOptions
    from components.training.train_data_folder import convert_folder
    from maskformer_model import experiments
    from maskformer_model.categories import CategoryTable
    from maskformer_model.config.files import CATEGORIES_FILE
    from maskformer_model.training.loop import with_num_classes

    name = pathlib.Path(data_dir).resolve().name
    if config is None:
        if name not in EXPERIMENTS:
            raise ValueError(f"The data folder must be called one of {sorted(EXPERIMENTS)}. Received: {data_dir}")
        config = experiments.get(EXPERIMENTS[name])
    convert_folder(data_dir, records_dir, IngestOptions())
    categories = CategoryTable.load(os.path.join(records_dir, CATEGORIES_FILE))
    return Photos(
        config=with_num_classes(config, categories.num_classes),
        categories=categories,
        train_files=os.path.join(records_dir, "train*.tfrecord*"),
        val_files=os.path.join(records_dir, "val*.tfrecord*"),
    )


def read_records(files: str) -> Iterator[ExampleRecord]:
    """Yields the photos of record files, given as a glob, with their truth."""
    from maskformer_model.data import examples, input_pipeline

    _, records = input_pipeline.open_records(files)
    for serialized in records.as_numpy_iterator():
        yield examples.decode_record(serialized)


def records_beside(output: str, data_dir: str) -> str:
    """Returns the folder of the records where none is given: beside the output, named after the data."""
    return os.path.join(os.path.dirname(os.path.abspath(output)), f"records-{pathlib.Path(data_dir).resolve().name}")
