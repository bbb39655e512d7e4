"""A model whose answers are known: bright pixels are one `disc`, the others are `ground`; and scenes to try it on.

The SavedModel has the signature of the real one, so executors and Beam steps can be tested without training.
"""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples, panoptic_png

CATEGORIES = CategoryTable.from_coco(
    [
        {"id": 7, "name": "ground", "isthing": 0, "color": [90, 140, 80]},
        {"id": 3, "name": "disc", "isthing": 1, "color": [220, 60, 60]},
    ]
)
GROUND, DISC = 0, 1
# In COCO's numbering, which the class order does not follow.
GROUND_CATEGORY, DISC_CATEGORY = 7, 3


class BrightnessModel(tf.Module):
    """Calls pixels brighter than `threshold` (0..255) a disc; `score` is what it says of both segments."""

    def __init__(self, threshold: float, score: float = 0.9):
        super().__init__()
        self._threshold = tf.Variable(float(threshold))
        self._score = score

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        """See the model's real signature."""
        png, areas = tf.map_fn(
            self._segment, image_bytes, fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32))
        )
        exists = areas > 0
        batch = tf.shape(image_bytes)[0]
        return {
            "panoptic_png_bytes": png,
            "segment_ids": tf.where(exists, [[1, 300]], 0),
            "category_ids": tf.where(exists, [[GROUND_CATEGORY, DISC_CATEGORY]], 0),
            "class_indices": tf.where(exists, [[GROUND, DISC]], -1),
            "class_names": tf.where(exists, [["ground", "disc"]], ""),
            "isthing": tf.where(exists, [[False, True]], False),
            "scores": tf.where(exists, self._score, 0.0),
            "areas": areas,
            "boxes": tf.zeros([batch, 2, 4]),
            "num_segments": tf.reduce_sum(tf.cast(exists, tf.int32), axis=-1),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def semantic(self, image_bytes):
        """Classes of all pixels."""
        png = tf.map_fn(lambda one: _gray_png(tf.where(self._is_bright(one), DISC, GROUND)), image_bytes)
        return {"semantic_png_bytes": png}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def instances(self, image_bytes):
        """Two discs that are one: the first surer than the second."""
        png = tf.map_fn(lambda one: _gray_png(tf.where(self._is_bright(one), 255, 0)), image_bytes)
        rows = [tf.shape(image_bytes)[0], 2]
        return {
            "num_instances": tf.fill(rows[:1], 2),
            "mask_png_bytes": tf.repeat(png[:, None], 2, axis=1),
            "class_indices": tf.fill(rows, DISC),
            "scores": tf.broadcast_to([self._score, self._score / 2], rows),
        }

    def _is_bright(self, encoded):
        gray = tf.cast(tf.io.decode_image(encoded, channels=3, expand_animations=False), tf.float32)
        return tf.reduce_mean(gray, axis=-1) > self._threshold

    def _segment(self, encoded):
        bright = self._is_bright(encoded)
        ids = tf.where(bright, 300, 1)  # 300 needs the second byte of a panoptic PNG.
        rgb = tf.cast(tf.stack([ids % 256, ids // 256, tf.zeros_like(ids)], axis=-1), tf.uint8)
        disc_area = tf.reduce_sum(tf.cast(bright, tf.int32))
        return tf.io.encode_png(rgb), tf.stack([tf.size(bright) - disc_area, disc_area])


def _gray_png(values):
    return tf.io.encode_png(tf.cast(values, tf.uint8)[..., None])


def save_model(
    directory: pathlib.Path,
    *,
    threshold: float = 128,
    score: float = 0.9,
    categories: CategoryTable = CATEGORIES,
    task: str = "",
) -> pathlib.Path:
    """Writes a SavedModel with its class list and a short training history; with a `task` also all signatures."""
    model = BrightnessModel(threshold, score)
    others = {"semantic": model.semantic, "instances": model.instances} if task else {}
    tf.saved_model.save(model, str(directory), signatures={"serving_default": model.serve, **others})
    extra = directory / "assets.extra"
    extra.mkdir()
    categories.save(extra / "categories.json")
    if task:
        (extra / "serving.json").write_text(json.dumps({"task": task}))
    history = [{"step": step, "epoch": 0, "seconds": 1.0 * step, "loss": 9.0 / step} for step in (1, 2, 3)]
    (extra / "training_history.json").write_text(json.dumps(history))
    return directory


def scene(image_id: int, *, disc_level: int = 220, size_px: tuple[int, int] = (24, 32)) -> examples.ExampleRecord:
    """A bright square on dark ground, `size_px` (height, width); a darker `disc_level` hides it from the model."""
    height_px, width_px = size_px
    ids = np.full(size_px, 11, np.int32)
    side = 6 + image_id % 5
    ids[4 : 4 + side, 5 : 5 + side] = 12
    pixels = np.repeat(np.where(ids == 12, disc_level, 40)[..., None], 3, axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    disc_area = side * side

    def segment(segment_id: int, category_id: int, area_px: int) -> examples.SegmentRecord:
        class_index = CATEGORIES.class_index(category_id)
        return examples.SegmentRecord(
            id=segment_id,
            category_id=category_id,
            class_index=class_index,
            isthing=bool(CATEGORIES.isthing[class_index]),
            iscrowd=False,
            area_px=area_px,
            bbox_px=(0, 0, width_px, height_px),
        )

    return examples.ExampleRecord(
        source_id=str(image_id),
        filename=f"{image_id:012d}.png",
        image_encoded=file.getvalue(),
        image_format="png",
        height_px=height_px,
        width_px=width_px,
        panoptic_png=panoptic_png.encode_panoptic_png(ids),
        segments=(
            segment(11, GROUND_CATEGORY, ids.size - disc_area),
            segment(12, DISC_CATEGORY, disc_area),
        ),
        brightness=0.2,
    )


def write_examples(
    directory: pathlib.Path, records: Sequence[examples.ExampleRecord], *, num_shards: int, split: str = "eval"
) -> pathlib.Path:
    """Writes records round robin into the shards of an Examples artifact; returns the split's folder."""
    folder = directory / f"Split-{split}"
    folder.mkdir(parents=True)
    CATEGORIES.save(directory / "categories.json")
    for index in range(num_shards):
        with tf.io.TFRecordWriter(str(folder / f"data_tfrecord-{index:05d}-of-{num_shards:05d}")) as writer:
            for record in records[index::num_shards]:
                writer.write(examples.encode_example(record).SerializeToString())
    return folder
