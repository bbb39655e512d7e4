"""The trained network as a SavedModel: encoded photo bytes in, panoptic PNG and its segments out.

Decoding, resizing, the network, merging and the PNG are all in the graph, so a caller needs TensorFlow (Serving) and
none of our Python. Every photo goes through the network alone at a size that follows from the photo alone: what a
photo's answer is never depends on its neighbours in the batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from maskformer_model import inference
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, to_dict
from maskformer_model.maskformer import MaskFormer
from maskformer_model.normalization import normalize
from maskformer_model.preprocessing import decode_image, resize_for_inference

EXTRA_ASSETS_FOLDER = "assets.extra"  # TensorFlow Serving's name for files that travel with a model.
CATEGORIES_FILE = "categories.json"
EXPERIMENT_FILE = "experiment.json"
HISTORY_FILE = "training_history.json"
DATA_FACTS_FILE = "data_facts.json"


def export_saved_model(
    network: MaskFormer,
    categories: CategoryTable,
    config: ExperimentConfig,
    directory: str,
    history: list[dict[str, float]] | None = None,
    data_facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a SavedModel with two signatures.

    `serving_default(image_bytes: string [batch])`, and `panoptic(image_bytes, object_mask_threshold,
    overlap_threshold)` with two float32 scalars in place of the exported thresholds. Both return, with `segments` =
    the number of queries and unused rows zero or empty:

    - `panoptic_png`: string `[batch]`, a COCO panoptic PNG (id = R + 256 G + 65536 B) of the photo's own size, 0 void;
    - `segment_ids`: int32 `[batch, segments]`, 1.. in the PNG, 0 for an unused row;
    - `category_ids`, `class_indices`: int32, `class_names`: string, `isthing`: bool, `[batch, segments]`;
    - `scores`: float32 `[batch, segments]` in 0..1;
    - `areas`: int32 px; `boxes`: float32 `[batch, segments, 4]`, x, y, width, height in px;
    - `num_segments`: int32 `[batch]`.

    Args:
        network: Built and trained.
        categories: Of the data set; written beside the model.
        config: The experiment; its `task.inference` goes into the graph.
        directory: Where the SavedModel is written; may exist and be empty.
        history: Training curves, written beside the model.
        data_facts: What is known of the training photos, written beside the model; None writes nothing.
    """
    server = PanopticServer(network, categories, config)
    archive = keras.export.ExportArchive()
    archive.track(network)
    image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
    archive.add_endpoint("serving_default", server.serve, input_signature=[image_bytes])
    thresholds = [tf.TensorSpec([], tf.float32, name=f"{name}_threshold") for name in ("object_mask", "overlap")]
    archive.add_endpoint("panoptic", server.serve_with_thresholds, input_signature=[image_bytes, *thresholds])
    archive.write_out(directory, verbose=False)
    _write_extra_assets(directory, categories, config, history or [], data_facts)


