"""Scores a network on record files while it is in memory: PQ as the pipeline's evaluator counts it.

The photos go through the functions that are exported (`serving_signatures`), each at its own size, and their
segments are counted by `panoptic_quality`: so a score in training is the score of the model that would be pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from maskformer_model import examples, input_pipeline, panoptic_png
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig
from maskformer_model.panoptic_quality import (
    PanopticCounts,
    PanopticQuality,
    Segment,
    count_image,
    panoptic_quality,
)
from maskformer_model.serving_signatures import ServingSignatures


class Evaluator:
    """Evaluates one network again and again, as its weights change.

    Args:
        network: Built.
        categories: Of the data set.
        config: Its `task.inference` is used.
        files: Record files of the evaluation split.

    Raises:
        ValueError: if no file matches, half a set of files does, or none holds a record; on another backend of Keras
            than TensorFlow, whose graph is what is exported.
    """

    def __init__(self, network: Any, categories: CategoryTable, config: ExperimentConfig, files: list[str]):
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Scores are taken from TensorFlow's graph, which is what is exported. Train with `--mode train` and "
                "`trainer.validation_interval=0`, then score the folder with KERAS_BACKEND=tensorflow and "
                f"`--mode eval`. Received: KERAS_BACKEND={keras.backend.backend()}"
            )
        self._categories = categories
        _, self._records = input_pipeline.open_records(files)
        signatures = ServingSignatures(network, categories, config)
        self._serve = tf.function(signatures.serving_default, input_signature=[tf.TensorSpec([None], tf.string)])

    def evaluate(
        self, on_image: Callable[[examples.ExampleRecord, dict[str, Any]], None] | None = None
    ) -> PanopticQuality:
        """PQ over the whole split, summed over images before dividing.

        Args:
            on_image: Is told each record and its answer (`segment_ids` `[height, width]`, `segments`).
        """
        counts = PanopticCounts.zeros(self._categories.num_classes)
        for serialized in self._records.as_numpy_iterator():
            record = examples.decode_record(serialized)
            answer = self._answer(record)
            truth = [Segment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments]
            counts += count_image(
                panoptic_png.decode_panoptic_png(record.panoptic_png),
                truth,
                answer["segment_ids"],
                answer["segments"],
                self._categories.num_classes,
                image_name=record.filename,
            )
            if on_image is not None:
                on_image(record, answer)
        return panoptic_quality(counts, self._categories.isthing)

    def _answer(self, record: examples.ExampleRecord) -> dict[str, Any]:
        answer = self._serve(tf.constant([record.image_encoded]))
        count = int(answer["num_segments"][0])
        columns = [answer[name][0, :count].numpy().tolist() for name in ("segment_ids", "class_indices")]
        return {
            "segment_ids": panoptic_png.decode_panoptic_png(answer["panoptic_png_bytes"][0].numpy()),
            "segments": [Segment(*row) for row in zip(*columns, strict=True)],
        }


def quality_fields(quality: PanopticQuality) -> dict[str, float]:
    """The numbers of the curves, by name: `pq`, `sq`, `rq`, `pq_things`, `pq_stuff`, fractions."""
    return {
        "pq": quality.all.pq,
        "sq": quality.all.sq,
        "rq": quality.all.rq,
        "pq_things": quality.things.pq,
        "pq_stuff": quality.stuff.pq,
    }
