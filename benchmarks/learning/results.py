"""The result of a training: scores, cost and settings, with the counts of every photo, as one json file."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.panoptic_evaluator.scoring.scores import CountLayout
from components.panoptic_predictor.image_measures import ImageMeasures, measure_image
from maskformer_model.categories import CategoryTable
from maskformer_model.config import SEMANTIC
from maskformer_model.data import panoptic_png
from maskformer_model.data.examples import ExampleRecord
from maskformer_model.metrics.average_precision import Instance, average_precision
from maskformer_model.metrics.segment_matching import MatchedSegment

# What is shown of a task, the score it is judged by first.
SHOWN = {SEMANTIC: ("mean_iou", "pixel_accuracy")}
SHOWN_OF_OBJECTS = ("pq", "pq_things", "ap50", "mean_iou")
AP_NAMES = ("ap", "ap50", "ap75")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A trained model on the photos that it was scored on.

    Attributes:
        model: The model's name.
        task: "semantic" or "panoptic".
        steps: The number of optimizer steps.
        seconds: The wall time of the training, without the scoring at the end; None if it is not known.
        settings: What else the training was told, by name.
        categories: The classes.
        measures: The counts of each photo, by file name.
    """

    model: str
    task: str
    steps: int
    seconds: float | None
    settings: Mapping[str, Any]
    categories: CategoryTable
    measures: Mapping[str, ImageMeasures]

    @property
    def layout(self) -> CountLayout:
        """Returns where each count lies in a vector of `vectors`."""
        return CountLayout(categories=self.categories)

    def vectors(self) -> np.ndarray:
        """Returns `[photos, counts]`, in the order of the file names."""
        return np.stack([self.layout.vector(self.measures[name]) for name in sorted(self.measures)])

    def precision(self, photos: Sequence[int]) -> dict[str, float]:
        """Returns AP of some photos, given by their places in the order of the file names; one may occur repeatedly."""
        things = np.flatnonzero(self.categories.isthing).tolist()
        if not things:
            return {}
        names = sorted(self.measures)
        values = average_precision([self.measures[names[i]].instances for i in photos], things, by_size=False)
        return {name: values[name] for name in AP_NAMES if values[name] is not None}

    def scores(self) -> dict[str, float]:
        """Returns all scores of all photos together."""
        values = self.layout.scores(self.vectors().sum(axis=0))
        of_counts = {name: float(values[name]) for name in self.layout.names if np.isfinite(values[name])}
        return of_counts | self.precision(range(len(self.measures)))

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the json file."""
        document = {
            "model": self.model,
            "task": self.task,
            "scores": self.scores(),
            "steps": self.steps,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "categories": self.categories.to_coco(),
            "measures": {name: self.measures[name].to_json() for name in sorted(self.measures)},
        }
        pathlib.Path(path).write_text(json.dumps(document) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Result:
        """Reads what `save` wrote; the scores are computed again."""
        document = json.loads(pathlib.Path(path).read_text("utf-8"))
        fields = {name: document[name] for name in ("model", "task", "steps", "seconds", "settings")}
        return cls(
            **fields,
            categories=CategoryTable.from_coco(document["categories"]),
            measures={name: ImageMeasures.from_json(rows) for name, rows in document["measures"].items()},
        )


def shown_scores(task: str) -> tuple[str, ...]:
    """Returns the names of the scores that a table shows of a task."""
    return SHOWN.get(task, SHOWN_OF_OBJECTS)


def measure(
    record: ExampleRecord,
    categories: CategoryTable,
    segment_ids: np.ndarray,
    segments: Sequence[MatchedSegment],
    scores: Sequence[float] = (),
    *,
    instances: Sequence[Instance] | None = None,
    max_instances: int,
) -> ImageMeasures:
    """Counts a prediction against a photo's truth; the arguments are those of `measure_image`."""
    return measure_image(
        panoptic_png.decode_panoptic_png(record.panoptic_png),
        [MatchedSegment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments],
        segment_ids,
        segments,
        scores,
        categories.isthing,
        instances=instances,
        max_instances=max_instances,
        image_name=record.filename,
        void_is_background=record.void_is_background,
    )
