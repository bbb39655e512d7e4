"""Every count of an image: what may change it and what may not."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.panoptic_predictor.counts import sum_counts
from components.panoptic_predictor.image_measures import ALL, VARIANTS, ImageMeasures, measure_image
from maskformer_model.metrics.panoptic_quality import SIZES
from maskformer_model.metrics.segment_matching import MatchedSegment

ISTHING = np.array([True, False, True])


@st.composite
def images(draw):
    """A true and a predicted map of 16 x 12 px in blocks, so that segments do overlap; some crowds."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 5, (4, 3)), np.ones((4, 4), int))
    predicted = np.where(rng.random((16, 12)) < 0.2, np.kron(rng.integers(0, 5, (4, 3)), np.ones((4, 4), int)), truth)
    sides = []
    for ids, may_be_crowd in ((truth, True), (predicted, False)):
        sides.append(
            [
                MatchedSegment(int(i), int(rng.integers(0, 3)), bool(may_be_crowd and rng.random() < 0.2))
                for i in np.unique(ids)
                if i
            ]
        )
    return truth, sides[0], predicted, sides[1], [float(s) for s in rng.random(len(sides[1]))]


@settings(max_examples=60, deadline=None)
@given(images(), st.integers(1, 1000))
def test_other_ids_and_another_order_of_the_segments_change_nothing(image, offset):
    truth, true_segments, predicted, predicted_segments, scores = image
    renamed = [MatchedSegment(s.id * 7 + offset, s.class_index, s.iscrowd) for s in predicted_segments]
    other = np.where(predicted > 0, predicted * 7 + offset, 0)
    expected = measure_image(truth, true_segments, predicted, predicted_segments, scores, ISTHING)
    again = measure_image(truth, true_segments, other, renamed[::-1], scores[::-1], ISTHING)
    assert (again.panoptic, again.pixels, again.confusion) == (expected.panoptic, expected.pixels, expected.confusion)
    assert again.instances == expected.instances


@settings(max_examples=60, deadline=None)
@given(images())
def test_void_that_is_added_changes_no_count_but_boundaries(image):
    truth, true_segments, predicted, predicted_segments, scores = image
    void = np.zeros((3, truth.shape[1]), int)
    before = measure_image(truth, true_segments, predicted, predicted_segments, scores, ISTHING)
    after = measure_image(
        np.vstack([truth, void]), true_segments, np.vstack([predicted, void]), predicted_segments, scores, ISTHING
    )
    assert {name: after.panoptic[name] for name in (ALL, *SIZES)} == {n: before.panoptic[n] for n in (ALL, *SIZES)}
    assert (after.pixels, after.confusion, after.instances) == (before.pixels, before.confusion, before.instances)


@settings(max_examples=60, deadline=None)
@given(images())
def test_sizes_add_up_to_all_and_json_keeps_every_bit(image):
    measures = measure_image(*image, ISTHING)
    summed: dict = {}
    for size in SIZES:
        for index, counts in measures.panoptic[size]:
            summed[index] = sum_counts([counts, *([summed[index]] if index in summed else [])])
    assert summed == dict(measures.panoptic[ALL])
    assert ImageMeasures.from_json(json.loads(json.dumps(measures.to_json()))) == measures


def test_the_truth_predicted_is_perfect_in_every_variant():
    ids = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((20, 30), int))
    segments = [MatchedSegment(i, i % 3) for i in range(1, 7)]
    measures = measure_image(ids, segments, ids, segments, [0.5] * 6, ISTHING)
    for variant in VARIANTS:
        for _, counts in measures.panoptic[variant]:
            assert counts.iou_sum == counts.true_positives
            assert (counts.false_positives, counts.false_negatives) == (0, 0)
    assert all(true == predicted for true, predicted, _ in (*measures.pixels, *measures.confusion))
