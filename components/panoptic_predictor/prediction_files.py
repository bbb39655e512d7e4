"""Reads and writes a PanopticPredictions artifact: shards of predictions with their counts, and one summary.

`predictions-SSSSS-of-NNNNN.tfrecord` mirrors the shards of the examples, a tf.Example per image in the same order:

| key                           | type  | meaning                                                       |
|-------------------------------|-------|---------------------------------------------------------------|
| image/source_id, /filename    | bytes | as in the image's Example                                     |
| image/height, image/width     | int64 | px, of photo and prediction                                   |
| image/statistics              | bytes | json object, the scalars of the image's Example by name       |
| image/attributes              | bytes | json object, see `image_attributes`                           |
| prediction/panoptic/encoded   | bytes | panoptic PNG                                                  |
| prediction/segments           | bytes | json list, as in a COCO panoptic json, with score and class   |
| measures                      | bytes | json object, see `image_measures.ImageMeasures`               |

`summary.json` says how many images there are and the sum of their counts, or why nothing was predicted. How predictions
come about is left to `prediction_step`, what they are worth to `metric_step`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from components.panoptic_predictor import counts as counts_lib
from components.panoptic_predictor.image_measures import ALL, ImageMeasures
from components.whole_files import write_text

SUMMARY_FILE = "summary.json"
_SHARD_NAME = re.compile(r"^predictions-(\d{5})-of-(\d{5})\.tfrecord$")

# Values of `PredictionSummary.status`.
PREDICTED = "predicted"
NO_BASELINE = "no_baseline"
SAME_AS_CANDIDATE = "same_as_candidate"
OTHER_CATEGORIES = "other_categories"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictedSegment:
    """One segment of a predicted panoptic map.

    Attributes:
        id: its value in the panoptic PNG.
        category_id: CocoCategoryId.
        class_index: ClassIndex.
        score: confidence in 0..1.
        area: px.
        bbox: x, y, width, height in px.
    """

    id: int
    category_id: int
    class_index: int
    score: float
    area: int
    bbox: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """A model's prediction for one photo, counted against the truth.

    Attributes:
        source_id: the image's id.
        filename: the photo's file name.
        height_px: height of photo and prediction.
        width_px: width of photo and prediction.
        statistics: scalars of the image's Example, by name.
        panoptic_png: panoptic PNG of the prediction.
        segments: the segments of the PNG.
        measures: what was counted about the image.
        attributes: what images can be sliced by, by the name of the Example's feature.
    """

    source_id: str
    filename: str
    height_px: int
    width_px: int
    statistics: dict[str, float]
    panoptic_png: bytes
    segments: tuple[PredictedSegment, ...]
    measures: ImageMeasures
    attributes: dict[str, str | int | float] = dataclasses.field(default_factory=dict)

    @property
    def counts(self) -> tuple[counts_lib.ClassCounts, ...]:
        """Returns the image's PQ counts per class."""
        return self.measures.panoptic[ALL]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """The content of `summary.json`.

    Attributes:
        status: one of `PREDICTED`, `NO_BASELINE`, `SAME_AS_CANDIDATE` and `OTHER_CATEGORIES`.
        reason: in words, where nothing was predicted.
        model_uri: the model's artifact, if there was one.
        split: the split of the examples.
        num_images: number of predicted images.
        counts: the sum of their counts, as rows per class.
        predictions_uri: where the predictions are, for `SAME_AS_CANDIDATE`.
    """

    status: str
    reason: str = ""
    model_uri: str = ""
    split: str = ""
    num_images: int = 0
    counts: tuple[counts_lib.ClassCounts, ...] = ()
    predictions_uri: str = ""

    def save(self, directory: str) -> None:
        """Writes `summary.json` whole or not at all."""
        document = dataclasses.asdict(self) | {"counts": counts_lib.to_json_rows(self.counts)}
        write_text(os.path.join(directory, SUMMARY_FILE), json.dumps(document, indent=1))

    @classmethod
    def load(cls, directory: str) -> PredictionSummary:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: if the directory holds no finished predictions.
        """
        path = os.path.join(directory, SUMMARY_FILE)
        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(f"Finished predictions must hold {SUMMARY_FILE}. Not found: {path}")
        with tf.io.gfile.GFile(path) as file:
            document = json.load(file)
        return cls(**document | {"counts": tuple(counts_lib.from_json_rows(document["counts"]))})


def shard_path(directory: str, index: int, num_shards: int) -> str:
    """Path of one shard of predictions."""
    return os.path.join(directory, f"predictions-{index:05d}-of-{num_shards:05d}.tfrecord")


def list_shards(directory: str) -> list[str]:
    """Returns all shards of a finished artifact, in order.

    Raises:
        FileNotFoundError: if one is missing.
    """
    matches = [match for name in tf.io.gfile.listdir(directory) if (match := _SHARD_NAME.match(name))]
    names = sorted(match[0] for match in matches)
    expected = max((int(match[2]) for match in matches), default=0)
    if len(names) != expected:
        raise FileNotFoundError(f"Predictions in {directory} must have all {expected} shards. Received: {names}")
    return [os.path.join(directory, name) for name in names]


def example_files(split_dir: str) -> list[str]:
    """Returns the record files of one split of an Examples artifact, in order."""
    return sorted(tf.io.gfile.glob(os.path.join(split_dir, "data_tfrecord-*")))


def read_records(path: str) -> Iterator[bytes]:
    """Yields the serialized records of one TFRecord file, one at a time; `.gz` files are decompressed."""
    compression = "GZIP" if path.endswith(".gz") else ""
    yield from tf.data.TFRecordDataset(path, compression_type=compression).as_numpy_iterator()


def encode_prediction(prediction: Prediction) -> bytes:
    """Serializes a prediction as the tf.Example of the module's table."""
    segments = [dataclasses.asdict(segment) for segment in prediction.segments]
    texts = {
        "image/source_id": prediction.source_id,
        "image/filename": prediction.filename,
        "image/statistics": json.dumps(prediction.statistics),
        "prediction/segments": json.dumps(segments),
        "image/attributes": json.dumps(prediction.attributes),
        "measures": json.dumps(prediction.measures.to_json()),
    }
    example = tf.train.Example()
    for key, text in texts.items():
        example.features.feature[key].bytes_list.value.append(text.encode())
    example.features.feature["prediction/panoptic/encoded"].bytes_list.value.append(prediction.panoptic_png)
    example.features.feature["image/height"].int64_list.value.append(prediction.height_px)
    example.features.feature["image/width"].int64_list.value.append(prediction.width_px)
    return example.SerializeToString(deterministic=True)


def decode_prediction(serialized: bytes) -> Prediction:
    """The inverse of `encode_prediction`."""
    feature = tf.train.Example.FromString(serialized).features.feature

    def text(key: str) -> str:
        return feature[key].bytes_list.value[0].decode()

    def segment(entry: dict[str, Any]) -> PredictedSegment:
        return PredictedSegment(**entry | {"bbox": tuple(entry["bbox"])})

    return Prediction(
        source_id=text("image/source_id"),
        filename=text("image/filename"),
        height_px=feature["image/height"].int64_list.value[0],
        width_px=feature["image/width"].int64_list.value[0],
        statistics=json.loads(text("image/statistics")),
        panoptic_png=feature["prediction/panoptic/encoded"].bytes_list.value[0],
        segments=tuple(segment(entry) for entry in json.loads(text("prediction/segments"))),
        measures=ImageMeasures.from_json(json.loads(text("measures"))),
        attributes=json.loads(text("image/attributes")),
    )
