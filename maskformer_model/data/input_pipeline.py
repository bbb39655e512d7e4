"""Turns record files into batches: reads, decodes, numbers the segments, augments, pads.

A batch is a dict, documented at `make_dataset`; the masks of a photo travel as one map of small numbers. Everything
random follows from `seed` and from the position of the example in the stream, so the same call gives the same batches
on any number of threads. What a record holds is defined in `examples.py`, the random changes in `augmentation.py`;
pixels are normalised inside the model's graph (`normalization.normalize`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from maskformer_model.config import PANOPTIC, DataConfig, ParserConfig
from maskformer_model.data import augmentation, preprocessing, targets
from maskformer_model.data.aspect_ratio_groups import (
    group_by_aspect_ratio,
    is_wide_photo,
    is_wide_record,
    window_size,
)
from maskformer_model.data.examples import check_shards, parse_example

PADDING_CLASS = -1
# Padding that the network sees (crops of "lsj" and "semantic" smaller than the batch) is `parser.padding_pixel`; all
# other padding lies outside `valid_size_px` and is set to zero after normalisation, whatever its value.

_NUM_OPEN_FILES = 16
_GLOB_CHARACTERS = frozenset("*?[")
_EPOCH_SEED_STEP = 1_000_003


def make_dataset(
    file_patterns: str | Sequence[str],
    data_config: DataConfig,
    *,
    training: bool,
    seed: int = 0,
    kind: str = PANOPTIC,
    max_targets: int | None = None,
    num_classes: int = 0,
    start_example: int = 0,
) -> tf.data.Dataset:
    """Reads batches from record files that `examples.encode_example` filled.

    For training the files and records are shuffled anew each epoch and repeated without end; the order of an epoch
    follows from `seed` and the epoch's number alone, so a run that starts again at `start_example` sees what it would
    have seen. With `aspect_ratio_group_size` the photos that are padded together have one orientation
    (`aspect_ratio_groups.py`). For evaluation they come once, in the order of the files, resized
    as `parser.augmentation` "none" does. Without `drop_remainder` the last batch of an evaluation may be smaller.

    Args:
        file_patterns: paths or globs of TFRecord files; names that end in `.gz` are decompressed.
        data_config: `cache` keeps the decoded photos in memory, before everything random.
        training: shuffle, augment and repeat.
        seed: The seed of all that is random.
        kind: "panoptic", "instance" or "semantic": what a target is, see `targets.choose_targets`.
        max_targets: further limit on `parser.max_targets`, for a model with fewer queries.
        num_classes: a record with a class index that is not below it is an error; 0: not known.
        start_example: training: how many examples of the stream were used before. Whole epochs are not read again, of
            the last one the records are read and not decoded.

    Returns:
        Data set of dicts, with `parser.output_size` as height and width, or the batch's largest where that is 0 (up to
        the next multiple of `parser.size_divisibility`), and `parser.max_targets` as targets:
            image: `[batch, height, width, 3]` uint8 RGB.
            valid_size_px: `[batch, 2]` int32, height and width of the part, from the top left, that is not padding.
            segment_map: `[batch, height, width]` uint8, 0 = void or padding, k = target k - 1.
            segment_classes: `[batch, targets]` int32 ClassIndex, -1 = no target.
            image_id: `[batch]` string.

    Raises:
        ValueError: if no file matches, all are empty, or photos resized for evaluation would not fit into
            `parser.output_size`.
        tf.errors.InvalidArgumentError: while reading, if a record is damaged or of a class that there is not.
    """
    parser = _effective_parser(data_config.parser, training, max_targets)
    load = functools.partial(load_example, parser=parser, kind=kind, num_classes=num_classes)
    files, records = open_records(file_patterns)
    if training:
        data = _training_stream(files, data_config, load, seed, start_example)
    else:
        data = records.map(load, tf.data.AUTOTUNE)
        data = data.cache() if data_config.cache else data
    finish = functools.partial(_finish, parser=parser, kind=kind, seed=seed)
    data = data.enumerate(start_example).map(finish, tf.data.AUTOTUNE)
    data = _padded_batches(data, data_config, parser).prefetch(tf.data.AUTOTUNE)
    return data.with_options(_options())


def open_records(file_patterns: str | Sequence[str]) -> tuple[list[str], tf.data.Dataset]:
    """Returns the record files that match, and their serialized records in the files' order.

    Raises:
        ValueError: as of `make_dataset`.
    """
    files = _matching_files(file_patterns)
    records = _in_file_order(files)
    _require_a_record(records, files)
    return files, records


def load_example(
    serialized: tf.Tensor, *, parser: ParserConfig, kind: str, num_classes: int = 0
) -> dict[str, tf.Tensor]:
    """Parses and decodes one record, numbers its targets and does what is not random of the augmentation.

    Args:
        serialized: scalar string, a serialized Example.
        parser: its `augmentation`, sizes, `max_targets` and `keep_crowd` are used.
        kind: "panoptic", "instance" or "semantic".
        num_classes: class indices must be below it; 0: not known.

    Returns:
        `image` `[height, width, 3]` uint8, `segment_map` `[height, width]` uint8, `segment_classes` `[targets]` int32
        and `image_id` scalar string.

    Raises:
        tf.errors.InvalidArgumentError: if a key is absent, a file is damaged, photo and map differ in size, or a class
            index is out of range.
    """
    example = parse_example(serialized)
    image = preprocessing.decode_image(example["image/encoded"])
    ids = targets.segment_ids(example["image/panoptic/encoded"])
    rule = "The photo and its panoptic PNG must have the same height and width. Received the record, photo and PNG:"
    image_size_px, map_size_px = tf.shape(image)[:2], tf.shape(ids)
    check = tf.debugging.Assert(
        tf.reduce_all(tf.equal(image_size_px, map_size_px)),
        [rule, example["image/source_id"], image_size_px, map_size_px],
    )
    # A class that the model does not know would be learnt as no object.
    classes = example["image/segment/class_index"]
    is_known = tf.greater_equal(classes, 0) & (tf.less(classes, num_classes) if num_classes else True)
    rule = f"A record's class indices must be in 0..{num_classes - 1}: it was made for other categories. Received:"
    known = tf.debugging.Assert(tf.reduce_all(is_known), [rule, example["image/source_id"], classes])
    with tf.control_dependencies([check, known]):
        ids = tf.identity(ids)
    target_of_segment, segment_classes = targets.choose_targets(
        {name: example[f"image/segment/{name}"] for name in ("class_index", "area", "iscrowd", "isthing")},
        kind=kind,
        max_targets=parser.max_targets,
        keep_crowd=parser.keep_crowd,
    )
    segment_map = targets.number_segments(ids, example["image/segment/id"], target_of_segment)
    image, segment_map = augmentation.prepare(image, segment_map, parser, kind)
    return {
        "image": image,
        "segment_map": segment_map,
        "segment_classes": segment_classes,
        "image_id": example["image/source_id"],
    }


def _effective_parser(parser: ParserConfig, training: bool, max_targets: int | None) -> ParserConfig:
    if max_targets is not None:
        parser = dataclasses.replace(parser, max_targets=min(parser.max_targets, max_targets))
    return parser if training else dataclasses.replace(parser, augmentation="none")


def _matching_files(file_patterns: str | Sequence[str]) -> list[str]:
    patterns = [file_patterns] if isinstance(file_patterns, str) else list(file_patterns)
    files = sorted({file for pattern in patterns for file in tf.io.gfile.glob(pattern)})
    if not files:
        raise ValueError(f"`file_patterns` must match at least one record file. Received: {patterns}")
    # A file that is named is wanted for itself; of a glob a whole set is expected.
    named = {pattern for pattern in patterns if not _GLOB_CHARACTERS.intersection(pattern)}
    check_shards(file for file in files if file not in named)
    return files


def _compression(files: list[str]) -> str:
    return "GZIP" if all(file.endswith(".gz") for file in files) else ""


def _require_a_record(records: tf.data.Dataset, files: list[str]) -> None:
    if next(iter(records), None) is None:
        raise ValueError(f"`file_patterns` must match files that hold at least one record. Received: {files}")


def _training_stream(files: list[str], data_config: DataConfig, load, seed: int, start_example: int) -> tf.data.Dataset:
    """Loaded examples of epoch after epoch, from `start_example` on."""
    cached = _in_file_order(files).map(load, tf.data.AUTOTUNE).cache() if data_config.cache else None

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # In this function's graph alone: a seed that the process has set has no say in the order (and one of 0 fails).
        tf.compat.v1.set_random_seed(None)
        # Not `reshuffle_each_iteration`: it counts epochs from the iterator's start, wherever a run starts.
        epoch_seed = seed + epoch * _EPOCH_SEED_STEP
        data = _in_shuffled_file_order(files, epoch_seed) if cached is None else cached
        return data.shuffle(data_config.shuffle_buffer_size, seed=epoch_seed)

    first_epoch, num_skipped, num_in_window, group_size = 0, 0, 0, data_config.group_size
    if start_example and group_size:
        num_in_window = start_example % window_size(group_size, data_config.global_batch_size)
        start_example -= num_in_window
    if start_example:
        num_examples = int(_in_file_order(files).reduce(np.int64(0), lambda count, _: count + 1))
        first_epoch, num_skipped = divmod(start_example, num_examples)
    data = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(read_epoch).skip(num_skipped)
    if group_size:
        is_wide = is_wide_record if cached is None else is_wide_photo
        data = group_by_aspect_ratio(data, group_size, data_config.global_batch_size, is_wide).skip(num_in_window)
    return data.map(load, tf.data.AUTOTUNE) if cached is None else data


def _in_file_order(files: list[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(files, _compression(files))


def _in_shuffled_file_order(files: list[str], seed: tf.Tensor) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices(files)
    return data.shuffle(len(files), seed=seed).interleave(
        functools.partial(tf.data.TFRecordDataset, compression_type=_compression(files)),
        cycle_length=_NUM_OPEN_FILES,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _finish(
    position: tf.Tensor, example: dict[str, tf.Tensor], *, parser: ParserConfig, kind: str, seed: int
) -> dict[str, tf.Tensor]:
    example_seed = tf.stack([tf.constant(seed, tf.int64), position])
    image, segment_map = augmentation.augment(example["image"], example["segment_map"], parser, example_seed, kind)
    segment_classes = example["segment_classes"]
    if kind != PANOPTIC or not parser.keep_emptied_targets:
        segment_map, segment_classes = targets.drop_empty_targets(segment_map, segment_classes)
    valid_size_px = tf.shape(segment_map)
    if parser.augmentation in ("lsj", "semantic"):
        valid_size_px = tf.maximum(valid_size_px, parser.output_size)
    if parser.size_divisibility:
        # The largest of multiples is a multiple: padding each photo is enough for the batch.
        missing = -tf.shape(segment_map) % parser.size_divisibility
        paddings = [[0, missing[0]], [0, missing[1]]]
        image = tf.pad(image, [*paddings, [0, 0]], constant_values=parser.padding_pixel)
        segment_map = tf.pad(segment_map, paddings)
    return {
        "image": image,
        "valid_size_px": valid_size_px,
        "segment_map": segment_map,
        # A batch needs at least one row of targets, even if no photo has any.
        "segment_classes": tf.pad(
            segment_classes, [[0, tf.maximum(1 - tf.size(segment_classes), 0)]], constant_values=PADDING_CLASS
        ),
        "image_id": example["image_id"],
    }


def _padded_batches(data: tf.data.Dataset, data_config: DataConfig, parser: ParserConfig) -> tf.data.Dataset:
    height, width = (edge_px or None for edge_px in parser.output_size)
    return data.padded_batch(
        data_config.global_batch_size,
        padded_shapes={
            "image": [height, width, 3],
            "valid_size_px": [2],
            "segment_map": [height, width],
            "segment_classes": [parser.max_targets],  # The matcher must see how many when the step is traced.
            "image_id": [],
        },
        padding_values={
            "image": tf.constant(parser.padding_pixel, tf.uint8),
            "valid_size_px": 0,
            "segment_map": tf.constant(0, tf.uint8),
            "segment_classes": PADDING_CLASS,
            "image_id": "",
        },
        drop_remainder=data_config.drop_remainder,
    )


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Workers split each batch, so that a global batch is the same on one worker and on many.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options