class PanopticServer:
    """The serving functions of one network: encoded photos -> panoptic PNGs and segments."""

    def __init__(self, network: MaskFormer, categories: CategoryTable, config: ExperimentConfig):
        self.network = network
        self.inference_config = config.task.inference
        self.isthing = categories.isthing
        self.category_ids = categories.category_ids
        self.names = categories.names

    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """See `export_saved_model`."""
        config = self.inference_config
        return self.serve_with_thresholds(image_bytes, config.object_mask_threshold, config.overlap_threshold)

    def serve_with_thresholds(self, image_bytes, object_mask_threshold, overlap_threshold) -> dict[str, tf.Tensor]:
        """See `export_saved_model`."""
        queries = self.network.config.num_queries
        row = {
            "segment_ids": tf.int32,
            "category_ids": tf.int32,
            "class_indices": tf.int32,
            "class_names": tf.string,
            "isthing": tf.bool,
            "scores": tf.float32,
            "areas": tf.int32,
        }
        signature: dict[str, Any] = {name: tf.TensorSpec([queries], dtype) for name, dtype in row.items()}
        signature["panoptic_png"] = tf.TensorSpec([], tf.string)
        signature["boxes"] = tf.TensorSpec([queries, 4], tf.float32)
        signature["num_segments"] = tf.TensorSpec([], tf.int32)
        return tf.map_fn(
            lambda one: self.serve_one(one, object_mask_threshold, overlap_threshold),
            image_bytes,
            fn_output_signature=signature,
            parallel_iterations=1,
        )

    def serve_one(self, image_bytes, object_mask_threshold, overlap_threshold) -> dict[str, tf.Tensor]:
        """The answer for one photo: what `serve` returns, without the batch axis."""
        photo = decode_image(image_bytes, self.inference_config.max_pixels)
        answer = self.segment(photo, object_mask_threshold, overlap_threshold)
        return {
            "panoptic_png": encode_segment_map(answer["segment_map"]),
            **self._describe(answer, self.network.config.num_queries),
        }

    def segment(self, photo, object_mask_threshold, overlap_threshold) -> dict[str, tf.Tensor]:
        """`inference.panoptic_inference` of a photo `[height, width, 3]` uint8, at the photo's own size."""
        resized = resize_for_inference(photo, self.inference_config)
        valid_size_px = tf.shape(resized)[:2]
        padded = pad_to_multiple(resized, self.inference_config.size_divisibility)
        outputs = self.network(normalize(padded[None], valid_size_px[None]), training=False)
        class_logits, mask_logits = outputs["class_logits"][0], outputs["mask_logits"][0]
        # Only queries that can become a segment are worth upsampling to the photo's size.
        order, num_kept = inference.kept_queries(class_logits, object_mask_threshold)
        kept = order[: tf.maximum(num_kept, 1)]
        mask_logits = inference.resize_logits(
            tf.gather(mask_logits, kept),
            tf.unstack(tf.shape(photo)[:2]),
            padded_size_px=tf.unstack(tf.shape(padded)[:2]),
            valid_size_px=tf.unstack(valid_size_px),
        )
        return inference.panoptic_inference(
            tf.gather(class_logits, kept), mask_logits, self.isthing, object_mask_threshold, overlap_threshold
        )

    def _describe(self, answer: dict[str, tf.Tensor], num_rows: int) -> dict[str, tf.Tensor]:
        num_segments = answer["num_segments"]
        rows = tf.range(num_rows)
        is_used = rows < num_segments
        missing = num_rows - tf.shape(answer["segment_classes"])[0]
        classes = tf.maximum(tf.pad(answer["segment_classes"], [[0, missing]]), 0)
        areas, boxes = segment_areas_and_boxes(answer["segment_map"], num_rows)
        return {
            "segment_ids": tf.where(is_used, rows + 1, 0),
            "category_ids": tf.where(is_used, tf.gather(tf.constant(self.category_ids, tf.int32), classes), 0),
            "class_indices": tf.where(is_used, classes, 0),
            "class_names": tf.where(is_used, tf.gather(tf.constant(self.names), classes), ""),
            "isthing": is_used & tf.gather(tf.constant(self.isthing), classes),
            "scores": tf.pad(answer["segment_scores"], [[0, missing]]),
            "areas": areas,
            "boxes": boxes,
            "num_segments": num_segments,
        }


def pad_to_multiple(image: tf.Tensor, divisor: int) -> tf.Tensor:
    """Pads `[height, width, channels]` at the bottom and right to multiples of `divisor`; 0 pads nothing."""
    if not divisor:
        return image
    missing = -tf.shape(image)[:2] % divisor
    return tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]])


def encode_segment_map(segment_map: tf.Tensor) -> tf.Tensor:
    """`[height, width]` int32 segment ids -> scalar string, a COCO panoptic PNG."""
    channels = [tf.bitwise.bitwise_and(tf.bitwise.right_shift(segment_map, shift), 255) for shift in (0, 8, 16)]
    return tf.io.encode_png(tf.cast(tf.stack(channels, axis=-1), tf.uint8))


def segment_areas_and_boxes(segment_map: tf.Tensor, num_segments: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Areas `[num_segments]` int32 px and boxes `[num_segments, 4]` float32 (x, y, width, height px) of ids 1..n.

    Args:
        segment_map: `[height, width]` int32, 0 for void.
        num_segments: Rows of the result; ids that do not occur get zeros.
    """
    flat = tf.reshape(segment_map, [-1])
    areas = tf.math.bincount(flat, minlength=num_segments + 1, maxlength=num_segments + 1)[1:]
    height, width = tf.unstack(tf.shape(segment_map))
    edges = []
    for size, axis in ((width, 1), (height, 0)):
        positions = tf.reshape(tf.broadcast_to(_positions(size, axis), tf.shape(segment_map)), [-1])
        first = tf.math.unsorted_segment_min(positions, flat, num_segments + 1)[1:]
        last = tf.math.unsorted_segment_max(positions, flat, num_segments + 1)[1:]
        edges.append((first, last - first + 1))
    (left, box_width), (top, box_height) = edges
    boxes = tf.cast(tf.stack([left, top, box_width, box_height], axis=1), tf.float32)
    return areas, tf.where(areas[:, None] > 0, boxes, 0.0)


def _positions(size, axis: int) -> tf.Tensor:
    return tf.expand_dims(tf.range(size), 1 - axis)


def _write_extra_assets(
    directory, categories: CategoryTable, config: ExperimentConfig, history, data_facts: Mapping[str, Any] | None
) -> None:
    folder = os.path.join(directory, EXTRA_ASSETS_FOLDER)
    os.makedirs(folder, exist_ok=True)
    categories.save(os.path.join(folder, CATEGORIES_FILE))
    files = {EXPERIMENT_FILE: to_dict(config), HISTORY_FILE: history}
    if data_facts is not None:
        files[DATA_FACTS_FILE] = data_facts
    for name, value in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
