"""Runs the exported SavedModel for the evaluator: encoded photos in, panoptic PNG and segments out.

The model is used through its signatures alone, as every other caller uses it, so what is evaluated is what is served:
decoding, resizing and merging included. A model of the task "semantic" is asked for class maps, one of the task
"instance" for its instances beside the panoptic map. `maskformer_model.export.saved_model` writes such a model.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.panoptic_predictor.prediction_files import PredictedSegment
from maskformer_model.categories import CategoryTable, compare_categories
from maskformer_model.config import INSTANCE, PANOPTIC, SEMANTIC
from maskformer_model.config.files import CATEGORIES_FILE, EXTRA_ASSETS_FOLDER, HISTORY_FILE, SERVING_FILE
from maskformer_model.data.panoptic_png import encode_panoptic_png, segment_extents
from maskformer_model.data.photo_files import gray_pixels
from maskformer_model.data.preprocessing import resized_size
from maskformer_model.metrics.average_precision import COCO_MAX_INSTANCES, Instance, instances_of_pngs

SIGNATURE = "serving_default"
_OF_ONE_SIZE = "panoptic_of_one_size"
_SIZE_KEYS = ("shortest_edge_px", "max_size_px")
_SIGNATURE_OF_TASK = {SEMANTIC: "semantic", INSTANCE: "instances"}
_OUTPUTS = ("panoptic_png_bytes", "segment_ids", "category_ids", "class_indices", "scores", "areas", "boxes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServedAnswer:
    """The model's result for one photo.

    Attributes:
        panoptic_png: panoptic PNG at the photo's own size.
        segments: the segments of the PNG.
        instances: what an instance model found, which may overlap; None of any other model.
    """

    panoptic_png: bytes
    segments: tuple[PredictedSegment, ...]
    instances: tuple[Instance, ...] | None = None


class ServingModel:
    """A loaded SavedModel.

    Attributes:
        task: "panoptic", "semantic" or "instance".
        max_instances: How many instances of a photo the model answers at most, and AP counts.

    Raises:
        ValueError: if the model lacks a signature of its task, or an output of `serving_default`.
    """

    def __init__(self, model_dir: str):
        self._facts = _serving_facts(model_dir)
        self.task = self._facts.get("task", PANOPTIC)
        self.max_instances = max_instances_of_model(model_dir)
        self._model_dir = model_dir
        self._loaded = tf.saved_model.load(model_dir)  # Kept: the signature holds its variables only weakly.
        for name in (SIGNATURE, *([] if self.task == PANOPTIC else [_SIGNATURE_OF_TASK[self.task]])):
            if name not in self._loaded.signatures:
                raise ValueError(
                    f"The model in {model_dir} must have the signature `{name}`. "
                    f"Received: {sorted(self._loaded.signatures)}"
                )
        self._signature = self._loaded.signatures[SIGNATURE]
        missing = [name for name in _OUTPUTS if name not in self._signature.structured_outputs]
        if missing:
            raise ValueError(
                f"`{SIGNATURE}` of the model in {model_dir} must give {missing}. "
                f"Received: {sorted(self._signature.structured_outputs)}"
            )

    def predict(self, images: Sequence[bytes]) -> list[ServedAnswer]:
        """Predicts encoded photos, which may differ in size, through `serving_default`."""
        outputs = self._signature(image_bytes=tf.constant(list(images), tf.string))
        return _results_of(outputs, len(images))

    def predict_of_one_size(self, images: Sequence[bytes]) -> list[ServedAnswer]:
        """`predict` of photos that `padded_size_px` gives one size; the network sees all of them at once."""
        outputs = self._loaded.signatures[_OF_ONE_SIZE](image_bytes=tf.constant(list(images), tf.string))
        return _results_of(outputs, len(images))

    def padded_size_px(self, height_px: int, width_px: int) -> tuple[int, int] | None:
        """Height and width of what the network sees of such a photo; None of a model that takes no batches."""
        if _OF_ONE_SIZE not in self._loaded.signatures or self.task != PANOPTIC:
            return None
        inference = self._facts["inference"]
        size_px = resized_size(height_px, width_px, *(inference[key] for key in _SIZE_KEYS))
        divisor = max(1, inference["size_divisibility"])
        padded_height_px, padded_width_px = (edge + -edge % divisor for edge in size_px)
        return padded_height_px, padded_width_px

    def predict_task(self, images: Sequence[bytes]) -> list[ServedAnswer]:
        """Predicts encoded photos with the signature of the model's task."""
        if self.task == SEMANTIC:
            [pngs] = self._call(SEMANTIC, images, "semantic_png_bytes")
            return [semantic_result(gray_pixels(png), self._categories) for png in pngs]
        results = self.predict(images)
        if self.task == INSTANCE:
            columns = self._call(INSTANCE, images, "num_instances", "mask_png_bytes", "class_indices", "scores")
            return [
                dataclasses.replace(result, instances=tuple(instances_of_pngs(*row)))
                for result, *row in zip(results, *columns, strict=True)
            ]
        return results

    @functools.cached_property
    def _categories(self) -> CategoryTable:
        return categories_of_model(self._model_dir)

    def _call(self, task: str, images: Sequence[bytes], *names: str) -> list[np.ndarray]:
        signature = self._loaded.signatures[_SIGNATURE_OF_TASK[task]]
        outputs = signature(image_bytes=tf.constant(list(images), tf.string))
        return [outputs[name].numpy() for name in names]


