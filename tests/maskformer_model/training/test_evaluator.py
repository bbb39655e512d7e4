"""Scores in training are those of the answers that would be served."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, InferenceConfig, TaskConfig
from maskformer_model.data.examples import ExampleRecord, SegmentRecord, encode_example
from maskformer_model.data.panoptic_png import encode_panoptic_png
from maskformer_model.training.evaluator import Evaluator
from tests.maskformer_model.helpers.sees_all import SeesAll
from tests.maskformer_model.helpers.small_export import encoded

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


@pytest.fixture
def split(tmp_path):
    path = str(tmp_path / "val.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record("right", 16, 16))
        writer.write(record("wrong", 16, 44))  # 28 of 64 columns are of another class than they look.
    return path


def evaluator(path, task, categories=CATEGORIES):
    inference = InferenceConfig(shortest_edge_px=40, max_size_px=64, overlap_threshold=0.5)
    config = ExperimentConfig(task=TaskConfig(kind=task, inference=inference))
    return Evaluator(SeesAll(), categories, config, [path])


def test_quality_is_summed_over_the_split(split):
    seen = []
    fields = evaluator(split, "panoptic").evaluate(
        lambda example, answer: seen.append((example.filename, len(answer["segments"])))
    )
    assert seen == [("right", 2), ("wrong", 2)]
    # One of two lamps is found and one of two nights: each class has TP 1, FP 1, FN 1.
    assert fields["rq"] == fields["pq"] / fields["sq"] == 0.5
    assert 0.9 < fields["sq"] <= 1
    assert fields["pq"] == pytest.approx((fields["pq_things"] + fields["pq_stuff"]) / 2)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_every_task_is_asked_for_pixels_and_instances(split, task):
    fields = evaluator(split, task).evaluate()
    # Of both photos: 60 columns are lamp, 32 are seen as lamp and rightly so; 68 are night, 96 are seen as night. An
    # edge may move by two pixels when masks come from a quarter of the size.
    assert fields["pixel_accuracy"] == pytest.approx((32 + 68) / 128, abs=0.05)
    assert fields["mean_iou"] == pytest.approx((32 / 60 + 68 / 96) / 2, abs=0.05)
    # The lamp of one photo is found, with nothing wrong before it: precision 1 up to a recall of one half, which are 51
    # of COCO's 101 points.
    assert fields["ap50"] == pytest.approx(51 / 101)
    assert 0 < fields["ap"] <= fields["ap50"]


def test_what_is_scored_is_what_the_task_answers(split):
    seen = {}
    for task in ("panoptic", "semantic", "instance"):
        answers = []
        evaluator(split, task).evaluate(lambda example, answer, answers=answers: answers.append(answer))
        seen[task] = answers[0]
    # A class map has an id per class, a panoptic map one per segment in the order of their scores; an instance model is
    # judged by its instances, which are more than the things of its map.
    assert [segment.id for segment in seen["semantic"]["segments"]] == [1, 2]
    assert {segment.class_index for segment in seen["panoptic"]["segments"]} == {0, 1}
    assert [instance.class_index for instance in seen["panoptic"]["instances"]] == [0]
    assert len(seen["instance"]["instances"]) >= 1


def test_a_split_without_things_has_no_average_precision(tmp_path):
    path = str(tmp_path / "val.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record("night", 0, 0))
    fields = evaluator(path, "panoptic").evaluate()
    assert "ap" not in fields
    assert fields["pq_stuff"] == 1.0


@pytest.mark.parametrize(("isthing", "missing"), [(0, "pq_things"), (1, "pq_stuff")])
def test_a_kind_without_a_class_has_no_score(split, isthing, missing):
    categories = CategoryTable.from_coco([{"id": n, "name": str(n), "isthing": isthing} for n in (7, 92)])
    fields = evaluator(split, "panoptic", categories).evaluate()
    [kept] = {"pq_things", "pq_stuff"} - {missing}
    assert missing not in fields
    assert fields[kept] == fields["pq"] > 0
