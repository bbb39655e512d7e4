"""The Examples of `create_coco_tf_record`: ours, and what tf-maskformer's readers ask for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.instance_masks import object_mask
from components.coco_example_gen.records.references import ImageRef
from maskformer_model.data import tf_maskformer_features
from maskformer_model.data.examples import ExampleRecord, encode_example


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Which further keys are written.

    Attributes:
        include_masks: each object's mask.
        include_panoptic_masks: category, instance and contiguous masks.
        panoptic_skip_crowd: crowd segments are left out of the lists and the masks.
    """

    include_masks: bool = False
    include_panoptic_masks: bool = False
    panoptic_skip_crowd: bool = False


@dataclasses.dataclass(frozen=True)
class TfRecordEncoder:
    """A `conversion_step.Encoder`.

    Attributes:
        options: which further keys.
        object_names: The names of the categories of the instances json, by id.
        has_panoptic: the truth comes from a panoptic json, as the panoptic masks of tf-maskformer need it.
    """

    options: MaskOptions
    object_names: Mapping[int, str]
    has_panoptic: bool

    def __call__(self, record: ExampleRecord, ref: ImageRef, segment_ids: np.ndarray) -> tf.train.Example:
        """Makes the Example.

        Raises:
            BadRecordError: if an object is malformed, or there are more segments than an 8-bit mask can tell apart.
        """
        # Numbered before crowds are left out, as tf-maskformer does: an instance keeps its number.
        all_segments = record.segments
        if self.options.panoptic_skip_crowd:
            record = dataclasses.replace(record, segments=tuple(s for s in all_segments if not s.iscrowd))
        example = encode_example(record)
        features = self._object_features(ref, (record.height_px, record.width_px))
        if self.has_panoptic:
            features |= self._panoptic_features(record, all_segments, segment_ids)
        for key, feature in features.items():
            example.features.feature[key].CopyFrom(feature)
        return example

    def _object_features(self, ref: ImageRef, size_px: tuple[int, int]) -> dict[str, tf.train.Feature]:
        for entry in ref.objects:
            _check_object(entry, self.object_names)
        draw = functools.partial(_draw, size_px=size_px) if self.options.include_masks else None
        return tf_maskformer_features.object_features(ref.objects, size_px, self.object_names, draw)

    def _panoptic_features(self, record: ExampleRecord, all_segments, segment_ids) -> dict[str, tf.train.Feature]:
        features = tf_maskformer_features.semantic_feature(segment_ids, record.segments)
        if self.options.include_panoptic_masks:
            try:
                number = dict(
                    zip((s.id for s in all_segments), tf_maskformer_features.instance_ids_of(all_segments), strict=True)
                )
            except ValueError as error:
                raise BadRecordError("too_many_segments", str(error)) from error
            instance_ids = [number[s.id] for s in record.segments]
            features |= tf_maskformer_features.panoptic_features(segment_ids, record.segments, instance_ids)
        return features


def _check_object(entry: Any, names: Mapping[int, str]) -> None:
    keys = ("bbox", "area", "category_id")
    box = entry.get("bbox") if isinstance(entry, dict) else None
    if not isinstance(box, list) or len(box) != 4 or any(key not in entry for key in keys):
        raise BadRecordError("malformed_annotation", f"an object needs {keys}. Received: {entry!r:.300}")
    if entry["category_id"] not in names:
        raise BadRecordError("unknown_category", f"object {entry.get('id')}: category {entry['category_id']}")


def _draw(entry: Mapping[str, Any], size_px: tuple[int, int]) -> np.ndarray:
    return object_mask(entry.get("segmentation"), size_px, entry.get("id"))
