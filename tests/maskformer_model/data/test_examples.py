"""Example: what is written is what both readers give back, for many, one and no segments."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.data import examples
from maskformer_model.data.panoptic_png import encode_panoptic_png

_PERSON = examples.SegmentRecord(
    id=300, category_id=7, class_index=0, isthing=True, iscrowd=False, area_px=2, bbox_px=(0, 0, 2, 1)
)
_CROWD = examples.SegmentRecord(
    id=65536, category_id=7, class_index=0, isthing=True, iscrowd=True, area_px=1, bbox_px=(2, 0, 1, 1)
)
_GRASS = examples.SegmentRecord(
    id=9, category_id=100, class_index=4, isthing=False, iscrowd=False, area_px=4, bbox_px=(0, 1, 4, 1)
)
_IDS = np.array([[300, 300, 65536, 0], [9, 9, 9, 9]], dtype=np.int32)
_RECORD = examples.ExampleRecord(
    source_id="139",
    filename="000000000139.jpg",
    image_encoded=b"the photo's bytes",
    image_format="jpeg",
    height_px=2,
    width_px=4,
    panoptic_png=encode_panoptic_png(_IDS),
    segments=(_PERSON, _CROWD, _GRASS),
    brightness=0.25,
    captions=("A person on grass.", "Somebody før en gård."),
)
_EMPTY = dataclasses.replace(_RECORD, segments=(), captions=())


@pytest.mark.parametrize(
    "record", [_RECORD, dataclasses.replace(_RECORD, segments=(_GRASS,)), _EMPTY], ids=["many", "one", "none"]
)
def test_a_record_comes_back_as_it_was_written(record):
    assert examples.decode_record(examples.encode_example(record).SerializeToString()) == record


def test_statistics_are_shares_of_the_photo_and_a_crowd_is_not_a_thing():
    assert examples.statistics_of(_RECORD) == {
        "num_segments": 3,
        "num_things": 1,
        "num_crowds": 1,
        "void_fraction": 1 / 8,
        "crowd_fraction": 1 / 8,
        "thing_fraction": 2 / 8,
        "aspect_ratio": 2.0,
        "brightness": 0.25,
    }


def test_the_graph_reader_gives_every_key_that_was_written():
    example = examples.encode_example(_RECORD)
    parsed = examples.parse_example(example.SerializeToString())
    assert set(parsed) == set(example.features.feature)
    assert parsed["image/segment/id"].numpy().tolist() == [300, 65536, 9]
    assert parsed["image/segment/class_index"].numpy().tolist() == [0, 0, 4]
    assert parsed["image/segment/iscrowd"].numpy().tolist() == [0, 1, 0]
    assert parsed["image/segment/bbox"].numpy().tolist() == [[0, 0, 2, 1], [2, 0, 1, 1], [0, 1, 4, 1]]
    assert parsed["image/encoded"].numpy() == b"the photo's bytes"
    assert parsed["image/key/sha256"].numpy().decode() == hashlib.sha256(b"the photo's bytes").hexdigest()
    assert parsed["image/caption"].numpy()[1].decode() == "Somebody før en gård."
    assert parsed["image/statistics/void_fraction"].numpy() == pytest.approx(1 / 8)


def test_a_photo_without_segments_or_captions_parses_to_empty_lists():
    parsed = examples.parse_example(examples.encode_example(_EMPTY).SerializeToString())
    assert parsed["image/segment/id"].shape == (0,)
    assert parsed["image/segment/bbox"].shape == (0, 4)
    assert parsed["image/caption"].shape == (0,)
    assert parsed["image/statistics/void_fraction"].numpy() == 1.0


def test_the_graph_reader_is_the_same_inside_a_dataset():
    serialized = [examples.encode_example(record).SerializeToString() for record in (_RECORD, _EMPTY)]
    dataset = tf.data.Dataset.from_tensor_slices(serialized).map(examples.parse_example)
    for eager, mapped in zip((examples.parse_example(s) for s in serialized), dataset, strict=True):
        assert set(eager) == set(mapped)
        for key in eager:
            np.testing.assert_array_equal(eager[key].numpy(), mapped[key].numpy())


def test_an_example_of_something_else_is_refused_with_the_missing_keys():
    other = tf.train.Example()
    other.features.feature["text"].bytes_list.value.append(b"x")
    with pytest.raises(ValueError, match="image/encoded.*Received the keys: .*text"):
        examples.decode_record(other.SerializeToString())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/runs/CocoExampleGen/examples/3/Split-train/*", "/runs/CocoExampleGen/examples/3/categories.json"),
        ("gs://bucket/examples/3/Split-eval/data_tfrecord-*", "gs://bucket/examples/3/categories.json"),
        ("/records/train-*", "/records/categories.json"),
        ("train-*", "categories.json"),
    ],
)
def test_categories_are_found_from_the_file_pattern(pattern, path):
    assert examples.categories_path(pattern) == path
    assert examples.kept_aside_path(pattern) == path.replace("categories.json", "kept_aside.jsonl")
    assert examples.notices_path(pattern) == path.replace("categories.json", "notices.jsonl")
    assert examples.record_digests_path(pattern) == path.replace("categories.json", "record_digests.json")


def _shards(start, count, indices):
    return [f"{start}-{index:05d}-of-{count:05d}.tfrecord" for index in indices]


def test_a_whole_set_of_shards_and_files_without_numbers_are_taken():
    examples.check_shards([*_shards("/a/train", 2, (0, 1)), *_shards("/a/val", 1, (0,)), "/a/other.tfrecord"])


def test_half_a_set_of_shards_and_two_sets_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"Missing of the 4 at /a/train: \[1, 3\]"):
        examples.check_shards(_shards("/a/train", 4, (0, 2)))
    with pytest.raises(ValueError, match=r"several at /a/train: of \[1, 2\] files"):
        examples.check_shards([*_shards("/a/train", 2, (0, 1)), *_shards("/a/train", 1, (0,))])
