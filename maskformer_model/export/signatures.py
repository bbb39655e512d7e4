"""The functions behind an exported model's signatures: encoded photos in, PNGs and lists of segments out.

Every photo goes through the network alone at a size that follows from the photo alone, so a photo's answer never
depends on its neighbours in the batch; in `panoptic_of_one_size` alone they share the network's arithmetic. Names of
encoded outputs end in `_bytes`: TensorFlow Serving's REST form then carries them as base64. What is computed is
`photo_inference`'s; here it gets its form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig
from maskformer_model.export.photo_decoding import decode_photo
from maskformer_model.inference.photo_inference import PhotoInference
from maskformer_model.modeling.maskformer import MaskFormer

_CLASS_COLUMNS = {
    "category_ids": tf.int32,
    "class_indices": tf.int32,
    "class_names": tf.string,
    "isthing": tf.bool,
    "scores": tf.float32,
    "areas": tf.int32,
}


class ServingSignatures:
    """The signatures of one network; `saved_model.export_saved_model` says what each takes and gives."""

    def __init__(self, network: MaskFormer, categories: CategoryTable, config: ExperimentConfig):
        self.network = network
        self.categories = categories
        self.config = config.task.inference
        self.size_multiple = config.task.model.backbone.size_multiple
        self.inference = PhotoInference(network, self.config, categories.isthing)
        self._panoptic = tf.function(
            self._panoptic_answers,
            input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([]), tf.TensorSpec([])],
            autograph=False,
        )

    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns panoptic maps and segments with the exported thresholds."""
        return self.panoptic(image_bytes, self.config.object_mask_threshold, self.config.overlap_threshold)

    def panoptic(self, image_bytes, object_mask_threshold, overlap_threshold) -> dict[str, tf.Tensor]:
        """Returns panoptic maps and segments with the caller's thresholds."""
        return self._panoptic(image_bytes, object_mask_threshold, overlap_threshold)

    def _panoptic_answers(self, image_bytes, object_mask_threshold, overlap_threshold) -> dict[str, tf.Tensor]:
        def one(photo):
            return self.panoptic_row(self.inference.panoptic(photo, object_mask_threshold, overlap_threshold))

        return self._for_each(image_bytes, one, self._panoptic_row_signature())

    def panoptic_of_one_size(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers `serving_default` for photos that are padded to one size; the network sees all of them at once."""

        def prepare(photo):
            padded, valid_size_px = self.inference.prepare(photo)
            return padded, valid_size_px, tf.shape(photo)[:2]

        size = tf.TensorSpec([2], tf.int32)
        signature = (tf.TensorSpec([None, None, 3], tf.uint8), size, size)
        proposals = self.inference.propose_all(*self._for_each(image_bytes, prepare, signature))
        thresholds = self.config.object_mask_threshold, self.config.overlap_threshold
        return tf.map_fn(
            lambda place: self.panoptic_row(self.inference.panoptic_of(proposals(place), *thresholds)),
            tf.range(tf.shape(image_bytes)[0]),
            fn_output_signature=self._panoptic_row_signature(),
            parallel_iterations=1,
        )

    def _panoptic_row_signature(self) -> dict[str, tf.TensorSpec]:
        rows = self.network.config.num_queries
        return _row_signature(rows) | {
            "panoptic_png_bytes": tf.TensorSpec([], tf.string),
            "segment_ids": tf.TensorSpec([rows], tf.int32),
            "num_segments": tf.TensorSpec([], tf.int32),
        }

    def panoptic_row(self, answer: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `panoptic` gives for one photo, of the answer of `PhotoInference.panoptic`."""
        rows = self.network.config.num_queries
        areas, boxes = segment_areas_and_boxes(answer["segment_map"], rows)
        is_used = tf.range(rows) < answer["num_segments"]
        return {
            "panoptic_png_bytes": encode_segment_map(answer["segment_map"], rows),
            "segment_ids": tf.where(is_used, tf.range(rows) + 1, 0),
            "num_segments": answer["num_segments"],
            **self._describe(answer["segment_classes"], answer["segment_scores"], is_used),
            "areas": areas,
            "boxes": boxes,
        }

    def semantic(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns class maps."""
        num_classes = self.categories.num_classes

        def one(photo):
            labels = self.inference.semantic(photo)
            dtype = tf.uint8 if num_classes <= 256 else tf.uint16
            return {
                "semantic_png_bytes": tf.io.encode_png(tf.cast(labels, dtype)[..., None]),
                "areas": tf.math.bincount(tf.reshape(labels, [-1]), minlength=num_classes, maxlength=num_classes),
            }

        signature = {
            "semantic_png_bytes": tf.TensorSpec([], tf.string),
            "areas": tf.TensorSpec([num_classes], tf.int32),
        }
        return self._for_each(image_bytes, one, signature)

    def instances(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns masks of single things, best first; they may overlap."""
        rows = min(self.config.max_instances, self.network.config.num_queries * self.categories.num_classes)

        def describe_mask(mask):
            areas, boxes = segment_areas_and_boxes(tf.cast(mask, tf.int32), 1)
            png = tf.io.encode_png(tf.cast(mask, tf.uint8)[..., None] * 255)
            return {"mask_png_bytes": png, "areas": areas[0], "boxes": boxes[0]}

        mask_signature = {
            "mask_png_bytes": tf.TensorSpec([], tf.string),
            "areas": tf.TensorSpec([], tf.int32),
            "boxes": tf.TensorSpec([4], tf.float32),
        }

        def one(photo):
            answer = self.inference.instances(photo, describe_mask, mask_signature, rows)
            is_instance = (answer["classes"] >= 0) & (answer["scores"] > 0)
            # Instances first, best first; what is none comes last and is blanked.
            order = tf.argsort(tf.where(is_instance, -answer["scores"], 1.0), stable=True)
            answer = {name: tf.gather(value, order) for name, value in answer.items()}
            is_used = tf.gather(is_instance, order)
            return {
                **self._describe(answer["classes"], answer["scores"], is_used),
                "mask_png_bytes": tf.where(is_used, answer["mask_png_bytes"], ""),
                "areas": tf.where(is_used, answer["areas"], 0),
                "boxes": tf.where(is_used[:, None], answer["boxes"], 0.0),
                "num_instances": tf.reduce_sum(tf.cast(is_used, tf.int32)),
            }

        signature = _row_signature(rows) | {
            "mask_png_bytes": tf.TensorSpec([rows], tf.string),
            "num_instances": tf.TensorSpec([], tf.int32),
        }
        return self._for_each(image_bytes, one, signature)

    def logits(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the network's own outputs for photos that already have one size: nothing is resized or padded."""
        with tf.control_dependencies([self._refuse_cut_patches(images)]):
            outputs = self.inference.logits(tf.identity(images))
        return {name: tf.cast(logits, tf.float32) for name, logits in outputs.items()}

    def _refuse_cut_patches(self, images: tf.Tensor) -> tf.Operation:
        """A plain ViT would leave out what is no whole patch and say nothing."""
        size_px = tf.shape(images)[1:3]
        return tf.debugging.Assert(
            tf.reduce_all(size_px % self.size_multiple == 0),
            [f"`images` must have multiples of {self.size_multiple} px as height and width. Received:", size_px],
        )

    def _for_each(self, image_bytes, answer: Callable[[tf.Tensor], Any], signature) -> Any:
        indices = tf.range(tf.shape(image_bytes)[0])
        return tf.map_fn(
            lambda one: answer(decode_photo(one[0], one[1], self.config.max_pixels)),
            (image_bytes, indices),
            fn_output_signature=signature,
            parallel_iterations=1,
        )

    def _describe(self, classes, scores, is_used) -> dict[str, tf.Tensor]:
        """The columns that follow from class and score, padded to the length of `is_used`, blank where it is false."""
        missing = tf.shape(is_used)[0] - tf.shape(classes)[0]
        classes = tf.maximum(tf.pad(classes, [[0, missing]]), 0)
        table = self.categories
        return {
            "category_ids": tf.where(is_used, tf.gather(tf.constant(table.category_ids, tf.int32), classes), 0),
            "class_indices": tf.where(is_used, classes, 0),
            "class_names": tf.where(is_used, tf.gather(tf.constant(table.names), classes), ""),
            "isthing": is_used & tf.gather(tf.constant(table.isthing), classes),
            "scores": tf.where(is_used, tf.pad(scores, [[0, missing]]), 0.0),
        }


def encode_segment_map(segment_map: tf.Tensor, num_segments: int) -> tf.Tensor:
    """Encodes `[height, width]` int32 segment ids in 0..num_segments as a COCO panoptic PNG, a scalar string."""
    colors = [[id_ % 256, id_ // 256 % 256, id_ // 65536] for id_ in range(num_segments + 1)]
    # The quickest compression: a map is even, so its file stays small all the same.
    return tf.io.encode_png(tf.gather(tf.constant(colors, tf.uint8), segment_map), compression=1)


def segment_areas_and_boxes(segment_map: tf.Tensor, num_segments: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Areas `[num_segments]` int32 px and boxes `[num_segments, 4]` float32 (x, y, width, height px) of ids 1..n.

    Args:
        segment_map: `[height, width]` int32, 0 for void.
        num_segments: Rows of the result; ids that do not occur get zeros.
    """
    height, width = tf.unstack(tf.shape(segment_map))
    in_columns = _counts(segment_map, tf.range(width), width, num_segments)
    in_rows = _counts(segment_map, tf.range(height)[:, None], height, num_segments)
    areas = tf.reduce_sum(in_rows, axis=1)
    edges = []
    for counts, size in ((in_columns, width), (in_rows, height)):
        first = tf.argmax(counts > 0, axis=1, output_type=tf.int32)
        end = size - tf.argmax(counts[:, ::-1] > 0, axis=1, output_type=tf.int32)
        edges.append((first, end - first))
    (left, box_width), (top, box_height) = edges
    boxes = tf.cast(tf.stack([left, top, box_width, box_height], axis=1), tf.float32)
    return areas, tf.where(areas[:, None] > 0, boxes, 0.0)


def _counts(segment_map: tf.Tensor, positions: tf.Tensor, num_positions: tf.Tensor, num_segments: int) -> tf.Tensor:
    """Returns `[num_segments, num_positions]` int32: how often each of the ids 1..n occurs at each row or column."""
    size = (num_segments + 1) * num_positions
    counts = tf.math.bincount(tf.reshape(segment_map * num_positions + positions, [-1]), minlength=size, maxlength=size)
    return tf.reshape(counts, [num_segments + 1, num_positions])[1:]


def _row_signature(rows: int) -> dict[str, tf.TensorSpec]:
    columns = {name: tf.TensorSpec([rows], dtype) for name, dtype in _CLASS_COLUMNS.items()}
    return {**columns, "boxes": tf.TensorSpec([rows, 4], tf.float32)}
