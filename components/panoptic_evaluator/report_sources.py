"""Collects from files what the report shows besides the numbers: pictures, training history, what was kept aside.

Examples and predictions are read as streams, and only the records of the chosen images are kept.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence

import tensorflow as tf

from components.panoptic_evaluator import gallery, prediction_files, serving_model
from components.panoptic_evaluator.gallery import GalleryImage
from components.panoptic_evaluator.gate import Verdict
from components.panoptic_evaluator.metrics import Evaluation, ImageScore
from components.panoptic_evaluator.report import Report
from components.panoptic_evaluator.training_curves import training_charts
from maskformer_model import examples
from maskformer_model.categories import CategoryTable


def assemble_report(
    candidate: Evaluation,
    baseline: Evaluation | None,
    verdict: Verdict,
    *,
    split_dir: str,
    predictions_dir: str,
    model_dir: str,
    gallery_images: int,
) -> Report:
    """Completes the numbers to a report.

    Args:
        candidate: the evaluated model's numbers.
        baseline: the last blessed model's, if the two were compared.
        verdict: the gate's decision.
        split_dir: the evaluated split of an Examples artifact.
        predictions_dir: the candidate's predictions.
        model_dir: the candidate's SavedModel.
        gallery_images: most images per gallery.
    """
    best, worst = gallery.choose_images(candidate.images, gallery_images)
    pictures = draw_images([*best, *worst], split_dir, predictions_dir, candidate.categories)
    return Report(
        candidate=candidate,
        baseline=baseline,
        verdict=verdict,
        best=[pictures[score.source_id] for score in best],
        worst=[pictures[score.source_id] for score in worst],
        charts=training_charts(serving_model.training_history(model_dir)),
        kept_aside=count_kept_aside(examples.kept_aside_path(os.path.join(split_dir, "*"))),
        about=[("Examples", split_dir), ("Model", model_dir)],
    )


def draw_images(
    scores: Sequence[ImageScore], split_dir: str, predictions_dir: str, categories: CategoryTable
) -> dict[str, GalleryImage]:
    """Pictures of the given images, by image id.

    Raises:
        ValueError: if one of them is not among the examples.
    """
    score_of_id = {score.source_id: score for score in scores}
    predictions = {}
    for shard in prediction_files.list_shards(predictions_dir) if scores else []:
        for prediction in map(prediction_files.decode_prediction, prediction_files.read_records(shard)):
            if prediction.source_id in score_of_id:
                predictions[prediction.source_id] = prediction
    pictures: dict[str, GalleryImage] = {}
    for path in prediction_files.example_files(split_dir):
        if len(pictures) == len(score_of_id):
            return pictures
        for record in map(examples.decode_record, prediction_files.read_records(path)):
            if record.source_id in score_of_id:
                pictures[record.source_id] = gallery.gallery_image(
                    score_of_id[record.source_id], record, predictions[record.source_id], categories
                )
    missing = sorted(score_of_id.keys() - pictures.keys())
    if missing:
        raise ValueError(f"Every evaluated image must be among the examples of {split_dir}. Not found, ids: {missing}")
    return pictures


def count_kept_aside(path: str) -> dict[str, int]:
    """Number of records that the ingestion kept aside, by reason and split, most frequent first.

    Empty without such a list, as where another ingestion wrote the examples.
    """
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as lines:
        records = (json.loads(line) for line in lines)
        reasons = Counter(f"{record['reason'].replace('_', ' ')} ({record['split']})" for record in records)
    return dict(reasons.most_common())
