"""Makes notes on how to read the scores of the evaluated photos: unlabelled pixels, and the query ceiling."""

from __future__ import annotations

import json

from components.panoptic_predictor import prediction_files
from maskformer_model.categories import CategoryTable
from maskformer_model.config import PANOPTIC
from maskformer_model.data import examples
from maskformer_model.metrics.query_ceiling import SegmentRanks, ceiling_sentence


def data_notes(split_dir: str, split: str, categories: CategoryTable, settings: str) -> list[tuple[str, str]]:
    """Returns the notes as label and value.

    Args:
        split_dir: The folder of the evaluated split of an Examples artifact.
        split: The split's name in the notes.
        categories: The data set's categories.
        settings: The model's experiment as json text; if it is empty, there is no query ceiling.
    """
    task = json.loads(settings).get("task", {}) if settings else {}
    ranks = SegmentRanks(categories.isthing, task.get("kind", PANOPTIC))
    num_exhaustive = 0
    for path in prediction_files.example_files(split_dir):
        for record in map(examples.decode_record, prediction_files.read_records(path)):
            num_exhaustive += record.void_is_background
            segments = record.segments
            columns = ([getattr(s, name) for s in segments] for name in ("class_index", "area_px", "iscrowd"))
            ranks.add_photo(*columns)
    notes = [("Pixels without a segment", _unlabeled_words(num_exhaustive, ranks.num_photos))]
    num_queries = task.get("model", {}).get("num_queries")
    max_targets = task.get("train_data", {}).get("parser", {}).get("max_targets")
    if num_queries and max_targets:
        notes.append(("Query ceiling", ceiling_sentence(split, ranks, num_queries, max_targets)))
    return notes


def _unlabeled_words(num_exhaustive: int, num_photos: int) -> str:
    if not num_exhaustive:
        return "void: predicted segments there are not counted"
    words = "background: the annotation is exhaustive, so predicted segments there are false positives"
    return words if num_exhaustive == num_photos else f"{words} (in {num_exhaustive} of {num_photos} photos)"
