"""Who meets whom on maps of a few pixels; what it is worth is in `test_panoptic_quality`."""

import numpy as np
import pytest

from maskformer_model.segment_matching import Segment, boundary_map, default_boundary_px, match_segments, shared_pixels

TRUTH = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [0, 0, 3, 3]])
FOUND = np.array([[7, 7, 7, 8], [7, 7, 8, 8], [9, 9, 0, 0]])
TRUE_SEGMENTS = [Segment(1, 0), Segment(2, 1), Segment(3, 0)]
FOUND_SEGMENTS = [Segment(7, 0), Segment(8, 1), Segment(9, 0)]


def test_pixels_are_counted_pair_by_pair_with_void_first():
    shared = shared_pixels(TRUTH, TRUE_SEGMENTS, FOUND, FOUND_SEGMENTS)
    np.testing.assert_array_equal(shared, [[0, 0, 0, 2], [0, 5, 1, 0], [0, 0, 2, 0], [2, 0, 0, 0]])


def test_pairs_of_one_class_above_one_half_match_and_the_rest_is_missed_or_excused():
    matches = match_segments(TRUTH, TRUE_SEGMENTS, FOUND, FOUND_SEGMENTS)
    # 5 of 6 pixels; 2 of 3. Segment 9 lies on void alone, which excuses it; 3 is found by nobody.
    np.testing.assert_array_equal(matches.truth_index, [0, 1])
    np.testing.assert_array_equal(matches.predicted_index, [0, 1])
    np.testing.assert_allclose(matches.iou, [5 / 6, 2 / 3])
    np.testing.assert_array_equal(matches.false_negative, [False, False, True])
    np.testing.assert_array_equal(matches.false_positive, [False, False, False])


def test_another_class_is_no_match():
    matches = match_segments(TRUTH, TRUE_SEGMENTS, FOUND, [Segment(7, 1), Segment(8, 0), Segment(9, 0)])
    assert matches.iou.size == 0
    np.testing.assert_array_equal(matches.false_positive, [True, True, False])


def test_a_boundary_is_what_lies_near_another_id_or_the_frame():
    ids = np.ones((5, 5), int)
    expected = np.ones((5, 5), int)
    expected[2, 2] = expected[1:4, 1:4] = 0
    np.testing.assert_array_equal(boundary_map(ids, 1), expected)
    assert default_boundary_px(480, 640) == 16
    assert default_boundary_px(1, 1) == 1


@pytest.mark.parametrize(
    ("found", "segments", "message"),
    [
        (FOUND[:2], FOUND_SEGMENTS, "two .* maps of one size"),
        (FOUND, FOUND_SEGMENTS[:2], "9"),
        (FOUND, [*FOUND_SEGMENTS, Segment(10, 0)], r"without one, ids: \[10\]"),
        (FOUND, [Segment(7, 0), Segment(7, 1)], "unique"),
    ],
)
def test_maps_and_lists_that_do_not_fit_are_refused(found, segments, message):
    with pytest.raises(ValueError, match=message):
        match_segments(TRUTH, TRUE_SEGMENTS, found, segments)
