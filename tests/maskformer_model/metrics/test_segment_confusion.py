"""Which class is taken for which, by hand."""

import numpy as np

from maskformer_model.metrics.segment_confusion import NOTHING, segment_confusion
from maskformer_model.metrics.segment_matching import MatchedSegment, match_segments

CAT, DOG, SKY = 0, 1, 2


def confuse(true_ids, truth, predicted_ids, predicted):
    matches = match_segments(np.array([true_ids]), truth, np.array([predicted_ids]), predicted)
    return segment_confusion(matches, truth, predicted)


def test_a_cat_that_is_called_a_dog_and_a_sky_that_is_found():
    truth, predicted = (
        [MatchedSegment(1, CAT), MatchedSegment(2, SKY)],
        [MatchedSegment(5, DOG), MatchedSegment(6, SKY)],
    )
    assert confuse([1, 1, 1, 2, 2], truth, [5, 5, 5, 6, 6], predicted) == {(CAT, DOG): 1, (SKY, SKY): 1}


def test_half_is_not_enough_so_one_is_missed_and_one_invented():
    # 2 of 4 px: IoU 2 / 4 is not above one half.
    assert confuse([1, 1, 1, 1], [MatchedSegment(1, CAT)], [5, 5, 0, 0], [MatchedSegment(5, DOG)]) == {
        (CAT, NOTHING): 1,
        (NOTHING, DOG): 1,
    }


def test_void_and_crowds_excuse_and_are_nobody_s_partner():
    truth = [MatchedSegment(1, CAT, iscrowd=True), MatchedSegment(2, SKY)]
    predicted = [MatchedSegment(5, CAT), MatchedSegment(6, DOG), MatchedSegment(7, SKY)]
    assert confuse([1, 1, 0, 0, 2], truth, [5, 5, 6, 6, 7], predicted) == {(SKY, SKY): 1}


def test_the_void_part_of_a_prediction_does_not_lower_its_overlap():
    assert confuse([1, 1, 0, 0, 0], [MatchedSegment(1, CAT)], [5, 5, 5, 5, 5], [MatchedSegment(5, DOG)]) == {
        (CAT, DOG): 1
    }


def test_an_image_without_segments_confuses_nothing():
    assert confuse([0, 0], [], [0, 0], []) == {}
