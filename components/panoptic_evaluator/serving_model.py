"""The exported SavedModel as the evaluator uses it: encoded photos in, panoptic PNG and segments out.

The model is used through its `serving_default` signature alone, as every other caller uses it, so what is evaluated is
what is served: decoding, resizing and merging included. Writing such a model is left to `maskformer_model.export`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from components.panoptic_evaluator.prediction_files import PredictedSegment
from maskformer_model.categories import CategoryTable
from maskformer_model.model_assets import CATEGORIES_FILE, EXTRA_ASSETS_FOLDER, HISTORY_FILE

SIGNATURE = "serving_default"
_OUTPUTS = ("panoptic_png_bytes", "segment_ids", "category_ids", "class_indices", "scores", "areas", "boxes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanopticResult:
    """What the model says about one photo.

    Attributes:
        panoptic_png: panoptic PNG at the photo's own size.
        segments: the segments of the PNG.
    """

    panoptic_png: bytes
    segments: tuple[PredictedSegment, ...]


class ServingModel:
    """A loaded SavedModel.

    Raises:
        ValueError: if the model lacks the signature or one of its outputs.
    """

    def __init__(self, model_dir: str):
        self._loaded = tf.saved_model.load(model_dir)  # Kept: the signature holds its variables only weakly.
        if SIGNATURE not in self._loaded.signatures:
            raise ValueError(
                f"The model in {model_dir} must have the signature `{SIGNATURE}`. "
                f"Received: {sorted(self._loaded.signatures)}"
            )
        self._signature = self._loaded.signatures[SIGNATURE]
        missing = [name for name in _OUTPUTS if name not in self._signature.structured_outputs]
        if missing:
            raise ValueError(
                f"`{SIGNATURE}` of the model in {model_dir} must give {missing}. "
                f"Received: {sorted(self._signature.structured_outputs)}"
            )

    def predict(self, images: Sequence[bytes]) -> list[PanopticResult]:
        """Predicts encoded photos, which may differ in size."""
        outputs = self._signature(image_bytes=tf.constant(list(images), tf.string))
        arrays = {name: outputs[name].numpy() for name in _OUTPUTS}
        return [_result_of({name: array[row] for name, array in arrays.items()}) for row in range(len(images))]


def _result_of(row: Mapping[str, np.ndarray]) -> PanopticResult:
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
    return PanopticResult(panoptic_png=bytes(row["panoptic_png_bytes"]), segments=segments)


def training_history(model_dir: str) -> list[dict[str, float]]:
    """The training history that travels with the model; empty if there is none."""
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
    """The categories the model was trained on.

    Raises:
        FileNotFoundError: if the model does not name them.
    """
    return load_categories(os.path.join(model_dir, EXTRA_ASSETS_FOLDER, CATEGORIES_FILE))


def difference_of_categories(model: CategoryTable, examples: CategoryTable) -> str:
    """How two class lists differ, as a clause; empty if their ids, names and kinds agree in order."""
    if model.num_classes != examples.num_classes:
        return f"the model knows {model.num_classes} classes and the examples have {examples.num_classes}"
    for index, (ours, theirs) in enumerate(zip(model.categories, examples.categories, strict=True)):
        left, right = ((c.id, c.name, "thing" if c.isthing else "stuff") for c in (ours, theirs))
        if left != right:
            return f"class {index} is {left} for the model and {right} in the examples"
    return ""
