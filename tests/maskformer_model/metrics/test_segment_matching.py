"""Matches segments on maps of a few pixels; their score is tested in `test_panoptic_quality`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskformer_model.metrics import segment_matching
from maskformer_model.metrics.segment_matching import (
    MatchedSegment,
    boundary_map,
    default_boundary_px,
    match_segments,
    shared_pixels,
)

TRUTH = np.array([[1, 1, 1, 2], [1, 1, 1, 2], [0, 0, 3, 3]])
FOUND = np.array([[7, 7, 7, 8], [7, 7, 8, 8], [9, 9, 0, 0]])
TRUE_SEGMENTS = [MatchedSegment(1, 0), MatchedSegment(2, 1), MatchedSegment(3, 0)]
FOUND_SEGMENTS = [MatchedSegment(7, 0), MatchedSegment(8, 1), MatchedSegment(9, 0)]


def test_pixels_are_counted_pair_by_pair_with_void_first():
    shared = shared_pixels(TRUTH, TRUE_SEGMENTS, FOUND, FOUND_SEGMENTS)
    np.testing.assert_array_equal(shared, [[0, 0, 0, 2], [0, 5, 1, 0], [0, 0, 2, 0], [2, 0, 0, 0]])


def listed(ids):
    return [MatchedSegment(int(i), 0) for i in np.unique(ids) if i]


def counted_one_by_one(truth, truth_segments, found, found_segments):
    return [
        [int(((truth == t) & (found == f)).sum()) for f in (0, *(s.id for s in found_segments))]
        for t in (0, *(s.id for s in truth_segments))
    ]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from(["u1", "i4", "u4", "i8", "u8"]), st.integers(0, 2**32))
def test_pieces_of_any_size_and_ids_of_any_type_give_the_same_counts(pixels_at_once, width_px, dtype, seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.choice([0, 1, 2, 200], (2, 5, width_px), p=[0.1, 0.2, 0.6, 0.1])
    expected = counted_one_by_one(truth, listed(truth), found, listed(found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_matching, "_PIXELS_AT_ONCE", pixels_at_once)
        shared = shared_pixels(truth.astype(dtype), listed(truth), found.astype("i4"), listed(found))
    assert shared.tolist() == expected


def test_a_map_of_several_pieces_and_a_view_of_it_are_counted_like_a_small_one():
    # 8 ids in stripes on 1,000 x 600 px; the prediction has the stripes the other way round and a row of void.
    truth = np.repeat(np.arange(8) * 1_000_003 % 2**24, 75)[None].repeat(1000, axis=0)
    found = truth[:, ::-1].copy()
    found[500] = 0
    segments = listed(truth)
    expected = counted_one_by_one(truth, segments, found, segments)
    assert truth.size > 4 * segment_matching._PIXELS_AT_ONCE
    assert shared_pixels(truth, segments, found, segments).tolist() == expected
    assert shared_pixels(truth.T[:, ::-1], segments, found.T[:, ::-1], segments).tolist() == expected


@pytest.mark.parametrize("stray", [7, 2**24 + 5, 2**32 + 5, -1])
def test_an_id_that_is_not_listed_is_named_wherever_it_lies(stray):
    ids = np.full((1000, 600), 5)
    ids[-1, -1], ids[0, 0] = stray, 9
    with pytest.raises(ValueError, match=rf"truth: every id .* not: \[{min(stray, 9)}, {max(stray, 9)}\]"):
        shared_pixels(ids, [MatchedSegment(5, 0)], np.zeros_like(ids), [])
    with pytest.raises(ValueError, match=rf"prediction: every id .* not: \[{min(stray, 9)}, {max(stray, 9)}\]"):
        shared_pixels(np.zeros_like(ids), [], ids, [MatchedSegment(5, 0)])


def test_every_id_that_shares_a_slot_with_a_listed_one_is_told_from_it():
    # Far more strays than slots: each slot of the table is found by many of them.
    segments = [MatchedSegment(11, 0), MatchedSegment(70_001, 0), MatchedSegment(16_000_000, 0)]
    for stray in range(1, 2**24, 7919):
        if stray not in {s.id for s in segments}:
            with pytest.raises(ValueError, match=rf"not: \[{stray}\]"):
                shared_pixels(np.array([[stray]], np.int32), segments, np.zeros((1, 1), np.int32), [])


def test_one_pixel_and_no_pixel_and_lists_of_nothing():
    one = np.array([[4]], np.uint8)
    assert shared_pixels(one, [MatchedSegment(4, 0)], one * 0, []).tolist() == [[0], [1]]
    assert shared_pixels(one, [MatchedSegment(np.uint8(4), 0)], one * 0, []).tolist() == [[0], [1]]
    assert shared_pixels(one * 0, [], one * 0, []).tolist() == [[1]]
    assert shared_pixels(one[:0], [MatchedSegment(4, 0)], one[:0], []).tolist() == [[0], [0]]


def test_pairs_of_one_class_above_one_half_match_and_the_rest_is_missed_or_excused():
    matches = match_segments(TRUTH, TRUE_SEGMENTS, FOUND, FOUND_SEGMENTS)
    # 5 of 6 pixels; 2 of 3. Segment 9 lies on void alone, which excuses it; 3 is found by nobody.
    np.testing.assert_array_equal(matches.truth_index, [0, 1])
    np.testing.assert_array_equal(matches.predicted_index, [0, 1])
    np.testing.assert_allclose(matches.iou, [5 / 6, 2 / 3])
    np.testing.assert_array_equal(matches.false_negative, [False, False, True])
    np.testing.assert_array_equal(matches.false_positive, [False, False, False])


def test_on_background_nothing_is_excused_and_what_lies_on_it_counts_in_the_union():
    truth, true_segments = np.array([[1, 1, 1, 0, 0, 0, 0]]), [MatchedSegment(1, 0)]
    found, found_segments = np.array([[1, 1, 1, 1, 0, 2, 2]]), [MatchedSegment(1, 0), MatchedSegment(2, 0)]
    void = match_segments(truth, true_segments, found, found_segments)
    assert (void.iou.tolist(), void.false_positive.tolist()) == ([1.0], [False, False])
    background = match_segments(truth, true_segments, found, found_segments, void_is_background=True)
    assert (background.iou.tolist(), background.false_positive.tolist()) == ([0.75], [False, True])


@pytest.mark.parametrize("boundary_px", [None, 1])
def test_background_counts_as_a_class_of_its_own_would(boundary_px):
    generator = np.random.default_rng(5)
    truth, found = generator.integers(0, 4, (2, 12, 15))
    things = [MatchedSegment(1, 0), MatchedSegment(2, 0), MatchedSegment(3, 0)]
    implied = match_segments(truth, things, found, things, boundary_px=boundary_px, void_is_background=True)
    background = MatchedSegment(9, 1)
    stated = match_segments(
        np.where(truth == 0, 9, truth), [*things, background], found, things, boundary_px=boundary_px
    )
    np.testing.assert_array_equal(implied.iou, stated.iou)
    np.testing.assert_array_equal(implied.false_positive, stated.false_positive)
    np.testing.assert_array_equal(implied.false_negative, stated.false_negative[:3])


def test_another_class_is_no_match():
    matches = match_segments(
        TRUTH, TRUE_SEGMENTS, FOUND, [MatchedSegment(7, 1), MatchedSegment(8, 0), MatchedSegment(9, 0)]
    )
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
        (FOUND, [*FOUND_SEGMENTS, MatchedSegment(10, 0)], r"without one, ids: \[10\]"),
        (FOUND, [MatchedSegment(7, 0), MatchedSegment(7, 1)], "unique"),
    ],
)
def test_maps_and_lists_that_do_not_fit_are_refused(found, segments, message):
    with pytest.raises(ValueError, match=message):
        match_segments(TRUTH, TRUE_SEGMENTS, found, segments)
