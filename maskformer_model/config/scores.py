"""Defines the names of an evaluation's scores and their labels. Every list of scores starts from this table.

Histories, `metrics.json`, gate rules and summaries hold scores under these names, so the names stay. The pipeline's
evaluator knows further ones, which begin with the same words (`pq_small`, `pq_<group>`, `ap_small`).
"""

from __future__ import annotations

from maskformer_model.config.task import INSTANCE, PANOPTIC, SEMANTIC

# What a training run's evaluation says, by the kind of score: the name, then the label. The first one judges a model.
_LABELS_OF_TASK = {
    PANOPTIC: {"pq": "PQ", "sq": "SQ", "rq": "RQ", "pq_things": "PQ_THINGS", "pq_stuff": "PQ_STUFF"},
    SEMANTIC: {"mean_iou": "mIoU", "frequency_weighted_iou": "fwIoU", "pixel_accuracy": "accuracy"},
    INSTANCE: {"ap": "AP", "ap50": "AP50", "ap75": "AP75"},
}
SCORES_OF_TASK = {task: tuple(labels) for task, labels in _LABELS_OF_TASK.items()}
SCORE_LABELS = {name: label for labels in _LABELS_OF_TASK.values() for name, label in labels.items()}
# The score that a model is judged by: which checkpoint is the best, what a search looks for, what the gate asks first.
SCORE_OF_TASK = {task: names[0] for task, names in SCORES_OF_TASK.items()}


def is_score(name: str) -> bool:
    """Returns whether a quantity of the training history is a score of the evaluation split; the others are losses."""
    return any(name == known or name.startswith(f"{known}_") for known in SCORE_LABELS)
