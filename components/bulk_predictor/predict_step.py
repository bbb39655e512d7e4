"""The Beam step: one shard of photos in, one file of predictions out.

Elements are shards, not photos: photos are read and predicted inside one worker and never travel. Per photo the file
holds a tf.Example:

| key                           | type  | meaning                                                 |
|-------------------------------|-------|---------------------------------------------------------|
| image/filename                | bytes | as in the list                                          |
| prediction/panoptic/encoded   | bytes | panoptic PNG; absent where the photo was refused        |
| prediction/segments           | bytes | json list, as in a COCO panoptic json, with score and class |
| error                         | bytes | why the photo was refused; absent otherwise             |
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator

import apache_beam as beam
import tensorflow as tf

from components.bulk_predictor.plan import Shard, photos_of
from components.panoptic_predictor.serving_model import ServingModel
from components.panoptic_predictor.shared_model import shared_model
from components.whole_files import whole_file, write_text
from maskformer_model.data.photo_files import refusal

# The storage failed, or cannot be used at all: no photo is to blame, and the same command tries again.
_STORAGE_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
    tf.errors.UnimplementedError,
)


def predict_photo(model: ServingModel, path: str) -> tf.train.Example:
    """Returns the record of one photo; a photo that cannot be read or decoded gets its reason.

    Raises:
        tf.errors.OpError: if the storage fails, and not this photo alone.
    """
    example = tf.train.Example()
    for key, value in {"image/filename": path.encode(), **_prediction(model, path)}.items():
        example.features.feature[key].bytes_list.value.append(value)
    return example


def _prediction(model: ServingModel, path: str) -> dict[str, bytes]:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            photo = file.read()
    except _STORAGE_ERRORS:
        raise
    except tf.errors.OpError as error:
        return {"error": str(error.message).encode()}
    try:
        [result] = model.predict([photo])
    except tf.errors.InvalidArgumentError as error:
        return {"error": refusal(error.message).encode()}
    segments = [dataclasses.asdict(segment) for segment in result.segments]
    return {
        "prediction/panoptic/encoded": result.panoptic_png,
        "prediction/segments": json.dumps(segments).encode(),
    }


class PredictShard(beam.DoFn):
    """Predicts the photos of one shard; its file appears when all of them are in it."""

    def __init__(self, model_dir: str, output_dir: str):
        self._model_dir = model_dir
        self._output_dir = output_dir

    def setup(self):
        # Once per worker process, whatever the number of its threads.
        self._model = shared_model(self._model_dir)

    def process(self, shard: Shard) -> Iterator[str]:
        """Writes the counts, then the predictions; yields the name of the file."""
        counts = {"photos": 0, "refused": 0}
        path = os.path.join(self._output_dir, f"{shard.stem}.tfrecord")
        with whole_file(path) as temporary:
            with tf.io.TFRecordWriter(temporary) as writer:
                for photo in photos_of(self._output_dir, shard):
                    example = predict_photo(self._model, photo)
                    counts["photos"] += 1
                    counts["refused"] += "error" in example.features.feature
                    writer.write(example.SerializeToString(deterministic=True))
            write_text(os.path.join(self._output_dir, f"{shard.stem}.json"), json.dumps(counts))
        yield path


class PredictShards(beam.PTransform):
    """Shards -> the files of their predictions."""

    def __init__(self, shards: list[Shard], model_dir: str, output_dir: str):
        super().__init__()
        self._shards = shards
        self._predict = PredictShard(model_dir, output_dir)

    def expand(self, pipeline):
        """Connects the steps."""
        return (
            pipeline
            | "ListShards" >> beam.Create(self._shards)
            | "SpreadShards" >> beam.Reshuffle()
            | "Predict" >> beam.ParDo(self._predict)
        )
