"""Predicts a split with a SavedModel and counts every image: one Beam step, one output shard per input shard.

Elements are file names: photos are read, predicted and counted inside one worker and never travel between workers. A
shard is written under a temporary name and renamed, so a step that is repeated overwrites and never adds. The result
does not depend on how images are spread over shards. Above a `batch_size` of 1 (the default) photos that are padded to
one size go through the network together, and the last bits of its arithmetic may vary with the size of a batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.panoptic_predictor import prediction_files
from components.panoptic_predictor.counts import ClassCounts, SegmentCounts, sum_counts
from components.panoptic_predictor.image_attributes import attributes_of
from components.panoptic_predictor.image_measures import measure_image
from components.panoptic_predictor.prediction_files import Prediction
from components.panoptic_predictor.serving_model import ServedAnswer, ServingModel
from components.panoptic_predictor.shared_model import shared_model
from components.whole_files import whole_file
from maskformer_model.data import examples, panoptic_png
from maskformer_model.metrics.average_precision import COCO_MAX_INSTANCES
from maskformer_model.metrics.segment_matching import MatchedSegment

_BATCHES_AHEAD = 8


class ExampleShard(NamedTuple):
    """One file of the examples and its place among all files of the split."""

    number: int
    num_shards: int
    path: str


class ShardResult(NamedTuple):
    """What is known about a set of predicted images: how many, and the sum of their counts."""

    num_images: int
    counts: tuple[ClassCounts, ...]


def count_prediction(
    record: examples.ExampleRecord,
    result: ServedAnswer,
    isthing: np.ndarray,
    attributes: dict[str, str | int | float] | None = None,
    max_instances: int = COCO_MAX_INSTANCES,
) -> Prediction:
    """Counts the model's prediction for one photo against its truth, at the photo's own size.

    Args:
        record: the photo and its truth.
        result: the model's answer.
        isthing: `[classes]` bool.
        attributes: what the image can be sliced by.
        max_instances: how many predictions of a class AP counts.

    Raises:
        ValueError: if a score is not finite, or the prediction has another size than the photo, or its PNG and its
            segments disagree.
    """
    where = f"{record.filename} (id {record.source_id})"
    require_finite_scores(result, where)
    truth = [
        MatchedSegment(segment.id, segment.class_index, segment.iscrowd, segment.area_px) for segment in record.segments
    ]
    predicted = [MatchedSegment(segment.id, segment.class_index) for segment in result.segments]
    measures = measure_image(
        panoptic_png.decode_panoptic_png(record.panoptic_png),
        truth,
        panoptic_png.decode_panoptic_png(result.panoptic_png),
        predicted,
        [segment.score for segment in result.segments],
        isthing,
        instances=result.instances,
        max_instances=max_instances,
        image_name=where,
        void_is_background=record.void_is_background,
    )
    return Prediction(
        source_id=record.source_id,
        filename=record.filename,
        height_px=record.height_px,
        width_px=record.width_px,
        statistics=examples.statistics_of(record),
        panoptic_png=result.panoptic_png,
        segments=result.segments,
        measures=measures,
        attributes=attributes or {},
    )


def require_finite_scores(result: ServedAnswer, where: str) -> None:
    """Raises an error for a prediction with NaN or infinite scores, whose ranking would be random.

    Raises:
        ValueError: if there is one, naming the image as `where`.
    """
    scores = [segment.score for segment in result.segments]
    scores += [instance.score for instance in result.instances or ()]
    if not all(map(math.isfinite, scores)):
        raise ValueError(f"Image {where}: scores of a prediction must be finite. Received: {scores}")


def predict_records(
    model: ServingModel, serialized: Iterable[bytes], isthing: np.ndarray, batch_size: int
) -> Iterator[Prediction]:
    """Predicts and counts serialized Examples in their order, up to `batch_size` photos of one size at a time."""
    stream = iter(serialized)
    # Batches are gathered from so many photos that the common sizes fill them, and few enough to hold.
    while window := list(itertools.islice(stream, 1 if batch_size == 1 else _BATCHES_AHEAD * batch_size)):
        records = [examples.decode_record(example) for example in window]
        results: dict[int, ServedAnswer] = {}
        for places, predict in batches_of_one_size(model, records, batch_size):
            results |= zip(places, predict([records[place].image_encoded for place in places]), strict=True)
        for place, (example, record) in enumerate(zip(window, records, strict=True)):
            yield count_prediction(record, results[place], isthing, attributes_of(example), model.max_instances)


def batches_of_one_size(
    model: ServingModel, records: Sequence[examples.ExampleRecord], batch_size: int
) -> Iterator[tuple[list[int], Callable[[Sequence[bytes]], list[ServedAnswer]]]]:
    """Groups photos to predict together, each with its method. A photo without a partner is predicted alone."""
    of_size: dict[tuple[int, int] | None, list[int]] = {}
    for place, record in enumerate(records):
        size_px = model.padded_size_px(record.height_px, record.width_px) if batch_size > 1 else None
        of_size.setdefault(size_px, []).append(place)
    for size_px, places in of_size.items():
        for start in range(0, len(places), batch_size):
            batch = places[start : start + batch_size]
            yield batch, model.predict_task if size_px is None or len(batch) == 1 else model.predict_of_one_size


def sum_results(results: Iterable[ShardResult]) -> ShardResult:
    """Adds results of disjoint sets of images."""
    num_images = 0
    by_class: dict[int, SegmentCounts] = {}
    for result in results:
        num_images += result.num_images
        for class_index, counts in result.counts:
            by_class[class_index] = sum_counts((by_class.get(class_index, SegmentCounts()), counts))
    return ShardResult(num_images, tuple(sorted(by_class.items())))


class PredictShard(beam.DoFn):
    """Predicts the images of one shard and writes the shard of their predictions."""

    def __init__(self, model_dir: str, output_dir: str, isthing: np.ndarray, batch_size: int):
        self._model_dir = model_dir
        self._output_dir = output_dir
        self._isthing = isthing
        self._batch_size = batch_size

    def setup(self):
        # Once per worker process, whatever the number of its threads.
        self._model = shared_model(self._model_dir)

    def process(self, shard: ExampleShard) -> Iterator[ShardResult]:
        """Writes the shard whole or not at all, then yields what is in it."""
        predictions = predict_records(
            self._model, prediction_files.read_records(shard.path), self._isthing, self._batch_size
        )
        result = ShardResult(0, ())
        path = prediction_files.shard_path(self._output_dir, shard.number, shard.num_shards)
        with whole_file(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
            for prediction in predictions:
                writer.write(prediction_files.encode_prediction(prediction))
                result = sum_results((result, ShardResult(1, prediction.counts)))
        yield result


class PredictSplit(beam.PTransform):
    """The files of a split -> one `ShardResult` of all its images; the predictions are written on the way."""

    def __init__(
        self, example_files: Sequence[str], model_dir: str, output_dir: str, *, isthing: np.ndarray, batch_size: int
    ):
        super().__init__()
        self._shards = [ExampleShard(number, len(example_files), path) for number, path in enumerate(example_files)]
        self._predict = PredictShard(model_dir, output_dir, isthing, batch_size)

    def expand(self, pipeline):
        """Connects the steps."""
        return (
            pipeline
            | "ListShards" >> beam.Create(self._shards)
            | "SpreadShards" >> beam.Reshuffle()
            | "PredictAndCount" >> beam.ParDo(self._predict)
            | "SumShards" >> beam.CombineGlobally(sum_results)
        )
