"""In place of the Trainer's `run_fn`: a model that is right about every other photo and wrong in a known way elsewhere.

Of the evaluated photos, in the order of their names, it knows the first, third, fifth ... by heart. In the others it
calls everything that is no thing one segment of the first class. So each class's PQ follows from the data by hand, and
does not depend on the form in which the data says what a thing is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from components.panoptic_predictor import prediction_files
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples, panoptic_png
from tests.pipeline import prepared_trainer

EXPERIMENT_KEY, CHECKPOINTS_KEY = prepared_trainer.EXPERIMENT_KEY, prepared_trainer.CHECKPOINTS_KEY


def run_fn(fn_args) -> None:
    """Writes the model where the pipeline's Trainer would."""
    categories = CategoryTable.load(examples.categories_path(fn_args.train_files[0]))
    paths = sorted(path for pattern in fn_args.eval_files for path in tf.io.gfile.glob(pattern))
    prepared_trainer.save_model(half_right_model(paths, categories), categories, fn_args)


def half_right_model(record_files: list[str], categories: CategoryTable) -> prepared_trainer.Memory:
    """Makes the model from the evaluated photos."""
    records = [examples.decode_record(one) for path in record_files for one in prediction_files.read_records(path)]
    records.sort(key=lambda record: record.filename)
    return prepared_trainer.Memory(
        [_invented(record, categories) if number % 2 else record for number, record in enumerate(records)]
    )


def _invented(record: examples.ExampleRecord, categories: CategoryTable) -> examples.ExampleRecord:
    """The record with one segment in place of its own, where it has no thing."""
    things = [segment.id for segment in record.segments if segment.isthing]
    is_free = ~np.isin(panoptic_png.decode_panoptic_png(record.panoptic_png), things)
    segment = examples.SegmentRecord(
        id=1,
        category_id=int(categories.categories[0].id),
        class_index=0,
        isthing=categories.categories[0].isthing,
        iscrowd=False,
        area_px=int(is_free.sum()),
        bbox_px=(0, 0, record.width_px, record.height_px),
    )
    png = panoptic_png.encode_panoptic_png(is_free.astype(np.int32))
    return dataclasses.replace(record, panoptic_png=png, segments=(segment,))
