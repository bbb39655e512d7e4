"""An exported model in Python, for people who only want its answers: a folder in, a photo in, a result out.

    model = maskformer_model.MaskFormer.from_directory("runs/serving")
    result = model.predict("photo.jpg")
    result.plot().save("overlay.png")

It uses the SavedModel's signatures as every other caller does; nothing of the network is built here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config.files import CATEGORIES_FILE, EXTRA_ASSETS_FOLDER, SERVING_FILE
from maskformer_model.data import photo_files
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.data.photo_files import PhotoError, PhotoSource
from maskformer_model.export.versions import newest_model_dir
from maskformer_model.prediction.results import InstanceResult, PanopticResult, Segment, SemanticResult


class ExportedMaskFormer:
    """A loaded SavedModel. Make one with `from_directory`."""

    def __init__(self, model_dir: str):
        self.model_dir = model_dir
        folder = os.path.join(model_dir, EXTRA_ASSETS_FOLDER)
        self.categories = CategoryTable.load(os.path.join(folder, CATEGORIES_FILE))
        with open(os.path.join(folder, SERVING_FILE), encoding="utf-8") as file:
            self.facts: dict[str, Any] = json.load(file)
        self._loaded = tf.saved_model.load(model_dir)  # Kept: a signature holds its variables only weakly.

    @classmethod
    def from_directory(cls, directory: str | os.PathLike[str]) -> ExportedMaskFormer:
        """Loads an exported model, or the newest version in a folder of pushed ones.

        Raises:
            FileNotFoundError: if there is none.
        """
        return cls(newest_model_dir(directory))

    def predict(
        self,
        image: PhotoSource,
        *,
        object_mask_threshold: float | None = None,
        overlap_threshold: float | None = None,
        upright: bool = True,
    ) -> PanopticResult:
        """Every pixel's segment.

        Args:
            image: A path, a file's bytes, `[height, width, 3]` uint8 RGB, or a Pillow image.
            object_mask_threshold: Smallest class probability of a segment; None takes the exported one.
            overlap_threshold: Share of its mask that a segment must keep; None takes the exported one.
            upright: Turn the photo as its orientation tag says, so that maps fit what viewers show.

        Raises:
            PhotoError: if the photo cannot be read.
        """
        exported = self.facts["inference"]
        thresholds = {
            "object_mask_threshold": object_mask_threshold,
            "overlap_threshold": overlap_threshold,
        }
        values = {
            name: tf.constant(exported[name] if value is None else value, tf.float32)
            for name, value in thresholds.items()
        }
        image_bytes, row = self._call("panoptic", image, upright, values)
        return PanopticResult(
            image_bytes=image_bytes,
            categories=self.categories,
            segment_ids=decode_panoptic_png(row["panoptic_png_bytes"]),
            segments=_segments(row, int(row["num_segments"]), self.categories),
        )

    def predict_semantic(self, image: PhotoSource, *, upright: bool = True) -> SemanticResult:
        """Every pixel's class; arguments as of `predict`."""
        image_bytes, row = self._call("semantic", image, upright)
        return SemanticResult(
            image_bytes=image_bytes,
            categories=self.categories,
            class_map=photo_files.gray_pixels(row["semantic_png_bytes"]).astype(np.int32),
        )

    def predict_instances(self, image: PhotoSource, *, upright: bool = True) -> InstanceResult:
        """Single things, best first; arguments as of `predict`."""
        image_bytes, row = self._call("instances", image, upright)
        count = int(row["num_instances"])
        masks = [photo_files.gray_pixels(png) > 0 for png in row["mask_png_bytes"][:count]]
        height, width = photo_files.decode(image_bytes).shape[:2]
        return InstanceResult(
            image_bytes=image_bytes,
            categories=self.categories,
            masks=np.array(masks, bool).reshape(count, height, width),
            segments=_segments(row, count, self.categories),
        )

    def _call(self, signature: str, image: PhotoSource, upright: bool, values: Mapping[str, Any] | None = None):
        """Returns the bytes that were sent and the answer's row."""
        image_bytes = photo_files.photo_bytes(image, self.facts["inference"]["max_pixels"], upright=upright)
        try:
            answer = self._loaded.signatures[signature](image_bytes=tf.constant([image_bytes]), **(values or {}))
        except tf.errors.InvalidArgumentError as error:
            raise PhotoError(photo_files.refusal(error.message)) from error
        return image_bytes, {name: value.numpy()[0] for name, value in answer.items()}


def _segments(row: Mapping[str, np.ndarray], count: int, categories: CategoryTable) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            id=index + 1,
            category_id=int(row["category_ids"][index]),
            class_index=int(row["class_indices"][index]),
            name=categories.names[int(row["class_indices"][index])],
            isthing=bool(row["isthing"][index]),
            score=float(row["scores"][index]),
            area_px=int(row["areas"][index]),
            box_px=tuple(row["boxes"][index].astype(float).tolist()),
        )
        for index in range(count)
    )
