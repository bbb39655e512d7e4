"""Every count of an image: what may change it and what may not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.panoptic_evaluator.scoring.scores import CountLayout
from components.panoptic_predictor.counts import sum_counts
from components.panoptic_predictor.image_measures import ALL, VARIANTS, ImageMeasures, measure_image
from maskformer_model.categories import CategoryTable
from maskformer_model.metrics.panoptic_quality import SIZES
from maskformer_model.metrics.segment_matching import MatchedSegment
from maskformer_model.metrics.semantic_quality import semantic_quality

ISTHING = np.array([True, False, True])
CATEGORIES = CategoryTable.from_coco(
    [{"id": 1, "name": "disc"}, {"id": 2, "name": "ground", "isthing": 0}, {"id": 3, "name": "ring"}]
)


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


def test_background_of_an_exhaustive_annotation_counts_in_pq_and_in_pixels_and_void_in_neither():
    # A disc of 4 px is found with 3 px of background too, and another disc is invented on 4 px of it.
    truth, predicted = np.zeros((2, 4, 5), int)
    truth[0, :4] = 1
    predicted[0], predicted[1, 3:], predicted[3, 1:] = 5, 5, 6
    discs = [MatchedSegment(1, 0)], [MatchedSegment(5, 0), MatchedSegment(6, 0)]
    expected = {
        # 4 of 4 px beside void: IoU 1, and what lies on void is excused.
        False: (1.0, 0, ((0, 0, 4),), (1.0, 1.0)),
        # 4 of 7 px, and a false positive. Pixels: 4 of 11; right are 4 and 9 of background, of 20.
        True: (4 / 7, 1, ((0, 0, 4), (3, 0, 7), (3, 3, 9)), (4 / 11, 13 / 20)),
    }
    layout = CountLayout(categories=CATEGORIES)
    for rule, (iou, false_positives, pixels, (mean_iou, accuracy)) in expected.items():
        sides = (truth, discs[0], predicted, discs[1])
        measures = measure_image(*sides, [0.9, 0.8], ISTHING, void_is_background=rule)
        [(_, counts)] = measures.panoptic[ALL]
        assert counts.iou_sum == pytest.approx(iou) and counts.false_positives == false_positives
        assert measures.pixels == pixels
        confusion = np.zeros((4, 4), np.int64)
        for true, found, count in pixels:
            confusion[true, found] = count
        scores = layout.scores(layout.vector(measures))
        quality = semantic_quality(confusion)
        for found in (scores["mean_iou"], quality.mean_iou):
            assert found == pytest.approx(mean_iou)
        for found in (scores["pixel_accuracy"], quality.pixel_accuracy):
            assert found == pytest.approx(accuracy)
        assert scores["frequency_weighted_iou"] == pytest.approx(quality.frequency_weighted_iou)


def test_the_truth_predicted_is_perfect_in_every_variant():
    ids = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((20, 30), int))
    segments = [MatchedSegment(i, i % 3) for i in range(1, 7)]
    measures = measure_image(ids, segments, ids, segments, [0.5] * 6, ISTHING)
    for variant in VARIANTS:
        for _, counts in measures.panoptic[variant]:
            assert counts.iou_sum == counts.true_positives
            assert (counts.false_positives, counts.false_negatives) == (0, 0)
    assert all(true == predicted for true, predicted, _ in (*measures.pixels, *measures.confusion))
