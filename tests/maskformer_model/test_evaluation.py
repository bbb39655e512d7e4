"""Scores in training are those of the answers that would be served."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, InferenceConfig, TaskConfig
from maskformer_model.evaluation import Evaluator, quality_fields
from maskformer_model.examples import ExampleRecord, SegmentRecord, encode_example
from maskformer_model.panoptic_png import encode_panoptic_png
from tests.maskformer_model.sees_all import SeesAll
from tests.maskformer_model.small_export import encoded

CATEGORIES = CategoryTable.from_coco(
    [{"id": 7, "name": "lamp", "isthing": 1}, {"id": 92, "name": "night", "isthing": 0}]
)


def record(name, bright_columns, true_columns):
    """A photo whose left part is bright, and a truth whose left part is a lamp."""
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :bright_columns] = 255
    ids = np.full((40, 64), 2, np.int32)
    ids[:, :true_columns] = 1
    segments = [
        SegmentRecord(
            id=number,
            category_id=category,
            class_index=number - 1,
            isthing=number == 1,
            iscrowd=False,
            area_px=int((ids == number).sum()),
            bbox_px=(0, 0, 1, 1),
        )
        for number, category in ((1, 7), (2, 92))
    ]
    return encode_example(
        ExampleRecord(
            source_id=name,
            filename=name,
            image_encoded=encoded(image),
            image_format="png",
            height_px=40,
            width_px=64,
            panoptic_png=encode_panoptic_png(ids),
            segments=tuple(segments),
            brightness=0.5,
        )
    ).SerializeToString()


def test_quality_is_summed_over_the_split(tmp_path):
    path = str(tmp_path / "val.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record("right", 16, 16))
        writer.write(record("wrong", 16, 48))  # Half of the photo is another class than it looks.
    inference = InferenceConfig(shortest_edge_px=40, max_size_px=64, overlap_threshold=0.5)
    config = ExperimentConfig(task=TaskConfig(inference=inference))
    seen = []
    quality = Evaluator(SeesAll(), CATEGORIES, config, [path]).evaluate(
        lambda example, answer: seen.append((example.filename, len(answer["segments"])))
    )
    assert seen == [("right", 2), ("wrong", 2)]
    # One of two lamps is found and one of two nights: each class has TP 1, FP 1, FN 1.
    fields = quality_fields(quality)
    assert fields["rq"] == fields["pq"] / fields["sq"] == 0.5
    assert 0.9 < fields["sq"] <= 1
    assert fields["pq"] == pytest.approx((fields["pq_things"] + fields["pq_stuff"]) / 2)
