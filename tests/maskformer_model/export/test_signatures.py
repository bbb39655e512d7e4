"""The form of an answer: PNGs, areas, boxes and rows, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, InferenceConfig, TaskConfig
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.export.signatures import ServingSignatures, encode_segment_map, segment_areas_and_boxes
from tests.maskformer_model.helpers.sees_all import SeesAll
from tests.maskformer_model.helpers.small_export import encoded

MAP = np.array([[1, 1, 0], [0, 1, 0], [3, 3, 3]], np.int32)
CATEGORIES = CategoryTable.from_coco(
    [{"id": 7, "name": "lamp", "isthing": 1, "color": [1, 2, 3]}, {"id": 92, "name": "night", "isthing": 0}]
)
PHOTO = np.zeros((40, 64, 3), np.uint8)
PHOTO[:, :16] = 255


@pytest.fixture(scope="module")
def signatures():
    inference = InferenceConfig(shortest_edge_px=40, max_size_px=64, overlap_threshold=0.5, max_pixels=40 * 64)
    return ServingSignatures(SeesAll(), CATEGORIES, ExperimentConfig(task=TaskConfig(inference=inference)))


def test_areas_count_pixels_and_boxes_hold_them():
    areas, boxes = segment_areas_and_boxes(tf.constant(MAP), 3)
    np.testing.assert_array_equal(areas, [3, 0, 3])
    np.testing.assert_array_equal(boxes, [[0, 0, 2, 2], [0, 0, 0, 0], [0, 2, 3, 1]])


def test_an_id_is_written_in_base_256():
    ids = np.array([[0, 255], [256, 300]], np.int32)
    np.testing.assert_array_equal(decode_panoptic_png(encode_segment_map(tf.constant(ids), 300).numpy()), ids)


def test_segments_have_their_columns_and_unused_rows_are_blank(signatures):
    answer = {
        name: value[0].numpy() for name, value in signatures.serving_default(tf.constant([encoded(PHOTO)])).items()
    }
    assert answer["num_segments"] == 2
    np.testing.assert_array_equal(answer["segment_ids"], [1, 2, 0])
    np.testing.assert_array_equal(answer["category_ids"], [7, 92, 0])
    assert answer["class_names"].tolist() == [b"lamp", b"night", b""]
    np.testing.assert_array_equal(answer["isthing"], [True, False, False])
    assert answer["areas"][:2].sum() == 40 * 64
    np.testing.assert_array_equal(
        answer["areas"], np.bincount(decode_panoptic_png(answer["panoptic_png_bytes"]).ravel(), minlength=4)[1:]
    )


def test_a_batch_may_be_empty(signatures):
    assert signatures.semantic(tf.constant([], tf.string))["areas"].shape == (0, 2)


def test_a_photo_that_is_too_large_is_named(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[1\].*at most 2560 pixels"):
        signatures.serving_default(tf.constant([encoded(PHOTO), encoded(np.zeros((41, 64, 3), np.uint8))]))
