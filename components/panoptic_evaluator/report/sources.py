"""Collects from files what the report shows besides the numbers: pictures, training history, skipped records.

It reads Examples and predictions as streams and keeps only the records of the chosen images.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Sequence

import tensorflow as tf

from components.panoptic_evaluator.gate.judge import Verdict
from components.panoptic_evaluator.report import gallery, model_card
from components.panoptic_evaluator.report.data_notes import data_notes
from components.panoptic_evaluator.report.gallery import GalleryImage
from components.panoptic_evaluator.report.page import Gallery, Report
from components.panoptic_evaluator.report.training_curves import training_charts
from components.panoptic_evaluator.scoring.analysis import Analysis
from components.panoptic_evaluator.scoring.evaluation import Evaluation, ImageScore, image_score
from components.panoptic_evaluator.scoring.headline import Headline
from components.panoptic_predictor import prediction_files, serving_model
from components.panoptic_predictor.prediction_files import Prediction
from components.panoptic_predictor.prediction_step import predict_records
from components.panoptic_predictor.shared_model import shared_model
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples


def assemble_report(
    candidate: Evaluation,
    baseline: Evaluation | None,
    analysis: Analysis,
    verdict: Verdict,
    *,
    split_dir: str,
    train_dir: str | None,
    predictions_dir: str,
    baseline_predictions_dir: str | None,
    model_dir: str,
    lineage: Sequence[tuple[str, str]],
    gallery_images: int,
    headline: Headline,
) -> Report:
    """Assembles a report from the numbers and the files.

    Args:
        candidate: The evaluated model's numbers.
        baseline: The last blessed model's numbers, if the two were compared.
        analysis: Every score with interval and change.
        verdict: The gate's decision.
        split_dir: The folder of the evaluated split of an Examples artifact.
        train_dir: The folder of the train split; None if it is not available.
        predictions_dir: The folder of the candidate's predictions.
        baseline_predictions_dir: The folder of the baseline's predictions, if the two were compared.
        model_dir: The candidate's SavedModel.
        lineage: The origin of model and data, as label and value.
        gallery_images: The largest number of images per gallery.
        headline: The score that the model is judged by.
    """
    history = serving_model.training_history(model_dir)
    settings = model_card.settings_text(model_dir)
    return Report(
        candidate=candidate,
        baseline=baseline,
        analysis=analysis,
        verdict=verdict,
        galleries=[
            *_eval_galleries(candidate, baseline, split_dir, predictions_dir, baseline_predictions_dir, gallery_images),
            _train_gallery(train_dir, model_dir, candidate.categories, gallery_images),
        ],
        charts=training_charts(history),
        kept_aside=count_reasons(examples.kept_aside_path(os.path.join(split_dir, "*"))),
        noticed=count_reasons(examples.notices_path(os.path.join(split_dir, "*"))),
        card=[*lineage, *model_card.model_facts(model_dir, history)],
        settings=settings,
        data_notes=data_notes(split_dir, "the evaluated photos", candidate.categories, settings),
        headline=headline,
    )


def _eval_galleries(
    candidate: Evaluation,
    baseline: Evaluation | None,
    split_dir: str,
    predictions_dir: str,
    baseline_predictions_dir: str | None,
    count: int,
) -> list[Gallery]:
    best, worst = gallery.choose_images(candidate.images, count)
    chosen = gallery.choose_random(candidate.images, count)
    changed = gallery.choose_most_changed(candidate.images, baseline.images, count) if baseline else []
    change_of = {score.source_id: change for score, change in changed}
    scores = [*best, *worst, *chosen, *(score for score, _ in changed)]
    pictures = draw_images(
        scores, split_dir, predictions_dir, candidate.categories, baseline_predictions_dir, change_of
    )

    def of(images: Sequence[ImageScore]) -> list[GalleryImage]:
        return [pictures[score.source_id] for score in images]

    no_change = "No image's PQ differs." if baseline else "There is no other model to compare with."
    return [
        Gallery(
            key="best",
            title="Best images",
            lead="The images with the highest PQ.",
            images=of(best),
            empty="No image has a score.",
        ),
        Gallery(
            key="worst",
            title="Worst images",
            lead="The images with the lowest PQ, worst first.",
            images=of(worst),
            empty="There are no more images to show.",
        ),
        Gallery(
            key="changed",
            title="Most changed images",
            lead="The images whose PQ differs most from the last blessed model's, in either direction.",
            images=of([score for score, _ in changed]),
            empty=no_change,
        ),
        Gallery(
            key="random",
            title="Random images",
            lead="Images chosen at random, not by score.",
            images=of(chosen),
            empty="There is no image.",
        ),
    ]


def _train_gallery(train_dir: str | None, model_dir: str, categories: CategoryTable, count: int) -> Gallery:
    """Returns the first images of the train split, predicted here because no stored prediction has them."""
    images = []
    for path in prediction_files.example_files(train_dir)[:1] if train_dir and count else []:
        serialized = list(itertools.islice(prediction_files.read_records(path), count))
        model = shared_model(model_dir)
        predictions = predict_records(model, serialized, categories.isthing, batch_size=1)
        for example, prediction in zip(serialized, predictions, strict=True):
            score = image_score(prediction, categories)
            images.append(gallery.gallery_image(score, examples.decode_record(example), prediction, categories))
    return Gallery(
        key="train",
        title="Images of the train split",
        lead="The model's predictions for the first train photos. The numbers above do not include them.",
        images=images,
        empty="The train split is not available.",
    )


def draw_images(
    scores: Sequence[ImageScore],
    split_dir: str,
    predictions_dir: str,
    categories: CategoryTable,
    baseline_predictions_dir: str | None = None,
    change_of: dict[str, float] | None = None,
) -> dict[str, GalleryImage]:
    """Returns pictures of the given images, by image id.

    Args:
        scores: The scores of the images.
        split_dir: The folder of a split of an Examples artifact.
        predictions_dir: The candidate's predictions.
        categories: The classes' names and colours.
        baseline_predictions_dir: The baseline's predictions.
        change_of: The change of PQ by image id, for the images that also show the baseline.

    Raises:
        ValueError: if an image is not among the examples.
    """
    score_of_id, changes = {score.source_id: score for score in scores}, change_of or {}
    predictions = _read_predictions(predictions_dir, score_of_id.keys())
    former = _read_predictions(baseline_predictions_dir, changes.keys()) if baseline_predictions_dir else {}
    pictures: dict[str, GalleryImage] = {}
    for path in prediction_files.example_files(split_dir):
        if len(pictures) == len(score_of_id):
            return pictures
        for record in map(examples.decode_record, prediction_files.read_records(path)):
            name = record.source_id
            if name in score_of_id:
                pictures[name] = gallery.gallery_image(
                    score_of_id[name],
                    record,
                    predictions[name],
                    categories,
                    baseline=former.get(name),
                    change=changes.get(name),
                )
    missing = sorted(score_of_id.keys() - pictures.keys())
    if missing:
        raise ValueError(f"Every evaluated image must be among the examples of {split_dir}. Not found, ids: {missing}")
    return pictures


def _read_predictions(directory: str, source_ids) -> dict[str, Prediction]:
    predictions = {}
    for shard in prediction_files.list_shards(directory) if source_ids else []:
        for prediction in map(prediction_files.decode_prediction, prediction_files.read_records(shard)):
            if prediction.source_id in source_ids:
                predictions[prediction.source_id] = prediction
    return predictions


def count_reasons(path: str) -> dict[str, int]:
    """Counts the entries of a list of the ingestion by reason and split, most frequent first.

    It is empty if there is no such list, for example if another ingestion wrote the examples.
    """
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as lines:
        records = (json.loads(line) for line in lines)
        reasons = Counter(f"{record['reason'].replace('_', ' ')} ({record['split']})" for record in records)
    return dict(reasons.most_common())
