"""Which segments become targets, and the map that numbers them."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from hypothesis.extra import numpy as numpy_strategies

from maskformer_model.data import panoptic_png
from maskformer_model.data import targets as data_targets


def _segments(class_index, area=None, iscrowd=None, isthing=None):
    columns = {"class_index": class_index, "area": area, "iscrowd": iscrowd, "isthing": isthing}
    defaults = {"area": 10, "iscrowd": 0, "isthing": 1}
    return {
        name: tf.constant([defaults[name]] * len(class_index) if values is None else values, tf.int64)
        for name, values in columns.items()
    }


def _chosen(segments, kind="panoptic", max_targets=255, **options):
    targets, classes = data_targets.choose_targets(segments, kind=kind, max_targets=max_targets, **options)
    assert (targets.dtype, classes.dtype) == (tf.uint8, tf.int32)
    return targets.numpy().tolist(), classes.numpy().tolist()


def test_each_segment_is_a_target_in_the_order_of_the_list():
    assert _chosen(_segments([5, 3, 5])) == ([1, 2, 3], [5, 3, 5])


def test_no_segment_gives_no_target():
    for kind in ("panoptic", "instance", "semantic"):
        assert _chosen(_segments([]), kind) == ([], [])


def test_crowds_are_left_out_unless_kept():
    segments = _segments([5, 3, 5], iscrowd=[0, 1, 0])
    assert _chosen(segments) == ([1, 0, 2], [5, 5])
    assert _chosen(segments, keep_crowd=True) == ([1, 2, 3], [5, 3, 5])


def test_only_crowds_give_no_target():
    assert _chosen(_segments([5, 3], iscrowd=[1, 1])) == ([0, 0], [])


def test_the_smallest_of_too_many_segments_are_left_out():
    assert _chosen(_segments([0, 1, 2, 3], area=[7, 1, 9, 8]), max_targets=2) == ([0, 0, 1, 2], [2, 3])


def test_of_two_segments_of_one_area_the_later_is_left_out():
    assert _chosen(_segments([0, 1, 2], area=[4, 4, 4]), max_targets=2) == ([1, 2, 0], [0, 1])


def test_three_hundred_segments_keep_the_largest_255():
    targets, classes = _chosen(_segments(list(range(300)), area=list(range(1, 301))))
    assert targets == [0] * 45 + list(range(1, 256))
    assert classes == list(range(45, 300))


def test_instance_targets_are_things():
    assert _chosen(_segments([5, 3, 5], isthing=[1, 0, 1]), "instance") == ([1, 0, 2], [5, 5])


def test_semantic_targets_join_the_segments_of_a_class_and_count_crowds_in():
    segments = _segments([5, 3, 5, 4], area=[1, 9, 6, 8], iscrowd=[0, 0, 1, 0])
    assert _chosen(segments, "semantic") == ([1, 2, 1, 3], [5, 3, 4])
    # The areas of class 5 are 1 + 6: less than those of 3 and 4.
    assert _chosen(segments, "semantic", max_targets=2) == ([0, 1, 0, 2], [3, 4])


def test_ids_from_a_png_are_those_of_the_numpy_decoder():
    ids = np.array([[0, 1, 255], [256, 65536, 2**24 - 1]], np.int32)
    decoded = data_targets.segment_ids(tf.constant(panoptic_png.encode_panoptic_png(ids)))
    np.testing.assert_array_equal(decoded, ids)


def test_ids_that_follow_each_other_and_ids_that_are_not_listed():
    ids = tf.constant([[5, 6, 7], [8, 4, 0], [6, 2**24 - 1, 5]])
    numbers = data_targets.number_segments(
        ids, tf.constant([6, 5, 8, 2**24 - 1], tf.int64), tf.constant([1, 2, 0, 3], tf.uint8)
    )
    np.testing.assert_array_equal(numbers, [[2, 1, 0], [0, 0, 0], [1, 3, 2]])
    assert numbers.dtype == tf.uint8


def test_without_segments_every_pixel_is_void():
    numbers = data_targets.number_segments(tf.constant([[3, 0]]), tf.zeros([0], tf.int64), tf.zeros([0], tf.uint8))
    np.testing.assert_array_equal(numbers, [[0, 0]])


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    ids=numpy_strategies.arrays(
        np.int32,
        numpy_strategies.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=strategies.one_of(strategies.integers(0, 9), strategies.integers(0, 2**24 - 1)),
    ),
    data=strategies.data(),
)
def test_random_maps_survive_png_and_numbering(ids, data):
    listed = data.draw(strategies.permutations([i for i in np.unique(ids).tolist() if i]))
    png = tf.constant(panoptic_png.encode_panoptic_png(ids))
    numbers = data_targets.number_segments(
        data_targets.segment_ids(png), tf.constant(listed, tf.int64), tf.cast(tf.range(1, len(listed) + 1), tf.uint8)
    )
    np.testing.assert_array_equal(np.array([0, *listed])[numbers.numpy()], ids)


@pytest.mark.parametrize(
    ("segment_map", "classes", "expected_map", "expected_classes"),
    [
        ([[0, 1], [3, 3]], [7, 8, 9], [[0, 1], [2, 2]], [7, 9]),
        ([[2, 2]], [7, 8], [[1, 1]], [8]),
        ([[0, 0]], [7, 8], [[0, 0]], []),
        ([[0]], [], [[0]], []),
    ],
)
def test_empty_targets_are_dropped_and_the_rest_renumbered(segment_map, classes, expected_map, expected_classes):
    dropped_map, dropped_classes = data_targets.drop_empty_targets(
        tf.constant(segment_map, tf.uint8), tf.constant(classes, tf.int32)
    )
    assert dropped_map.dtype == tf.uint8
    np.testing.assert_array_equal(dropped_map, expected_map)
    np.testing.assert_array_equal(dropped_classes, expected_classes)
