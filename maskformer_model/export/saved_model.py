"""The trained network as a SavedModel: encoded photo bytes in, panoptic PNG and its segments out.

Decoding, resizing, the network, merging and the PNG are all in the graph, so a caller needs TensorFlow (Serving) and
none of our Python. What is computed is in `signatures` and `inference.photo_inference`; here it is written to disk,
with everything that says what the numbers mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, to_dict
from maskformer_model.config.files import (
    CATEGORIES_FILE,
    DATA_FACTS_FILE,
    EXPERIMENT_FILE,
    EXTRA_ASSETS_FOLDER,
    HISTORY_FILE,
    SERVING_FILE,
)
from maskformer_model.data.normalization import PIXEL_MEAN_RGB, PIXEL_STD_RGB
from maskformer_model.export.assets import CONSTANT_FILTERS
from maskformer_model.export.signatures import ServingSignatures
from maskformer_model.inference.folded_norms import frozen_norms_folded
from maskformer_model.modeling.maskformer import MaskFormer


def export_saved_model(
    network: MaskFormer,
    categories: CategoryTable,
    config: ExperimentConfig,
    directory: str,
    history: list[dict[str, float]] | None = None,
    data_facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a SavedModel with six signatures.

    `serving_default(image_bytes: string [batch])` and `panoptic(image_bytes, object_mask_threshold,
    overlap_threshold)`, with two float32 scalars in place of the exported thresholds, return, with `segments` = the
    number of queries and unused rows zero or empty:

    - `panoptic_png_bytes`: string `[batch]`, a COCO panoptic PNG (id = R + 256 G + 65536 B) of the photo's size;
    - `segment_ids`: int32 `[batch, segments]`, 1.. in the PNG, where 0 is void; 0 for an unused row;
    - `category_ids`, `class_indices`: int32, `class_names`: string, `isthing`: bool, `[batch, segments]`;
    - `scores`: float32 `[batch, segments]` in 0..1;
    - `areas`: int32 px; `boxes`: float32 `[batch, segments, 4]`, x, y, width, height in px;
    - `num_segments`: int32 `[batch]`.

    `panoptic_of_one_size(image_bytes)` returns the same for photos that are padded to one size, which the network sees
    as one batch: equal except for the last bits of its arithmetic. It is left out where `augmented_edges_px` are set.

    `instances(image_bytes)` returns the same columns for single things, best first, with `num_instances` and
    `mask_png_bytes`: string `[batch, instances]`, grayscale PNGs of 0 and 255, in place of the panoptic PNG and ids.
    `semantic(image_bytes)` returns `semantic_png_bytes`: string `[batch]`, a grayscale PNG of class indices (16 bits
    where there are more than 256 classes), and `areas`: int32 `[batch, classes]`.
    `logits(images: uint8 [batch, height, width, 3])` returns `class_logits` `[batch, queries, classes + 1]` and
    `mask_logits` `[batch, queries, height / 4, width / 4]`, both float32.

    A photo that is no whole JPEG or PNG, or has more than the config's `max_pixels`, raises InvalidArgument with its
    index in the batch. Orientation tags are not applied: every coordinate is that of the stored pixels.

    Args:
        network: Built and trained.
        categories: The categories of the data set; written beside the model.
        config: The experiment; its `task.inference` goes into the graph.
        directory: Where the SavedModel is written; may exist and be empty.
        history: Training curves, written beside the model.
        data_facts: What is known of the training photos, written beside the model; None writes nothing.
    """
    network = network.computing_in(config.task.inference.mixed_precision_dtype)
    signatures = ServingSignatures(network, categories, config)
    photos = tf.TensorSpec([None], tf.string, name="image_bytes")
    thresholds = [tf.TensorSpec([], tf.float32, name=f"{name}_threshold") for name in ("object_mask", "overlap")]
    inputs = {
        "serving_default": [photos],
        "panoptic": [photos, *thresholds],
        "panoptic_of_one_size": [photos],
        "semantic": [photos],
        "instances": [photos],
        "logits": [tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")],
    }
    if config.task.inference.augmented_edges_px:
        del inputs["panoptic_of_one_size"]  # A photo that is seen in several views has no one size.
    functions = {
        name: tf.function(getattr(signatures, name), input_signature=specs, autograph=False)
        for name, specs in inputs.items()
    }
    # Not Keras's ExportArchive: it traces every function once more to look for variables, and takes twice as long.
    module = tf.Module()
    with frozen_norms_folded(network) as variables:
        module.weights = [variable.value for variable in variables]
        tf.saved_model.save(module, directory, signatures=functions)
    facts = _serving_facts(categories, config, list(inputs))
    _write_extra_assets(directory, categories, config, history or [], facts, data_facts)


def _write_extra_assets(
    directory,
    categories: CategoryTable,
    config: ExperimentConfig,
    history,
    serving_facts: Mapping[str, Any],
    data_facts: Mapping[str, Any] | None,
) -> None:
    folder = os.path.join(directory, EXTRA_ASSETS_FOLDER)
    tf.io.gfile.makedirs(folder)
    categories.save(os.path.join(folder, CATEGORIES_FILE))
    files: dict[str, Any] = {
        EXPERIMENT_FILE: to_dict(config),
        HISTORY_FILE: history,
        SERVING_FILE: serving_facts,
    }
    if data_facts is not None:
        files[DATA_FACTS_FILE] = data_facts
    for name, value in files.items():
        with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
            json.dump(value, file, indent=1)


def _serving_facts(categories: CategoryTable, config: ExperimentConfig, signatures: list[str]) -> dict[str, Any]:
    """What a caller in any language must know about the numbers that go in and come out."""
    is_black = config.task.inference.pads_with_black
    padding = "black before normalising" if is_black else "zeros after normalising"
    return {
        "signatures": signatures,
        "task": config.task.kind,
        "num_classes": categories.num_classes,
        "num_queries": config.task.model.num_queries,
        "inference": to_dict(config.task.inference),
        CONSTANT_FILTERS: True,
        "preprocessing": {
            "formats": ["JPEG", "PNG"],
            "channels": "RGB",
            "orientation": "as stored; EXIF is not applied",
            "resize": "bilinear with antialiasing, to `shortest_edge_px`, no edge above `max_size_px`",
            "pixel_mean": list(PIXEL_MEAN_RGB),
            "pixel_std": list(PIXEL_STD_RGB),
            "padding": f"{padding}, at the bottom and right, to a multiple of `size_divisibility`",
        },
    }
