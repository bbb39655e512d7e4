"""A training run of seconds: generated scenes as record files, and an experiment with a network of thousands."""

from __future__ import annotations

import json
import pathlib

import tensorflow as tf

from maskformer_model import config
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from maskformer_model.scenes import data_set

SIZE_PX = 64
TINY_NETWORK = (
    "task.model.backbone.depth=18,task.model.backbone.stem_channels=8,task.model.backbone.res2_channels=8,"
    "task.model.backbone.bottleneck_channels=8,task.model.num_queries=8,"
    "task.model.hidden_dim=32,task.model.pixel_decoder_dim=32,task.model.mask_dim=32,task.model.num_heads=4,"
    "task.model.feedforward_dim=32,task.model.fpn_encoder_layers=1,task.model.num_decoder_layers=2"
)
SMALL_DATA = ",".join(
    f"task.{data}.parser.output_size=[{SIZE_PX},{SIZE_PX}],task.{data}.parser.min_sizes_px=[{SIZE_PX}],"
    f"task.{data}.parser.max_size_px={SIZE_PX},task.{data}.parser.max_targets=8,task.{data}.global_batch_size=4"
    for data in ("train_data", "validation_data")
)
SHORT = (
    "task.train_data.parser.augmentation=flip,task.train_data.shuffle_buffer_size=8,"
    f"task.inference.shortest_edge_px={SIZE_PX},task.inference.max_size_px={SIZE_PX},task.inference.size_divisibility=32,"
    "trainer.train_steps=6,trainer.steps_per_loop=2,trainer.optimizer.learning_rate=0.002,"
    "trainer.optimizer.clip_norm=1.0,trainer.optimizer.schedule=poly"
)


def experiment(overrides: str = "") -> config.ExperimentConfig:
    """Six steps of a batch of four at 32 px, with dropout and flips; `overrides` change it."""
    small = config.override(config.ExperimentConfig(), f"{TINY_NETWORK},{SMALL_DATA},{SHORT}")
    return config.override(small, overrides)


def write_records(folder: pathlib.Path, num_train: int = 10, num_val: int = 4, size_px: int = SIZE_PX) -> CategoryTable:
    """Draws scenes and writes `train.tfrecord`, `val.tfrecord` and `categories.json` into a folder."""
    source = folder / "coco"
    data_set.write_data_set(source, num_train=num_train, num_val=num_val, size_px=size_px, seed=0)
    for split in ("train", "val"):
        categories = write_split(source, f"{split}2017", folder / f"{split}.tfrecord")
    categories.save(folder / "categories.json")
    return categories


def write_split(source: pathlib.Path, split: str, path: pathlib.Path) -> CategoryTable:
    """Writes a split of a folder in COCO's panoptic layout as one record file."""
    coco = json.loads((source / "annotations" / f"panoptic_{split}.json").read_text("utf-8"))
    categories = CategoryTable.from_coco(coco["categories"])
    images = {image["id"]: image for image in coco["images"]}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for annotation in coco["annotations"]:
            image = images[annotation["image_id"]]
            record = examples.ExampleRecord(
                source_id=str(image["id"]),
                filename=image["file_name"],
                image_encoded=(source / split / image["file_name"]).read_bytes(),
                image_format="jpeg",
                height_px=image["height"],
                width_px=image["width"],
                panoptic_png=(source / "annotations" / f"panoptic_{split}" / annotation["file_name"]).read_bytes(),
                segments=tuple(_segment(info, categories) for info in annotation["segments_info"]),
                brightness=0.5,
            )
            writer.write(examples.encode_example(record).SerializeToString())
    return categories


def _segment(info: dict, categories: CategoryTable) -> examples.SegmentRecord:
    class_index = categories.class_index(info["category_id"])
    return examples.SegmentRecord(
        id=info["id"],
        category_id=info["category_id"],
        class_index=class_index,
        isthing=bool(categories.isthing[class_index]),
        iscrowd=bool(info["iscrowd"]),
        area_px=info["area"],
        bbox_px=tuple(info["bbox"]),
    )
