"""In place of the Trainer's `run_fn`: a model that knows some photos' truth by heart and sees nothing in the others.

So a run of the whole pipeline can be given a model of any quality in a second. `trainer.train_steps` of the experiment
chooses the quality: `KNOWN` says which evaluated photos, by their number, a model of that many steps knows.
"""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from components.data_validation import data_facts
from components.panoptic_predictor import prediction_files
from maskformer_model.categories import CategoryTable
from maskformer_model.config.files import DATA_FACTS_FILE
from maskformer_model.data import examples

EXPERIMENT_KEY, CHECKPOINTS_KEY = "experiment", "checkpoints_dir"
FIRST, BETTER, WORSE, OTHER = 1, 2, 3, 4
KNOWN = {
    FIRST: lambda number: number % 2 == 0,  # One half.
    BETTER: lambda number: number % 4 != 3,  # Three quarters.
    WORSE: lambda number: number % 4 == 0,  # A quarter.
    OTHER: lambda number: number % 4 != 2,  # Three quarters again, but other ones.
}


def run_fn(fn_args) -> None:
    """Writes the model where the pipeline's Trainer would."""
    steps = json.loads(fn_args.custom_config[EXPERIMENT_KEY])["trainer"]["train_steps"]
    categories = CategoryTable.load(examples.categories_path(fn_args.train_files[0]))
    paths = sorted(path for pattern in fn_args.eval_files for path in tf.io.gfile.glob(pattern))
    records = [examples.decode_record(example) for path in paths for example in prediction_files.read_records(path)]
    records.sort(key=lambda record: record.filename)
    save_model(Memory([record for number, record in enumerate(records) if KNOWN[steps](number)]), categories, fn_args)


def save_model(model: Memory, categories: CategoryTable, fn_args) -> None:
    """Writes a model with what the pipeline reads beside it."""
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures={"serving_default": model.serve})
    extra = pathlib.Path(fn_args.serving_model_dir, "assets.extra")
    os.makedirs(extra, exist_ok=True)
    categories.save(extra / "categories.json")
    # Without them DriftGate has nothing to hold the next data against.
    facts = data_facts.read_facts(fn_args.transform_graph_path, categories)
    (extra / DATA_FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")


class Memory(tf.Module):
    """Photo bytes -> what is remembered of them, in the real model's signature."""

    def __init__(self, records):
        super().__init__()
        width = max(len(record.segments) for record in records)
        rows = np.zeros((4, len(records) + 1, width), np.int32)  # The last row is that of an unknown photo.
        for place, record in enumerate(records):
            kept = [segment for segment in record.segments if not segment.iscrowd]
            for column, segment in enumerate(kept):
                rows[:, place, column] = segment.id, segment.category_id, segment.class_index, segment.area_px
        self._rows = tf.constant(rows)
        self._pngs = tf.constant([_without_crowds(record) for record in records] + [b""])
        keys = tf.constant([record.image_encoded for record in records])
        values = tf.range(len(records), dtype=tf.int64)
        self._place = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), len(records))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        """See the real model."""
        places = self._place.lookup(image_bytes)
        segment_ids, category_ids, class_indices, areas = tf.unstack(tf.gather(self._rows, places, axis=1))
        remembered = tf.gather(self._pngs, places)
        pngs = tf.map_fn(
            lambda pair: tf.cond(pair[1] == b"", lambda: _void_png(pair[0]), lambda: pair[1]),
            (image_bytes, remembered),
            fn_output_signature=tf.string,
        )
        return {
            "panoptic_png_bytes": pngs,
            "segment_ids": segment_ids,
            "category_ids": category_ids,
            "class_indices": class_indices,
            "scores": tf.where(segment_ids > 0, 0.9, 0.0),
            "areas": areas,
            "boxes": tf.zeros([*tf.unstack(tf.shape(segment_ids)), 4]),
        }


def _without_crowds(record) -> bytes:
    from maskformer_model.data import panoptic_png

    ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
    crowds = [segment.id for segment in record.segments if segment.iscrowd]
    return panoptic_png.encode_panoptic_png(np.where(np.isin(ids, crowds), 0, ids))


def _void_png(image_bytes):
    photo = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    return tf.io.encode_png(tf.zeros_like(photo))
