"""The score that a model is judged by, which depends on its task: gate, report and summary put it first."""

from __future__ import annotations

import dataclasses

from maskformer_model.config import INSTANCE, PANOPTIC, SCORE_OF_TASK, SEMANTIC
from maskformer_model.config.scores import SCORE_LABELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Headline:
    """One score.

    Attributes:
        task: whose score it is.
        metric: its name among the scores of an analysis.
        label: what sentences call it.
        title: the same in full.
        lead: where pixels and instances come from, as a sentence.
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
        lead="Pixels and instances are taken from the panoptic prediction: a pixel is of its segment's class, an "
        "instance is a thing segment with its score.",
    ),
    SEMANTIC: Headline(
        task=SEMANTIC,
        metric=SCORE_OF_TASK[SEMANTIC],
        label=SCORE_LABELS[SCORE_OF_TASK[SEMANTIC]],
        title="Mean IoU",
        lead="A semantic model gives each pixel a class. For PQ and AP all pixels of a class are one segment, so they "
        "say little about things.",
    ),
    INSTANCE: Headline(
        task=INSTANCE,
        metric=SCORE_OF_TASK[INSTANCE],
        label=SCORE_LABELS[SCORE_OF_TASK[INSTANCE]],
        title="Average precision",
        lead="AP is that of the model's instances, which may overlap; PQ and the pixels' scores are those of its "
        "panoptic map.",
    ),
}
