"""Matching, counting and reducing: hand-computed images, the official numbers, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskformer_model.categories import CategoryTable
from maskformer_model.data import panoptic_png
from maskformer_model.metrics.panoptic_quality import (
    PanopticCounts,
    count_by_size,
    count_image,
    panoptic_quality,
    segments_from_coco,
)
from maskformer_model.metrics.segment_matching import MatchedSegment, boundary_map, default_boundary_px, match_segments

NUM_CLASSES = 3


def row(*runs: tuple[int, int]) -> np.ndarray:
    """A map of one row: `(id, pixels)` from left to right."""
    return np.concatenate([np.full(pixels, segment_id, np.int32) for segment_id, pixels in runs])[None]


def count(truth_ids, truth_segments, predicted_ids, predicted_segments) -> PanopticCounts:
    return count_image(truth_ids, truth_segments, predicted_ids, predicted_segments, NUM_CLASSES)


def as_tuple(counts: PanopticCounts, class_index: int) -> tuple[float, int, int, int]:
    """IoU sum, TP, FP, FN of one class."""
    return tuple(
        getattr(counts, name)[class_index].item()
        for name in ("iou_sum", "true_positives", "false_positives", "false_negatives")
    )


def test_a_perfect_prediction_has_iou_1_for_every_segment():
    ids = row((7, 10), (9, 10))
    segments = [MatchedSegment(7, 0), MatchedSegment(9, 1)]
    counts = count(ids, segments, ids, segments)
    assert as_tuple(counts, 0) == as_tuple(counts, 1) == (1.0, 1, 0, 0)
    assert as_tuple(counts, 2) == (0.0, 0, 0, 0)


def test_a_missed_segment_is_one_false_negative():
    counts = count(
        row((1, 6), (2, 4)), [MatchedSegment(1, 0), MatchedSegment(2, 1)], row((1, 6), (0, 4)), [MatchedSegment(1, 0)]
    )
    assert as_tuple(counts, 0) == (1.0, 1, 0, 0)
    assert as_tuple(counts, 1) == (0.0, 0, 0, 1)


def test_the_iou_is_the_shared_part_of_the_union():
    # 8 shared of 10 + 9 - 8 = 11; segment 2 keeps the rest of the image from being void.
    truth, predicted = row((1, 10), (2, 10)), row((0, 2), (1, 9), (0, 9))
    counts = count(truth, [MatchedSegment(1, 0), MatchedSegment(2, 1)], predicted, [MatchedSegment(1, 0)])
    assert as_tuple(counts, 0) == (pytest.approx(8 / 11, abs=1e-11), 1, 0, 0)


def test_an_iou_of_exactly_one_half_is_no_match():
    truth, predicted = row((1, 10), (2, 10)), row((1, 5), (0, 15))
    counts = count(truth, [MatchedSegment(1, 0), MatchedSegment(2, 1)], predicted, [MatchedSegment(1, 0)])
    assert as_tuple(counts, 0) == (0.0, 0, 1, 1)


def test_one_pixel_above_one_half_is_a_match():
    truth, predicted = row((1, 10), (2, 10)), row((1, 6), (0, 14))
    counts = count(truth, [MatchedSegment(1, 0), MatchedSegment(2, 1)], predicted, [MatchedSegment(1, 0)])
    assert as_tuple(counts, 0) == (pytest.approx(0.6, abs=1e-11), 1, 0, 0)


def test_the_right_mask_of_the_wrong_class_is_a_false_positive_and_a_false_negative():
    ids = row((1, 10))
    counts = count(ids, [MatchedSegment(1, 0)], ids, [MatchedSegment(1, 1)])
    assert as_tuple(counts, 0) == (0.0, 0, 0, 1)
    assert as_tuple(counts, 1) == (0.0, 0, 1, 0)


def test_a_segment_predicted_in_two_parts_matches_the_larger_one():
    predicted = row((1, 7), (2, 3))
    counts = count(row((1, 10)), [MatchedSegment(1, 0)], predicted, [MatchedSegment(1, 0), MatchedSegment(2, 0)])
    assert as_tuple(counts, 0) == (pytest.approx(0.7, abs=1e-11), 1, 1, 0)


def test_void_pixels_are_left_out_of_the_union():
    # Shared 6, predicted 10 of which 4 lie on void: the union is 10 + 6 - 6 - 4 = 6.
    counts = count(row((1, 6), (0, 4)), [MatchedSegment(1, 0)], row((1, 10)), [MatchedSegment(1, 0)])
    assert as_tuple(counts, 0) == (1.0, 1, 0, 0)


def test_a_false_positive_is_excused_only_by_more_than_half_of_void():
    truth, truth_segments = row((0, 5), (1, 5)), [MatchedSegment(1, 1)]
    half = count(truth, truth_segments, row((4, 10)), [MatchedSegment(4, 0)])
    more = count(truth, truth_segments, row((4, 9), (0, 1)), [MatchedSegment(4, 0)])
    assert as_tuple(half, 0) == (0.0, 0, 1, 0)
    assert as_tuple(more, 0) == (0.0, 0, 0, 0)


def test_a_crowd_is_neither_found_nor_missed_and_excuses_its_own_class_only():
    truth, truth_segments = row((1, 10)), [MatchedSegment(1, 0, iscrowd=True)]
    same_class = count(truth, truth_segments, row((5, 10)), [MatchedSegment(5, 0)])
    other_class = count(truth, truth_segments, row((5, 10)), [MatchedSegment(5, 1)])
    assert as_tuple(same_class, 0) == (0.0, 0, 0, 0)
    assert as_tuple(other_class, 1) == (0.0, 0, 1, 0)


def test_void_and_crowd_together_excuse_a_false_positive():
    truth = row((0, 3), (1, 3), (2, 4))
    counts = count(
        truth, [MatchedSegment(1, 0, iscrowd=True), MatchedSegment(2, 1)], row((5, 10)), [MatchedSegment(5, 0)]
    )
    assert as_tuple(counts, 0) == (0.0, 0, 0, 0)


@pytest.mark.parametrize(("last", "false_positives"), [(1, 0), (2, 1)])
def test_only_the_last_listed_crowd_of_a_class_excuses(last, false_positives):
    truth = row((1, 6), (2, 4))
    crowds = sorted(
        [MatchedSegment(1, 0, iscrowd=True), MatchedSegment(2, 0, iscrowd=True)], key=lambda s: s.id == last
    )
    counts = count(truth, crowds, row((5, 10)), [MatchedSegment(5, 0)])
    assert as_tuple(counts, 0) == (0.0, 0, false_positives, 0)


def test_the_area_of_a_true_segment_is_the_stated_one():
    # Stated 20 although the map shows 10: the union is 10 + 20 - 10 = 20, so one half is no match.
    truth, predicted = row((1, 10)), row((1, 10))
    assert as_tuple(count(truth, [MatchedSegment(1, 0, area=20)], predicted, [MatchedSegment(1, 0)]), 0) == (
        0.0,
        0,
        1,
        1,
    )
    found = count(truth, [MatchedSegment(1, 0, area=16)], predicted, [MatchedSegment(1, 0)])
    assert as_tuple(found, 0) == (0.625, 1, 0, 0)


def test_a_true_segment_without_a_pixel_is_missed():
    truth_segments = [MatchedSegment(1, 0), MatchedSegment(2, 1, area=50)]
    counts = count(row((1, 10)), truth_segments, row((1, 10)), [MatchedSegment(1, 0)])
    assert as_tuple(counts, 1) == (0.0, 0, 0, 1)


def test_an_empty_prediction_misses_everything():
    counts = count(row((1, 5), (2, 5)), [MatchedSegment(1, 0), MatchedSegment(2, 0)], row((0, 10)), [])
    assert as_tuple(counts, 0) == (0.0, 0, 0, 2)


def test_where_nothing_is_labelled_nothing_is_counted():
    counts = count(row((0, 10)), [], row((1, 10)), [MatchedSegment(1, 0)])
    assert counts == PanopticCounts.zeros(NUM_CLASSES)


def test_two_void_maps_and_a_map_without_pixels_count_nothing():
    assert count(row((0, 4)), [], row((0, 4)), []) == PanopticCounts.zeros(NUM_CLASSES)
    nothing = np.zeros((0, 0), np.int32)
    assert count(nothing, [], nothing, []) == PanopticCounts.zeros(NUM_CLASSES)


def test_ids_up_to_24_bits_and_neighbouring_ids_are_told_apart():
    ids = row((16777215, 4), (256, 4), (257, 4), (255, 4))
    segments = [MatchedSegment(255, 0), MatchedSegment(16777215, 1), MatchedSegment(257, 2), MatchedSegment(256, 2)]
    counts = count(ids, segments, ids, segments)
    assert counts.true_positives.tolist() == [1, 1, 2]
    assert counts.iou_sum.tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("count", [1, 700, 2900])
def test_any_number_of_segments_is_told_apart(count):
    # 2,900 ids leave no table of 24 bits in which a hash keeps them apart: ids are their own slots then.
    ids = np.random.default_rng(count).permutation(panoptic_png.MAX_SEGMENT_ID)[:count].astype(np.int32)[None] + 1
    matches = match_segments(ids, listed(ids), ids, listed(ids)[::-1])
    assert matches.truth_index.tolist() == list(range(count))
    assert matches.predicted_index.tolist() == list(range(count))[::-1]
    assert matches.iou.tolist() == [1.0] * count


@pytest.mark.parametrize("stray", [-3, 2**24 + 5, 2**32 + 5, 2**40])
def test_an_id_that_is_none_never_looks_like_one(stray):
    ids = np.array([[5, 5, stray]])
    with pytest.raises(ValueError, match=rf"Received ids that are not: \[{stray}\]"):
        match_segments(ids, [MatchedSegment(5, 0)], ids, [MatchedSegment(5, 0)])
    with pytest.raises(ValueError, match="of 24 bits"):
        match_segments(ids, [MatchedSegment(5, 0), MatchedSegment(2**32 + 5, 0)], ids, [MatchedSegment(5, 0)])


def test_matches_say_who_met_whom():
    truth, predicted = row((0, 2), (8, 10), (9, 4)), row((3, 2), (5, 9), (4, 5))
    matches = match_segments(
        truth,
        [MatchedSegment(9, 0), MatchedSegment(8, 1)],
        predicted,
        [MatchedSegment(3, 0), MatchedSegment(4, 1), MatchedSegment(5, 1)],
    )
    assert matches.intersections.tolist() == [[0, 2, 0, 0], [0, 0, 4, 0], [0, 0, 1, 9]]
    assert (matches.truth_index.tolist(), matches.predicted_index.tolist()) == ([1], [2])
    assert matches.iou.tolist() == [0.9]
    assert matches.false_negative.tolist() == [True, False]
    assert matches.false_positive.tolist() == [False, True, False]  # The first lies on void.


@pytest.mark.parametrize(
    ("truth", "truth_segments", "predicted", "predicted_segments", "message"),
    [
        (row((1, 4)), [MatchedSegment(1, 0)], row((7, 4)), [], r"7\.png: prediction: every id .* not: \[7\]"),
        (row((1, 4)), [], row((0, 4)), [], r"7\.png: truth: every id .* not: \[1\]"),
        (
            row((1, 4)),
            [MatchedSegment(1, 0)],
            row((0, 4)),
            [MatchedSegment(3, 0)],
            r"7\.png: .* without one, ids: \[3\]",
        ),
        (row((1, 4)), [MatchedSegment(1, 0)], row((1, 5)), [MatchedSegment(1, 0)], r"7\.png: .* \(1, 4\) and \(1, 5\)"),
        (
            row((1, 4)),
            [MatchedSegment(1, 0)] * 2,
            row((0, 4)),
            [],
            r"7\.png: truth: segment ids must be positive .* unique",
        ),
        (
            row((1, 4)),
            [MatchedSegment(1, 0)],
            row((0, 4)),
            [MatchedSegment(0, 0)],
            r"7\.png: prediction: segment ids must be pos",
        ),
        (
            row((1, 4)),
            [MatchedSegment(1, 0, area=-4)],
            row((1, 4)),
            [MatchedSegment(1, 0)],
            r"7\.png: `area` .* \[-4\]",
        ),
    ],
)
def test_maps_and_lists_that_disagree_are_refused_by_image_and_id(
    truth, truth_segments, predicted, predicted_segments, message
):
    with pytest.raises(ValueError, match=message):
        count_image(truth, truth_segments, predicted, predicted_segments, NUM_CLASSES, image_name="7.png")


def test_a_class_outside_the_table_is_refused():
    with pytest.raises(ValueError, match=r"`predicted_segments` must have class indices in 0\.\.2\. Received: \[3\]"):
        count(row((1, 4)), [MatchedSegment(1, 0)], row((1, 4)), [MatchedSegment(1, 3)])


def test_pq_sums_over_images_before_dividing():
    perfect = PanopticCounts(np.array([1.0]), np.array([1]), np.array([0]), np.array([0]))
    poor = PanopticCounts(np.array([0.6]), np.array([1]), np.array([2]), np.array([2]))
    quality = panoptic_quality(perfect + poor, np.array([True]))
    assert quality.all.pq == pytest.approx(1.6 / 4)  # The mean over images would be (1 + 0.6 / 3) / 2 = 0.6.
    assert (quality.all.sq, quality.all.rq) == (pytest.approx(0.8), pytest.approx(0.5))


def test_means_leave_out_classes_that_nobody_showed():
    counts = PanopticCounts(
        np.array([0.9, 0.0, 0.0, 1.6]), np.array([1, 0, 0, 2]), np.array([0, 0, 3, 2]), np.array([0, 0, 0, 2])
    )
    quality = panoptic_quality(counts, np.array([True, True, True, False]))
    assert quality.per_class.seen.tolist() == [True, False, True, True]
    assert quality.per_class.pq.tolist() == pytest.approx([0.9, 0, 0, 0.4])
    assert quality.per_class.sq.tolist() == pytest.approx([0.9, 0, 0, 0.8])
    assert quality.per_class.rq.tolist() == pytest.approx([1.0, 0, 0, 0.5])
    assert (quality.all.pq, quality.all.num_classes) == (pytest.approx(1.3 / 3), 3)
    assert (quality.things.pq, quality.things.num_classes) == (pytest.approx(0.45), 2)
    assert (quality.stuff.pq, quality.stuff.num_classes) == (pytest.approx(0.4), 1)


def test_the_quality_of_nothing_is_0_over_0_classes():
    quality = panoptic_quality(PanopticCounts.zeros(2), np.array([True, False]))
    assert (quality.all.pq, quality.all.sq, quality.all.rq, quality.all.num_classes) == (0.0, 0.0, 0.0, 0)


def test_counts_of_different_tables_do_not_mix():
    with pytest.raises(ValueError, match="2 and 3 classes"):
        PanopticCounts.zeros(2) + PanopticCounts.zeros(3)
    with pytest.raises(ValueError, match=r"`isthing` must be \[2\]"):
        panoptic_quality(PanopticCounts.zeros(2), np.array([True]))


MAPS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 5))


@st.composite
def images(draw):
    """A truth and a prediction of one size, with every present id listed; class = id % 3, id 5 of the truth a crowd."""
    truth = draw(MAPS)
    predicted = draw(hnp.arrays(np.int32, truth.shape, elements=st.integers(0, 5)))
    return truth, listed(truth, crowd=5), predicted, listed(predicted)


def listed(ids: np.ndarray, crowd: int = -1) -> list[MatchedSegment]:
    return [MatchedSegment(int(i), int(i) % NUM_CLASSES, bool(i == crowd)) for i in np.unique(ids) if i]


def renumbered(ids, segments, new_id):
    return new_id[ids], [MatchedSegment(int(new_id[s.id]), s.class_index, s.iscrowd, s.area) for s in segments]


@settings(max_examples=200, deadline=None)
@given(images(), st.permutations(range(1, 6)), st.permutations(range(1, 6)))
def test_other_ids_for_the_same_segments_change_nothing(image, truth_order, predicted_order):
    truth, truth_segments, predicted, predicted_segments = image
    other_truth = renumbered(truth, truth_segments, np.array([0, *truth_order]) * 4099)
    other_predicted = renumbered(predicted, predicted_segments, np.array([0, *predicted_order]))
    assert count(*image) == count(*other_truth, *other_predicted)


@settings(max_examples=100, deadline=None)
@given(st.lists(images(), max_size=6), st.randoms(use_true_random=False))
def test_shards_in_any_order_add_up_to_the_same_bits(all_images, random):
    zero = PanopticCounts.zeros(NUM_CLASSES)
    at_once = sum((count(*image) for image in all_images), zero)
    random.shuffle(all_images)
    cut = random.randint(0, len(all_images))
    shards = [sum((count(*image) for image in part), zero) for part in (all_images[:cut], all_images[cut:])]
    assert at_once == shards[1] + shards[0]


@settings(max_examples=200, deadline=None)
@given(images())
def test_rows_that_are_void_on_both_sides_change_nothing(image):
    truth, truth_segments, predicted, predicted_segments = image
    void = np.zeros_like(truth)
    padded = np.concatenate([truth, void]), truth_segments, np.concatenate([predicted, void]), predicted_segments
    assert count(*padded) == count(*image)


@settings(max_examples=200, deadline=None)
@given(images())
def test_counts_agree_with_a_count_by_sets_of_pixels(image):
    truth, truth_segments, predicted, predicted_segments = image
    counts = count(*image)
    pixels = {(side, s.id): {*np.flatnonzero(ids.ravel() == s.id)} for side, ids, segments in
              (("t", truth, truth_segments), ("p", predicted, predicted_segments)) for s in segments}  # fmt: skip
    void = {*np.flatnonzero(truth.ravel() == 0)}
    for class_index in range(NUM_CLASSES):
        true_ids = [s.id for s in truth_segments if s.class_index == class_index and not s.iscrowd]
        crowd = set().union(*(pixels["t", s.id] for s in truth_segments if s.iscrowd and s.class_index == class_index))
        own = [pixels["p", s.id] for s in predicted_segments if s.class_index == class_index]
        ious = [[len(pixels["t", t] & p) / len(pixels["t", t] | (p - void)) for t in true_ids] for p in own]
        matched = [iou for of_prediction in ious for iou in of_prediction if iou > 0.5]
        unmatched = [
            p for p, of_prediction in zip(own, ious, strict=True) if not any(iou > 0.5 for iou in of_prediction)
        ]
        false_positives = sum(2 * len(p & (void | crowd)) <= len(p) for p in unmatched)
        expected = (pytest.approx(sum(matched), abs=1e-9), len(matched), false_positives, len(true_ids) - len(matched))
        assert as_tuple(counts, class_index) == expected


def test_segments_from_coco_take_what_predictions_leave_out_as_none():
    table = CategoryTable.from_coco([{"id": 20, "name": "sky"}, {"id": 10, "name": "cat"}])
    infos = [{"id": 3, "category_id": 20}, {"id": 4, "category_id": 10, "iscrowd": 1, "area": 7}]
    assert segments_from_coco(infos, table) == [MatchedSegment(3, 0), MatchedSegment(4, 1, iscrowd=True, area=7)]


def test_sizes_go_by_the_true_segment_and_for_false_positives_by_the_predicted_one():
    # True: 1,000 px (small), 5,000 (medium), 10,000 (large). Predicted: the first found, the others are one large miss.
    truth = row((1, 1000), (2, 5000), (3, 10000))
    predicted = row((1, 1000), (9, 15000))
    truth_segments = [MatchedSegment(1, 0), MatchedSegment(2, 0), MatchedSegment(3, 1)]
    predicted_segments = [MatchedSegment(1, 0), MatchedSegment(9, 0)]
    matches = match_segments(truth, truth_segments, predicted, predicted_segments)
    counts = count_by_size(matches, truth_segments, predicted_segments, NUM_CLASSES)
    assert list(counts) == ["small", "medium", "large"]
    assert [as_tuple(counts[size], 0) for size in counts] == [(1.0, 1, 0, 0), (0.0, 0, 0, 1), (0.0, 0, 1, 0)]
    assert [as_tuple(counts[size], 1) for size in counts] == [(0.0, 0, 0, 0), (0.0, 0, 0, 0), (0.0, 0, 0, 1)]


def square(size_px: int, left: int, top: int, side_px: int) -> np.ndarray:
    ids = np.zeros((size_px, size_px), np.int32)
    ids[top : top + side_px, left : left + side_px] = 1
    return ids


def test_a_boundary_is_the_mask_less_its_erosion_and_the_frame_is_an_edge():
    assert boundary_map(np.ones((5, 6), np.int32), 1).tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert boundary_map(square(9, 2, 2, 5), 2).sum() == 25 - 1
    # Two segments side by side: what separates them is an edge of both.
    assert boundary_map(np.repeat([[3, 3, 3, 4, 4, 4]], 6, axis=0), 1)[2].tolist() == [3, 0, 3, 4, 0, 4]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int32, (9, 8), elements=st.integers(0, 2)), st.integers(1, 3))
def test_a_boundary_holds_the_pixels_with_another_id_within_reach(ids, reach_px):
    padded = np.pad(ids, reach_px, constant_values=-1)
    for y, x in np.ndindex(ids.shape):
        window = padded[y : y + 2 * reach_px + 1, x : x + 2 * reach_px + 1]
        inside = (window == ids[y, x]).all()
        assert boundary_map(ids, reach_px)[y, x] == (0 if inside else ids[y, x])


def test_the_boundary_variant_takes_the_smaller_of_two_ious():
    # A square of 10 x 10 and the same moved by 1: they share 90 of 110 px, and the upper and lower sides of their
    # boundaries (36 px each) 9 px each.
    ids, moved = square(20, 5, 5, 10), square(20, 6, 5, 10)
    truth, segments = np.where(ids, 1, 2), [MatchedSegment(1, 0), MatchedSegment(2, 1)]
    assert match_segments(truth, segments, moved, segments[:1]).iou.tolist() == [90 / 110]
    assert match_segments(truth, segments, moved, segments[:1], boundary_px=1).truth_index.size == 0
    assert 18 / (36 + 36 - 18) < 0.5
    # Boundaries of 4 px leave out 2 x 2 px of each, half of them the other's, too: 84 shared of 96 + 96 - 84.
    bounded = match_segments(truth, segments, moved, segments[:1], boundary_px=4)
    assert bounded.iou.tolist() == [84 / (96 + 96 - 84)]


def test_the_width_of_a_boundary_is_2_percent_of_the_diagonal():
    assert default_boundary_px(300, 400) == 10
    assert default_boundary_px(10, 10) == 1
