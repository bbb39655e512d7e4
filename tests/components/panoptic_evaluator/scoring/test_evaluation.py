"""Counts per class and `metrics.json`: sums before PQ, classes that were not seen, images counted once."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from components.panoptic_evaluator.scoring.analysis import analyze
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.evaluation import (
    evaluation_from_files,
    require_same_images,
)
from components.panoptic_evaluator.scoring.metrics_file import metrics_document
from components.panoptic_predictor.counts import (
    SegmentCounts,
    counts_per_class,
    from_json_rows,
    sum_counts,
    to_json_rows,
    to_panoptic_counts,
)
from maskformer_model.metrics.panoptic_quality import PanopticCounts
from tests.components.image_lines import CATEGORIES, image_line, sums_text


def evaluation(counts_rows: list, lines: list[str]):
    return evaluation_from_files(CATEGORIES, sums_text(counts_rows), lines)


def document_of(candidate):
    return metrics_document(candidate, None, analyze(candidate, None, AnalysisConfig(num_resamples=0)))


def test_only_classes_that_occur_become_rows_and_come_back_as_they_were():
    dense = PanopticCounts(
        np.array([0.0, 1.7, 0.0]), np.array([0, 2, 0]), np.array([0, 0, 1], np.int64), np.array([0, 0, 0])
    )
    rows = counts_per_class(dense)
    assert rows == [(1, SegmentCounts(1.7, 2, 0, 0)), (2, SegmentCounts(0.0, 0, 1, 0))]
    assert to_panoptic_counts(from_json_rows(json.loads(json.dumps(to_json_rows(rows)))), 3) == dense


def test_counts_add_up_the_same_in_every_order():
    terms = [SegmentCounts(0.75, 1, 0, 2), SegmentCounts(0.5, 1, 1, 0), SegmentCounts(0.0, 0, 3, 1), SegmentCounts()]
    assert {sum_counts(order) for order in itertools.permutations(terms)} == {SegmentCounts(1.25, 2, 4, 3)}
    assert sum_counts([]) == SegmentCounts(0.0, 0, 0, 0)


def test_a_class_index_outside_the_table_is_refused():
    with pytest.raises(ValueError, match=r"class index must be in 0..2. Received: 3"):
        to_panoptic_counts([(3, SegmentCounts())], 3)


def test_few_images_and_classes_without_a_true_segment_are_warned_of():
    # cat: one match; dog: only a false positive; sky: nothing.
    rows = [[1, 0.9, 1, 0, 0], [2, 0.0, 0, 1, 0]]
    assert document_of(evaluation(rows, [image_line(str(n)) for n in range(29)]))["warnings"] == [
        "Only 29 images were evaluated: with fewer than 30, the scores can change by chance.",
        "2 of 3 classes were never evaluated, since no evaluated image has one: sky, dog.",
    ]
    rows = [[0, 0.9, 1, 0, 0], [1, 0.0, 0, 0, 1], [2, 0.9, 1, 0, 0]]
    assert document_of(evaluation(rows, [image_line(str(n)) for n in range(30)]))["warnings"] == []
    assert document_of(evaluation([], []))["warnings"] == []


def test_metrics_hold_fractions_per_class_and_null_for_a_class_that_was_not_seen():
    # cat: IoU 0.8 + 0.7 of 2 matches and 1 missed: PQ 1.5 / 2.5; sky: one match of IoU 0.9; dog: never seen.
    document = document_of(evaluation([[0, 0.9, 1, 0, 0], [1, 1.5, 2, 0, 1]], [image_line("1"), image_line("2")]))
    assert document["num_images"] == 2
    assert document["baseline"] is None
    assert [row["name"] for row in document["per_class"]] == ["sky", "cat", "dog"]
    sky, cat, dog = document["per_class"]
    assert (cat["category_id"], cat["pq"], cat["sq"], cat["rq"]) == (2, 0.6, 0.75, 0.8)
    assert (cat["true_positives"], cat["false_positives"], cat["false_negatives"]) == (2, 0, 1)
    assert (sky["pq"], dog["pq"]) == (0.9, None)
    assert document["summary"]["all"] == {"pq": 0.75, "sq": 0.825, "rq": 0.9, "num_classes": 2}
    assert document["summary"]["things"]["pq"] == 0.6
    assert document["summary"]["stuff"]["num_classes"] == 1


def test_images_are_listed_by_number_whatever_the_order_of_the_lines():
    lines = [image_line(source_id) for source_id in ("10", "9", "100")]
    document = document_of(evaluation([], lines))
    assert [image["source_id"] for image in document["images"]] == ["9", "10", "100"]


def test_an_image_that_was_counted_twice_is_refused():
    with pytest.raises(ValueError, match=r"counted once.*\['7'\]"):
        evaluation([], [image_line("7"), image_line("8"), image_line("7")])


def test_no_image_at_all_gives_zero_and_no_class():
    document = document_of(evaluation([], []))
    assert document["num_images"] == 0
    assert document["summary"]["all"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "num_classes": 0}


def test_candidate_and_baseline_on_different_images_are_not_compared():
    one, two = evaluation([], [image_line("1")]), evaluation([], [image_line("2")])
    require_same_images(one, one)
    with pytest.raises(ValueError, match=r"same images.*\['1', '2'\]"):
        require_same_images(one, two)


def test_confusions_are_listed_by_name_most_first():
    candidate = evaluation_from_files(CATEGORIES, sums_text([], [[1, 2, 3], [1, -1, 5], [-1, 0, 1]]), [])
    assert document_of(candidate)["confusion"] == [
        {"true": "cat", "predicted": None, "segments": 5},
        {"true": "cat", "predicted": "dog", "segments": 3},
        {"true": None, "predicted": "sky", "segments": 1},
    ]
