"""Scores a SavedModel on the photos of a data folder, in any form that the pipeline reads.

The folder's split is converted to records in a temporary folder, so truth is read and bad records are kept aside as in
the pipeline. Photos are predicted and counted as `PanopticPredictor` does, one after another.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.coco_example_gen.conversion.conversion_job import ConversionJob, convert
from components.coco_example_gen.layouts.data_files import ANYWHERE
from components.coco_example_gen.layouts.find import find_split
from components.coco_example_gen.options import IngestOptions
from components.panoptic_evaluator.stuff_as_background import StuffAsBackground, stuff_that_data_lacks
from components.panoptic_predictor import counts as counts_lib
from components.panoptic_predictor import serving_model
from components.panoptic_predictor.prediction_step import predict_records
from maskformer_model.categories import CategoryTable
from maskformer_model.config import INSTANCE, SEMANTIC
from maskformer_model.config.files import CATEGORIES_FILE
from maskformer_model.config.scores import SCORES_OF_TASK
from maskformer_model.data.input_pipeline import open_records
from maskformer_model.metrics.average_precision import average_precision
from maskformer_model.metrics.panoptic_quality import PanopticCounts
from maskformer_model.metrics.semantic_quality import semantic_quality

_MOST_LINES = 10
_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_num_workers=1")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FolderEvaluation:
    """The scores of a model on a data folder.

    Attributes:
        categories: The classes.
        counts: PQ's counts, summed over all photos.
        scores: Fractions by name: those of `SCORES_OF_TASK` for pixels and, where there is a thing to find, instances.
        num_photos: How many photos were scored.
        skipped: The records that were kept aside: `file_name`, `reason` and `detail` of each.
        source: The folder's layout.
        max_instances: How many instances of a class in a photo AP counts.
        as_background: Stuff of the model that counted as background, because the data names things only.
    """

    categories: CategoryTable
    counts: PanopticCounts
    scores: Mapping[str, float]
    num_photos: int
    skipped: tuple[Mapping[str, str], ...]
    source: str
    max_instances: int
    as_background: tuple[str, ...]


def evaluate_folder(model_dir: str, data_dir: str, split: str, options: IngestOptions) -> FolderEvaluation:
    """Predicts and counts every photo of a split.

    Args:
        model_dir: The SavedModel.
        data_dir: The data folder.
        split: "train", "val" or "test"; empty takes the folder's validation photos, or where it has only one split
            that one.
        options: Its layout, things, stuff and what unlabelled pixels are; the rest is not read.

    Raises:
        UnknownLayoutError: if the folder has no layout that can be read, or no such split.
        ValueError: if the model knows other classes than the folder, an annotation file is not whole, too many records
            are bad, or there is none.
    """
    source = find_split(data_dir, split, ANYWHERE, options.layout, options.things, options.stuff)
    source = dataclasses.replace(source, unlabeled=options.unlabeled)
    with tempfile.TemporaryDirectory() as folder:
        job = ConversionJob(
            source=source,
            output_prefix=os.path.join(folder, "photos"),
            num_shards=1,
            max_kept_aside_share=1.0,  # Checked below: the list that an error names here would be gone with the folder.
            beam_args=_BEAM_ARGS,
        )
        written = convert(job)
        with open(written.kept_aside_file, encoding="utf-8") as file:
            skipped = tuple(json.loads(line) for line in file)
        _require_enough(data_dir, written.num_written, skipped, options.max_kept_aside_share)
        categories = CategoryTable.load(os.path.join(folder, CATEGORIES_FILE))
        of_model = serving_model.categories_of_model(model_dir)
        as_background = stuff_that_data_lacks(of_model, categories)
        difference = serving_model.difference_of_categories(of_model, categories)
        if difference and not as_background:
            raise ValueError(f"Model and data must have the same classes in the same order, but {difference}.")
        model = (StuffAsBackground if as_background else serving_model.ServingModel)(model_dir)
        counts, scores = _score(model, categories, written.pattern)
    return FolderEvaluation(
        categories=categories,
        counts=counts,
        scores=scores,
        num_photos=written.num_written,
        skipped=skipped,
        source=source.layout,
        max_instances=model.max_instances,
        as_background=tuple(category.name for category in as_background),
    )


def skipped_lines(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns a line for each of the first records that were kept aside, and one for the rest."""
    lines = [f"  {entry['file_name']}: {entry['reason']}: {entry['detail']}" for entry in skipped[:_MOST_LINES]]
    return [*lines, f"  and {len(skipped) - _MOST_LINES} more"] if len(skipped) > _MOST_LINES else lines


def _require_enough(data_dir: str, num_written: int, skipped: Sequence[Mapping[str, str]], most: float) -> None:
    if num_written and len(skipped) <= most * (num_written + len(skipped)):
        return
    found = "\n".join([f"{len(skipped)} of {num_written + len(skipped)}", *skipped_lines(skipped)])
    raise ValueError(f"Of the records of {data_dir}, a share of at most {most:g} may be bad. Received: {found}")


def _score(
    model: serving_model.ServingModel, categories: CategoryTable, pattern: str
) -> tuple[PanopticCounts, dict[str, float]]:
    counts = PanopticCounts.zeros(categories.num_classes)
    pixels = np.zeros((categories.num_classes + 1, categories.num_classes + 1), np.int64)
    instances: list[Mapping[Any, Any]] = []
    _, records = open_records(pattern)
    for prediction in predict_records(model, records.as_numpy_iterator(), categories.isthing, batch_size=1):
        counts += counts_lib.to_panoptic_counts(prediction.counts, categories.num_classes)
        for true_class, predicted_class, count in prediction.measures.pixels:
            pixels[true_class, predicted_class] += count
        instances.append(prediction.measures.instances)
    quality = semantic_quality(pixels)
    scores = {name: float(getattr(quality, name)) for name in SCORES_OF_TASK[SEMANTIC]}
    things = np.flatnonzero(categories.isthing).tolist()
    found = average_precision(instances, things, by_size=False) if things else {}
    scores |= {name: found[name] for name in SCORES_OF_TASK[INSTANCE] if found.get(name) is not None}
    return counts, scores
