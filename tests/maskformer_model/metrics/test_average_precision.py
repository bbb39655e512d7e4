"""AP from records of single images against pycocotools on all images at once."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskformer_model.metrics.average_precision import (
    NAMES,
    Instance,
    average_precision,
    encode_mask,
    instances_of_map,
    match_instances,
)
from maskformer_model.metrics.segment_matching import MatchedSegment

NUM_CLASSES = 3


def random_image(rng):
    """True and predicted instances whose masks nearly agree; some crowds, some misses, many equal scores."""
    truth, predicted = [], []
    for _ in range(rng.integers(0, 7)):
        mask = np.zeros((160, 200), bool)
        y, x = rng.integers(0, 60, 2)
        height, width = rng.integers(4, 100, 2)
        mask[y : y + height, x : x + width] = True
        class_index = int(rng.integers(0, NUM_CLASSES))
        if rng.random() < 0.85:
            iscrowd = bool(rng.random() < 0.15)
            truth.append(Instance(class_index, encode_mask(mask), int(mask.sum()), iscrowd=iscrowd))
        if rng.random() < 0.85:
            mask = np.roll(mask, rng.integers(-4, 5, 2), (0, 1))
            score = float(np.round(rng.random(), 1))
            predicted.append(Instance(class_index, encode_mask(mask), int(mask.sum()), score))
    return truth, predicted


def official(images, max_instances=100):
    """The first six numbers of `COCOeval.summarize`; None for its -1, which says that there is nothing to find."""
    truth, predicted = COCO(), []
    truth.dataset = {
        "images": [{"id": number, "height": 160, "width": 200} for number in range(len(images))],
        "categories": [{"id": index} for index in range(NUM_CLASSES)],
        "annotations": [],
    }
    for number, (of_truth, of_prediction) in enumerate(images):
        for instances, target in ((of_truth, truth.dataset["annotations"]), (of_prediction, predicted)):
            target.extend(
                {
                    "id": len(target) + 1,
                    "image_id": number,
                    "category_id": instance.class_index,
                    "segmentation": instance.rle,
                    "area": instance.area_px,
                    "iscrowd": int(instance.iscrowd),
                    "score": instance.score,
                }
                for instance in instances
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(predicted), "segm")
        evaluator.params.maxDets = [1, 10, max_instances]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [None if value == -1 else value for value in evaluator.stats[:6]]


@pytest.mark.parametrize("seed", range(4))
def test_records_of_single_images_give_what_pycocotools_gives_for_all_of_them(seed):
    rng = np.random.default_rng(seed)
    images = [random_image(rng) for _ in range(25)]
    # Through json, as they are stored.
    records = [json.loads(json.dumps(match_instances(*image))) for image in images]
    ours = average_precision(records, range(NUM_CLASSES))
    expected = official(images)
    assert [ours[name] for name in NAMES] == pytest.approx(expected, abs=1e-12)
    assert 0.05 < ours["ap"] < 0.95
    assert ours["ap"] == pytest.approx(np.mean(list(ours["per_class"].values())), abs=1e-12)


def test_a_perfect_prediction_has_an_ap_of_one_and_sizes_without_an_instance_have_none():
    mask = np.zeros((50, 50), bool)
    mask[:40, :40] = True  # 1600 px: medium.
    truth, predicted = Instance(0, encode_mask(mask), 1600), Instance(0, encode_mask(mask), 1600, 0.3)
    result = average_precision([match_instances([truth], [predicted])], [0, 1])
    assert [result[name] for name in NAMES] == pytest.approx([1.0, 1.0, 1.0, None, 1.0, None], abs=1e-12)
    assert result["per_class"] == {0: pytest.approx(1.0), 1: None}


@pytest.mark.parametrize(("max_instances", "found"), [(100, 100), (110, 110), (264, 120)])
def test_of_a_photo_with_many_things_as_many_count_as_the_model_may_answer(max_instances, found):
    truth, predicted = [], []
    for number in range(120):
        mask = np.zeros((48, 40), bool)
        mask[4 * (number // 10) :, 4 * (number % 10) :][:4, :4] = True
        truth.append(Instance(0, encode_mask(mask), 16))
        predicted.append(Instance(0, encode_mask(mask), 16, 1 - number / 200))
    result = average_precision([match_instances(truth, predicted, max_instances)], [0])
    # Precision is 1 at each of COCO's 101 recalls that is reached.
    reached = np.sum(np.linspace(0, 1, 101) <= found / 120)
    assert result["ap"] == pytest.approx(reached / 101, abs=1e-12)
    # pycocotools sums up AP for other limits too, but calls only AP50 and what follows by its own limit.
    assert result["ap50"] == pytest.approx(official([(truth, predicted)], max_instances)[1], abs=1e-12)


def test_a_crowd_is_neither_found_nor_missed():
    rle = encode_mask(np.ones((40, 40), bool))
    result = average_precision(
        [match_instances([Instance(0, rle, 1600, iscrowd=True)], [Instance(0, rle, 1600, 0.9)])], [0]
    )
    assert result["ap"] is None


def test_no_image_and_no_class_are_no_error():
    assert average_precision([], [0, 1])["ap"] is None
    assert average_precision([match_instances([], [])], [])["ap"] is None


def test_instances_are_the_thing_segments_of_a_map_with_their_pixels():
    ids = np.array([[1, 1, 2], [3, 3, 2]])
    segments = [MatchedSegment(1, 0), MatchedSegment(2, 1), MatchedSegment(3, 0, iscrowd=True), MatchedSegment(9, 0)]
    instances = instances_of_map(ids, segments, np.array([True, False]), [0.5, 0.6, 0.7, 0.8])
    assert [(i.class_index, i.area_px, i.score, i.iscrowd) for i in instances] == [
        (0, 2, 0.5, False),
        (0, 2, 0.7, True),
    ]