def semantic_result(class_map: np.ndarray, categories: CategoryTable) -> ServedAnswer:
    """Returns a class map as segments, one per class: id = class index + 1, and no confidence but 1."""
    ids = class_map.astype(np.int32) + 1
    segments = tuple(
        PredictedSegment(
            id=segment_id,
            category_id=int(categories.category_id(segment_id - 1)),
            class_index=segment_id - 1,
            score=1.0,
            area=area_px,
            bbox=(float(box_px[0]), float(box_px[1]), float(box_px[2]), float(box_px[3])),
        )
        for segment_id, area_px, box_px in zip(*(c.tolist() for c in segment_extents(ids)), strict=True)
    )
    return ServedAnswer(panoptic_png=encode_panoptic_png(ids), segments=segments)


def _results_of(outputs: Mapping[str, tf.Tensor], count: int) -> list[ServedAnswer]:
    arrays = {name: outputs[name].numpy() for name in _OUTPUTS}
    return [_result_of({name: array[row] for name, array in arrays.items()}) for row in range(count)]


def _result_of(row: Mapping[str, np.ndarray]) -> ServedAnswer:
    segments = tuple(
        PredictedSegment(
            id=int(row["segment_ids"][index]),
            category_id=int(row["category_ids"][index]),
            class_index=int(row["class_indices"][index]),
            score=float(row["scores"][index]),
            area=int(row["areas"][index]),
            bbox=tuple(row["boxes"][index].astype(float).tolist()),
        )
        for index in np.flatnonzero(row["segment_ids"])  # 0 is padding.
    )
    return ServedAnswer(panoptic_png=bytes(row["panoptic_png_bytes"]), segments=segments)


def task_of_model(model_dir: str) -> str:
    """Returns the model's task; "panoptic" if it does not say."""
    return _serving_facts(model_dir).get("task", PANOPTIC)


def max_instances_of_model(model_dir: str) -> int:
    """Returns how many instances of a photo the model answers at most; COCO's 100 if it does not say."""
    return _serving_facts(model_dir).get("inference", {}).get("max_instances", COCO_MAX_INSTANCES)


def _serving_facts(model_dir: str) -> dict[str, Any]:
    path = os.path.join(model_dir, EXTRA_ASSETS_FOLDER, SERVING_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def training_history(model_dir: str) -> list[dict[str, float]]:
    """Returns the training history that travels with the model; empty if there is none."""
    path = os.path.join(model_dir, EXTRA_ASSETS_FOLDER, HISTORY_FILE)
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def load_categories(path: str) -> CategoryTable:
    """Reads a categories file, also from remote storage.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"The categories must be listed in a file. Not found: {path}")
    with tf.io.gfile.GFile(path) as file:
        return CategoryTable.from_coco(json.load(file))


def categories_of_model(model_dir: str) -> CategoryTable:
    """Returns the categories the model was trained on.

    Raises:
        FileNotFoundError: if the model does not name them.
    """
    return load_categories(os.path.join(model_dir, EXTRA_ASSETS_FOLDER, CATEGORIES_FILE))


def difference_of_categories(model: CategoryTable, examples: CategoryTable) -> str:
    """Returns how two class lists differ, as a clause; empty if their ids, names and kinds agree in order."""
    return compare_categories(model, examples, "in the model", "in the examples").words
