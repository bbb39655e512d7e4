"""Tests of `maskformer_model.config.scores`."""

import pytest

from maskformer_model.config.scores import SCORE_LABELS, SCORE_OF_TASK, is_score


def test_a_model_is_judged_by_the_first_score_of_its_task():
    assert SCORE_OF_TASK == {"panoptic": "pq", "semantic": "mean_iou", "instance": "ap"}
    assert [SCORE_LABELS[name] for name in SCORE_OF_TASK.values()] == ["PQ", "mIoU", "AP"]


@pytest.mark.parametrize(
    "name", ["pq", "pq_things", "sq_stuff", "rq", "mean_iou", "pixel_accuracy", "ap75", "ap_small"]
)
def test_scores_of_the_evaluation_are_told_from_other_quantities(name):
    assert is_score(name)


@pytest.mark.parametrize("name", ["loss", "mask_loss_3", "learning_rate", "apples", "pqr", "step"])
def test_losses_are_no_scores(name):
    assert not is_score(name)
