"""Defines the score that a model of each task is judged by; gate, report and summary show it first."""

from __future__ import annotations

import dataclasses

from maskformer_model.config import INSTANCE, PANOPTIC, SCORE_OF_TASK, SEMANTIC
from maskformer_model.config.scores import SCORE_LABELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """One score.

    Attributes:
        task: The task that the score belongs to.
        metric: The score's name in an analysis.
        label: The score's short name in sentences.
        title: The score's full name.
        lead: A sentence that says where pixels and instances come from.
    """

    task: str
    metric: str
    label: str
    title: str
    lead: str


OF_TASK = {
    PANOPTIC: Headline(
        task=PANOPTIC,
        metric=SCORE_OF_TASK[PANOPTIC],
        label=SCORE_LABELS[SCORE_OF_TASK[PANOPTIC]],
        title="Panoptic quality",
        lead="Pixels and instances are taken from the panoptic prediction: a pixel has its segment's class, and an "
        "instance is a thing segment with its score.",
    ),
    SEMANTIC: Headline(
        task=SEMANTIC,
        metric=SCORE_OF_TASK[SEMANTIC],
        label=SCORE_LABELS[SCORE_OF_TASK[SEMANTIC]],
        title="Mean IoU",
        lead="A semantic model gives each pixel a class. For PQ and AP all pixels of a class are one segment, so they "
        "tell little about things.",
    ),
    INSTANCE: Headline(
        task=INSTANCE,
        metric=SCORE_OF_TASK[INSTANCE],
        label=SCORE_LABELS[SCORE_OF_TASK[INSTANCE]],
        title="Average precision",
        lead="AP is computed from the model's instances, which may overlap; PQ and the pixels' scores from its "
        "panoptic map.",
    ),
}
