"""A whole report from drawn scenes and two made-up models: what tests open in a browser and the README shows."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.judge import judge
from components.panoptic_evaluator.report import gallery
from components.panoptic_evaluator.report.page import Gallery, Report
from components.panoptic_evaluator.report.training_curves import training_charts
from components.panoptic_evaluator.scoring.analysis import analyze
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.evaluation import Evaluation, evaluation_from_files
from components.panoptic_evaluator.scoring.metric_step import image_row, keyed_counts, sum_numbers
from components.panoptic_predictor.image_attributes import attributes_of
from components.panoptic_predictor.prediction_files import PredictedSegment, Prediction
from components.panoptic_predictor.prediction_step import count_prediction
from components.panoptic_predictor.serving_model import ServedAnswer
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples, panoptic_png
from maskformer_model.scenes.data_set import CATEGORIES as SCENE_CATEGORIES
from maskformer_model.scenes.data_set import write_data_set

CATEGORIES = CategoryTable.from_coco(SCENE_CATEGORIES)
NUM_IMAGES = 24


def records(folder: pathlib.Path) -> list[examples.ExampleRecord]:
    """Drawn scenes as Examples hold them."""
    write_data_set(folder, num_train=0, num_val=NUM_IMAGES, size_px=160, seed=3)
    annotations = folder / "annotations"
    document = json.loads((annotations / "panoptic_val2017.json").read_text())
    photo_of = {image["id"]: image for image in document["images"]}
    return [
        examples.ExampleRecord(
            source_id=str(annotation["image_id"]),
            filename=photo_of[annotation["image_id"]]["file_name"],
            image_encoded=(folder / "val2017" / photo_of[annotation["image_id"]]["file_name"]).read_bytes(),
            image_format="jpeg",
            height_px=photo_of[annotation["image_id"]]["height"],
            width_px=photo_of[annotation["image_id"]]["width"],
            panoptic_png=(annotations / "panoptic_val2017" / annotation["file_name"]).read_bytes(),
            segments=tuple(
                examples.SegmentRecord(
                    id=segment["id"],
                    category_id=segment["category_id"],
                    class_index=CATEGORIES.class_index(segment["category_id"]),
                    isthing=bool(CATEGORIES.isthing[CATEGORIES.class_index(segment["category_id"])]),
                    iscrowd=bool(segment["iscrowd"]),
                    area_px=segment["area"],
                    bbox_px=tuple(segment["bbox"]),
                )
                for segment in annotation["segments_info"]
            ),
            brightness=0.3 + 0.02 * (annotation["image_id"] % 20),
        )
        for annotation in document["annotations"]
    ]


def predict(record: examples.ExampleRecord, rng: np.random.Generator, mistakes: float) -> Prediction:
    """The truth with mistakes: segments left out, shifted, or taken for another class."""
    ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
    predicted, classes = np.zeros_like(ids), {}
    for number, segment in enumerate(record.segments, start=1):
        if rng.random() < 0.3 * mistakes:
            continue
        shift = rng.integers(-6, 7, 2) * (rng.random() < mistakes)
        predicted[np.roll(ids == segment.id, shift, (0, 1))] = number
        other = rng.random() < 0.3 * mistakes
        classes[number] = int(rng.integers(0, CATEGORIES.num_classes)) if other else segment.class_index
    numbers, areas, boxes = panoptic_png.segment_extents(predicted)
    segments = tuple(
        PredictedSegment(
            id=int(number),
            category_id=int(CATEGORIES.category_ids[classes[int(number)]]),
            class_index=classes[int(number)],
            score=float(np.round(rng.uniform(0.5, 1), 3)),
            area=int(area),
            bbox=tuple(map(float, box)),
        )
        for number, area, box in zip(numbers, areas, boxes, strict=True)
    )
    result = ServedAnswer(panoptic_png=panoptic_png.encode_panoptic_png(predicted), segments=segments)
    attributes = attributes_of(examples.encode_example(record).SerializeToString())
    return count_prediction(record, result, CATEGORIES.isthing, attributes)


def evaluate(predictions: list[Prediction]) -> Evaluation:
    """What the Beam steps come to, in plain Python."""
    sums: dict = {}
    for prediction in predictions:
        for key, numbers in keyed_counts(prediction.measures):
            sums.setdefault(key, []).append(numbers)
    counts_json = json.dumps(sorted((key, sum_numbers(terms)) for key, terms in sums.items()))
    lines = [json.dumps(image_row(prediction, CATEGORIES.isthing)) for prediction in predictions]
    return evaluation_from_files(CATEGORIES, counts_json, lines)


def report_of_scenes(folder: pathlib.Path) -> Report:
    """A candidate that is better than its baseline."""
    scenes = records(folder)
    rng = np.random.default_rng(5)
    predictions = {record.source_id: predict(record, rng, 0.5) for record in scenes}
    former = {record.source_id: predict(record, rng, 0.9) for record in scenes}
    candidate, baseline = evaluate(list(predictions.values())), evaluate(list(former.values()))
    config = AnalysisConfig(
        slices=("image/statistics/num_things", "image/statistics/brightness"),
        class_groups={"ground": ["grass", "water"]},
    )
    analysis = analyze(candidate, baseline, config)
    record_of = {record.source_id: record for record in scenes}
    change_of = {image.source_id: change for image, change in
                 gallery.choose_most_changed(candidate.images, baseline.images, 3)}  # fmt: skip

    def pictures(scores, with_baseline=False):
        return [
            gallery.gallery_image(
                score,
                record_of[score.source_id],
                predictions[score.source_id],
                CATEGORIES,
                baseline=former[score.source_id] if with_baseline else None,
                change=change_of.get(score.source_id) if with_baseline else None,
            )
            for score in scores
        ]

    best, worst = gallery.choose_images(candidate.images, 3)
    changed = [image for image in candidate.images if image.source_id in change_of]
    history = [
        {"step": step, "loss": 40 / (1 + step / 30) + 3, "val_loss": 42 / (1 + step / 35) + 5, "learning_rate": 1e-4}
        for step in range(1, 300, 5)
    ]
    return Report(
        candidate=candidate,
        baseline=baseline,
        analysis=analysis,
        verdict=judge(analysis, None, GateConfig(pq_floor=0.3, rules=("pq[class=*] >= baseline - 0.3",))),
        galleries=[
            Gallery(key="best", title="Best images", lead="The highest.", images=pictures(best), empty=""),
            Gallery(key="worst", title="Worst images", lead="The lowest.", images=pictures(worst), empty=""),
            Gallery(
                key="changed", title="Most changed images", lead="Moved.", images=pictures(changed, True), empty=""
            ),
        ],
        charts=training_charts(history),
        kept_aside={"missing photo (train)": 3},
        card=[("Model", "runs/pipeline/Trainer/model/6"), ("Data fingerprint", "content_sha256:" + 8 * "0123abcd")],
        settings=json.dumps(dataclasses.asdict(config), indent=1),
    )
