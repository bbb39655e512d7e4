"""In place of the Trainer's `run_fn`: takes the model of an earlier run, if that was trained on the same photos.

So a data set that is written in another layout needs no training of its own: no pixel, segment or category may differ.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence

import tensorflow as tf

from components.panoptic_predictor import prediction_files
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples, preprocessing
from maskformer_model.data.panoptic_png import decode_panoptic_png

EXPERIMENT_KEY, CHECKPOINTS_KEY = "experiment", "checkpoints_dir"
EARLIER_ROOT = "MASKFORMER_TEST_EARLIER_ROOT"  # The earlier run's `--root`. Not a variable: TFX loads modules anew.


def run_fn(fn_args) -> None:
    """Writes the model where the pipeline's Trainer would.

    Raises:
        ValueError: if the earlier run was trained on something else.
    """
    nodes = pathlib.Path(os.environ[EARLIER_ROOT], "pipeline")
    [earlier_files] = (nodes / "CocoExampleGen" / "examples").glob("*/Split-train")
    [earlier_model] = (nodes / "Trainer" / "model").glob("*/Format-Serving")
    if contents_of(fn_args.train_files) != contents_of([str(earlier_files / "*")]):
        raise ValueError(f"The photos, segments or categories are not those of {earlier_files}.")
    shutil.copytree(earlier_model, fn_args.serving_model_dir, dirs_exist_ok=True)


def contents_of(patterns: Sequence[str]) -> tuple:
    """Returns the classes' names and kinds, and every photo's pixels, map and segments, in order of the file names."""
    paths = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    records = [examples.decode_record(example) for path in paths for example in prediction_files.read_records(path)]
    photos = [
        (
            preprocessing.decode_image(tf.constant(record.image_encoded)).numpy().tobytes(),
            decode_panoptic_png(record.panoptic_png).tobytes(),
            [dataclasses.replace(segment, category_id=0) for segment in record.segments],  # Classes count, not ids.
        )
        for record in sorted(records, key=lambda record: record.filename)
    ]
    categories = CategoryTable.load(examples.categories_path(patterns[0])).categories
    return [(category.name, category.isthing) for category in categories], photos
