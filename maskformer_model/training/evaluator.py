"""Scores a network on record files while it is in memory: PQ, mIoU and AP as the pipeline's evaluator counts them.

The photos go through the functions that are exported (`export.signatures`), each at its own size, as the experiment's
task asks for it: a semantic network is asked for class maps, an instance network for instances beside its panoptic map,
and a panoptic network's pixels and instances are those of its map. So a score in training is the score of the model
that would be pushed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import INSTANCE, SEMANTIC, ExperimentConfig
from maskformer_model.config.scores import SCORES_OF_TASK
from maskformer_model.data import examples, input_pipeline, panoptic_png, photo_files
from maskformer_model.export.signatures import ServingSignatures
from maskformer_model.metrics import average_precision
from maskformer_model.metrics import semantic_quality as semantic
from maskformer_model.metrics.panoptic_quality import PanopticCounts, count_matches, panoptic_quality
from maskformer_model.metrics.segment_matching import MatchedSegment, match_segments


class Evaluator:
    """An evaluator of one network that can be called again after its weights change.

    Args:
        network: Built.
        categories: The categories of the data set.
        config: Its `task.kind` and `task.inference` are used.
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
        self._task = config.task.kind
        self._max_instances = config.task.inference.max_instances
        signatures = ServingSignatures(network, categories, config)
        photos = [tf.TensorSpec([None], tf.string)]
        self._panoptic = tf.function(signatures.serving_default, input_signature=photos)
        self._semantic = tf.function(signatures.semantic, input_signature=photos)
        self._instances = tf.function(signatures.instances, input_signature=photos)

    def evaluate(
        self, on_image: Callable[[examples.ExampleRecord, dict[str, Any]], None] | None = None
    ) -> dict[str, float]:
        """Computes the scores of the whole split; counts are summed over images before any division.

        Args:
            on_image: Is called with each record and its answer (`segment_ids` `[height, width]`, `segments`).

        Returns:
            Fractions by name: `pq`, `sq`, `rq`, `pq_things` and `pq_stuff` where there are such classes, `mean_iou`,
            `frequency_weighted_iou`, `pixel_accuracy`, and `ap`, `ap50`, `ap75` where the split has a thing to find.
        """
        isthing, num_classes = self._categories.isthing, self._categories.num_classes
        counts = PanopticCounts.zeros(num_classes)
        confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        instances = []
        for serialized in self._records.as_numpy_iterator():
            record = examples.decode_record(serialized)
            answer = self._answer(record)
            truth = [MatchedSegment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments]
            truth_ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
            maps = (truth_ids, truth, answer["segment_ids"], answer["segments"])
            rule = record.void_is_background
            matches = match_segments(*maps, image_name=record.filename, void_is_background=rule)
            sides = (truth, answer["segments"], num_classes)
            counts += count_matches(matches, *sides)
            confusion += semantic.pixel_confusion_of_segments(matches.intersections, *sides, void_is_background=rule)
            true_instances = average_precision.instances_of_map(truth_ids, truth, isthing)
            instances.append(
                average_precision.match_instances(true_instances, answer["instances"], self._max_instances)
            )
            if on_image is not None:
                on_image(record, answer)
        return _panoptic_fields(counts, isthing) | _semantic_fields(confusion) | _instance_fields(instances, isthing)

    def _answer(self, record: examples.ExampleRecord) -> dict[str, Any]:
        """`segment_ids`, `segments` and `instances` of the photo, as the task has them."""
        photo = tf.constant([record.image_encoded])
        if self._task == SEMANTIC:
            class_map = photo_files.gray_pixels(self._semantic(photo)["semantic_png_bytes"][0].numpy())
            segment_ids = class_map.astype(np.int32) + 1
            segments = [MatchedSegment(int(id_), int(id_) - 1) for id_ in np.unique(segment_ids)]
            scores = [1.0] * len(segments)
        else:
            row = {name: value[0].numpy() for name, value in self._panoptic(photo).items()}
            count = int(row["num_segments"])
            segment_ids = panoptic_png.decode_panoptic_png(row["panoptic_png_bytes"])
            columns = [row[name][:count].tolist() for name in ("segment_ids", "class_indices")]
            segments = [MatchedSegment(*pair) for pair in zip(*columns, strict=True)]
            scores = row["scores"][:count].tolist()
        if self._task == INSTANCE:
            row = {name: value[0].numpy() for name, value in self._instances(photo).items()}
            columns = [row[name] for name in ("num_instances", "mask_png_bytes", "class_indices", "scores")]
            instances = average_precision.instances_of_pngs(*columns)
        else:
            isthing = self._categories.isthing
            instances = average_precision.instances_of_map(segment_ids, segments, isthing, scores)
        return {"segment_ids": segment_ids, "segments": segments, "instances": instances}


def _panoptic_fields(counts: PanopticCounts, isthing: np.ndarray) -> dict[str, float]:
    quality = panoptic_quality(counts, isthing)
    parts = {"pq_things": quality.things.pq} if isthing.any() else {}
    if not isthing.all():
        parts["pq_stuff"] = quality.stuff.pq
    return {"pq": quality.all.pq, "sq": quality.all.sq, "rq": quality.all.rq, **parts}


def _semantic_fields(confusion: np.ndarray) -> dict[str, float]:
    quality = semantic.semantic_quality(confusion)
    return {name: getattr(quality, name) for name in SCORES_OF_TASK[SEMANTIC]}


def _instance_fields(instances: Sequence[average_precision.ImageMatches], isthing: np.ndarray) -> dict[str, float]:
    things = np.flatnonzero(isthing).tolist()
    quality = average_precision.average_precision(instances, things, by_size=False) if things else {}
    return {name: quality[name] for name in SCORES_OF_TASK[INSTANCE] if quality.get(name) is not None}
