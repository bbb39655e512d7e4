"""What a report says about unlabelled pixels and the query ceiling of the evaluated photos."""

from __future__ import annotations

import json

import numpy as np
import tensorflow as tf

from components.panoptic_evaluator.report.data_notes import data_notes
from maskformer_model.categories import CategoryTable
from maskformer_model.data.examples import ExampleRecord, SegmentRecord, encode_example
from maskformer_model.data.panoptic_png import encode_panoptic_png

CATEGORIES = CategoryTable.from_coco([{"id": 1, "name": "cell"}])
PARSER = {"parser": {"max_targets": 2}}
SETTINGS = json.dumps({"task": {"kind": "panoptic", "model": {"num_queries": 5}, "train_data": PARSER}})


def write_split(folder, *photos):
    """Photos as (number of cells, whether the annotation is exhaustive)."""
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
        for number, (num_cells, is_exhaustive) in enumerate(photos):
            segments = tuple(
                SegmentRecord(
                    id=place + 1,
                    category_id=1,
                    class_index=0,
                    isthing=True,
                    iscrowd=False,
                    area_px=1,
                    bbox_px=(place, 0, 1, 1),
                )
                for place in range(num_cells)
            )
            record = ExampleRecord(
                source_id=str(number),
                filename=f"{number}.jpg",
                image_encoded=b"",
                image_format="jpeg",
                height_px=1,
                width_px=8,
                panoptic_png=encode_panoptic_png(np.zeros((1, 8), np.int32)),
                segments=segments,
                brightness=0.5,
                void_is_background=is_exhaustive,
            )
            writer.write(encode_example(record).SerializeToString())
    return str(folder)


def test_the_ceiling_is_that_of_queries_and_targets_together(tmp_path):
    split_dir = write_split(tmp_path / "eval", (3, True), (1, True))
    notes = dict(data_notes(split_dir, "eval", CATEGORIES, SETTINGS))
    # 2 of 3 and 1 of 1 cells: 3 / 3.5.
    assert "PQ 0.857 at best with num_queries=5 and max_targets=2" in notes["Query ceiling"]
    assert notes["Query ceiling"].startswith("WARNING")
    assert "false positive" in notes["Pixels without a segment"]


def test_void_and_a_mixture_are_said_and_a_model_without_settings_has_no_ceiling(tmp_path):
    void = dict(data_notes(write_split(tmp_path / "void", (1, False)), "eval", CATEGORIES, ""))
    assert void == {"Pixels without a segment": "void: predicted segments there are not counted"}
    mixed = dict(data_notes(write_split(tmp_path / "mixed", (1, False), (1, True)), "eval", CATEGORIES, ""))
    assert mixed["Pixels without a segment"].endswith("(in 1 of 2 photos)")
