"""Scores of summed counts and their intervals: by hand, repeatable, and as wide as chance is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from components.panoptic_evaluator.scoring.bootstrap import resample
from components.panoptic_evaluator.scoring.scores import CountLayout
from components.panoptic_predictor.counts import SegmentCounts
from components.panoptic_predictor.image_measures import ALL, BOUNDARY, ImageMeasures
from tests.components.image_lines import CATEGORIES, measures

SKY, CAT, DOG = 0, 1, 2
LAYOUT = CountLayout(categories=CATEGORIES, groups={"pets": ["cat", "dog"]})


def vectors(found_of_four: list[int]) -> np.ndarray:
    """Images of four cats each, so many of them found exactly."""
    rows = [measures([[CAT, float(found), found, 0, 4 - found]]) for found in found_of_four]
    return np.stack([LAYOUT.vector(row) for row in rows]) if rows else np.zeros((0, LAYOUT.size))


def test_scores_are_those_of_the_sums_by_hand():
    image = ImageMeasures(
        panoptic={
            ALL: ((SKY, SegmentCounts(0.9, 1, 0, 0)), (CAT, SegmentCounts(1.5, 2, 0, 1))),
            BOUNDARY: ((SKY, SegmentCounts(0.6, 1, 0, 0)),),
            "small": ((CAT, SegmentCounts(0.0, 0, 1, 0)),),
            "medium": (),
            "large": (),
        },
        pixels=((SKY, SKY, 6), (SKY, 3, 2), (CAT, SKY, 2)),  # 3 is void.
        confusion=(),
        instances={},
    )
    scores = LAYOUT.scores(LAYOUT.vector(image))
    # Cat: 1.5 / 2.5.
    assert scores["pq"] == pytest.approx((0.9 + 0.6) / 2)
    assert (scores["pq_things"], scores["pq_stuff"], scores["pq_pets"]) == pytest.approx((0.6, 0.9, 0.6))
    assert (scores["boundary_pq"], scores["pq_small"]) == (0.6, 0.0)
    assert np.isnan(scores["pq_medium"])
    # Sky: 6 right of 8 true and 8 predicted pixels; cat: none of 2.
    assert scores["mean_iou"] == pytest.approx((0.6 + 0.0) / 2)
    assert scores["frequency_weighted_iou"] == pytest.approx(0.8 * 0.6)
    assert scores["pixel_accuracy"] == 0.6
    assert np.array_equal(scores["pq_per_class"], [0.9, 0.6, np.nan], equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_sums_of_shards_in_any_order_give_the_same_bits(found, random):
    whole = LAYOUT.scores(vectors(found).sum(axis=0))
    shuffled = list(found)
    random.shuffle(shuffled)
    cut = random.randint(0, len(found))
    parts = vectors(shuffled[:cut]).sum(axis=0) + vectors(shuffled[cut:]).sum(axis=0)
    assert LAYOUT.scores(parts)["pq"].tobytes() == whole["pq"].tobytes()


def test_intervals_repeat_to_the_last_bit_and_hold_the_value():
    counts = vectors([0, 1, 2, 3, 4] * 6)
    first, second = (resample(LAYOUT, counts, None, num_resamples=300) for _ in range(2))
    assert first == second
    pq = first.scores["pq"]
    assert pq.low < pq.value < pq.high
    assert pq.low < pq.lower_bound < pq.value
    assert first.per_class[DOG] is None
    assert "pq_stuff" not in first.scores


def test_four_times_the_images_halve_an_interval():
    few = resample(LAYOUT, vectors([1, 3] * 20), None).scores["pq"]
    many = resample(LAYOUT, vectors([1, 3] * 80), None).scores["pq"]
    assert (many.high - many.low) / (few.high - few.low) == pytest.approx(0.5, abs=0.07)


def test_images_without_any_difference_leave_no_doubt():
    pq = resample(LAYOUT, vectors([2] * 30), None, num_resamples=50).scores["pq"]
    assert pq.low == pq.value == pq.high == 40 / 60


def test_a_change_is_resampled_together_so_what_images_share_cancels():
    candidate, baseline = vectors([1, 4] * 15), vectors([0, 3] * 15)
    result = resample(LAYOUT, candidate, baseline, num_resamples=300)
    change, pq = result.changes["pq"], result.scores["pq"]
    assert change.value == pytest.approx(75 / 97.5 - 45 / 82.5)
    assert change.high - change.low < 0.5 * (pq.high - pq.low)
    assert change.low > 0
    assert result.per_class_changes[CAT].value == change.value


def test_a_model_that_is_never_worse_on_an_image_is_not_doubted():
    # Better on one image of forty, equal on the others: many resamples lack that image, but none speaks against it.
    change = resample(LAYOUT, vectors([2] * 39 + [4]), vectors([2] * 40), num_resamples=300).changes["pq"]
    assert change.low == change.lower_bound == 0.0
    assert change.high > change.value > 0


@pytest.mark.parametrize("found", [[], [2]])
def test_fewer_than_two_images_have_no_interval(found):
    result = resample(LAYOUT, vectors(found), None)
    assert [interval.low for interval in result.scores.values()] == [None] * len(result.scores)
    assert ("pq" in result.scores) == bool(found)


@pytest.mark.parametrize(
    ("groups", "message"),
    [({"pets": ["horse"]}, r"classes of the data set. Received: \['horse'\]"), ({"pets": []}, "none"),
     ({"things": ["cat"]}, "name of another score")],
)  # fmt: skip
def test_groups_of_unknown_classes_or_names_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        CountLayout(categories=CATEGORIES, groups=groups)


def test_sparse_vectors_give_the_same_scores_to_the_bit():
    candidate, baseline = vectors([1, 4] * 15), vectors([0, 3] * 15)
    dense = resample(LAYOUT, candidate, baseline, num_resamples=100)
    sparse = resample(LAYOUT, scipy.sparse.csr_array(candidate), scipy.sparse.csr_array(baseline), num_resamples=100)
    assert sparse == dense
