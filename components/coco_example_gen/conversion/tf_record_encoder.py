"""Makes the Examples of `create_coco_tf_record`: our keys, and those that tf-maskformer's readers ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from components.coco_example_gen.conversion.conversion_step import Encoded
from components.coco_example_gen.kept_aside import BadRecordError, Notice
from components.coco_example_gen.records.instance_masks import check_object_extent, object_shape
from components.coco_example_gen.records.references import ImageRef
from maskformer_model.coco_schema import ObjectEntry
from maskformer_model.data import tf_maskformer_features
from maskformer_model.data.examples import ExampleRecord, encode_example


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """The choice of further keys.

    Attributes:
        include_masks: Write each object's mask.
        include_panoptic_masks: Write category, instance and contiguous masks.
        panoptic_skip_crowd: Leave crowd segments out of the lists and the masks.
        skip_objects_outside: Leave out objects whose box leaves the photo, as tf-maskformer does, instead of cutting
            their box at the photo's edge.
    """

    include_masks: bool = False
    include_panoptic_masks: bool = False
    panoptic_skip_crowd: bool = False
    skip_objects_outside: bool = False


@dataclasses.dataclass(frozen=True)
class TfRecordEncoder:
    """A `conversion_step.Encoder`.

    Attributes:
        options: The choice of further keys.
        object_names: The names of the categories of the instances json, by id.
        has_panoptic: Whether the truth comes from a panoptic json, as the panoptic masks of tf-maskformer need it.
        has_semantic: Whether its category ids fit into tf-maskformer's 8-bit mask of classes.
    """

    options: MaskOptions
    object_names: Mapping[int, str]
    has_panoptic: bool
    has_semantic: bool = True

    def __call__(self, record: ExampleRecord, ref: ImageRef, segment_ids: np.ndarray) -> Encoded:
        """Makes the Example, and says which objects are left out of it.

        Raises:
            BadRecordError: if an object is malformed, or there are more segments than an 8-bit mask can tell apart.
        """
        # Numbered before crowds are left out, as tf-maskformer does: an instance keeps its number.
        all_segments = record.segments
        if self.options.panoptic_skip_crowd:
            record = dataclasses.replace(record, segments=tuple(s for s in all_segments if not s.iscrowd))
        example = encode_example(record)
        features, notices = self._object_features(ref, (record.height_px, record.width_px))
        if self.has_panoptic:
            features |= self._panoptic_features(record, all_segments, segment_ids)
        for key, feature in features.items():
            example.features.feature[key].CopyFrom(feature)
        return Encoded(example, notices)

    def _object_features(
        self, ref: ImageRef, size_px: tuple[int, int]
    ) -> tuple[dict[str, tf.train.Feature], list[Notice]]:
        kept: list[tf_maskformer_features.MaskedObject] = []
        notices: list[Notice] = []
        for entry in ref.objects:
            found = self._object(entry, size_px)
            if found is None:
                # Where objects are the truth, the reader has said so.
                why = "it covers no pixel" if self.has_panoptic else ""
            else:
                why = tf_maskformer_features.why_left_out(
                    found.entry.bbox, size_px, skip_outside=self.options.skip_objects_outside
                )
            if why:
                notices.append(Notice("object_left_out", f"object {entry.id}: {why}"))
            elif found is not None:
                kept.append(found)
        features = tf_maskformer_features.object_features(
            kept, size_px, self.object_names, include_masks=self.options.include_masks
        )
        return features, notices

    def _object(self, entry: ObjectEntry, size_px: tuple[int, int]) -> tf_maskformer_features.MaskedObject | None:
        """Completes an object with what its json leaves open; None if it covers no pixel."""
        if entry.category_id not in self.object_names:
            raise BadRecordError("unknown_category", f"object {entry.id}: category {entry.category_id}")
        if entry.segmentation is None and not self.options.include_masks and None not in (entry.area, entry.bbox):
            mask = None
        else:
            shape = object_shape(entry.segmentation, size_px, entry.id)
            if not shape.area_px:
                return None
            check_object_extent(entry, shape)
            mask = shape.mask
            area = shape.area_px if entry.area is None else entry.area
            entry = entry._replace(area=area, bbox=entry.bbox or shape.bbox_px)
        return tf_maskformer_features.MaskedObject(entry, mask)

    def _panoptic_features(self, record: ExampleRecord, all_segments, segment_ids) -> dict[str, tf.train.Feature]:
        features = tf_maskformer_features.semantic_feature(segment_ids, record.segments) if self.has_semantic else {}
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
