"""The Example that stores one photo with its panoptic truth: the only definition of its keys, its writer, its readers.

The photo and the panoptic PNG are stored as the files hold them, byte for byte; beside them stand per-segment lists
and a few scalars that statistics and slices are computed from. `encode_example` writes, `parse_example` reads inside a
TensorFlow graph, `decode_record` reads in plain Python. Finding and checking the files is left to the components.

| key                              | type         | meaning                                                  |
|----------------------------------|--------------|----------------------------------------------------------|
| image/encoded                    | bytes        | the photo's file                                         |
| image/format                     | bytes        | jpeg or png                                              |
| image/height, image/width        | int64        | px                                                       |
| image/filename, image/source_id  | bytes        | file name; image id of the json, as text                 |
| image/key/sha256                 | bytes        | SHA-256 of image/encoded, hexadecimal                    |
| image/caption                    | bytes list   | UTF-8; absent without captions                           |
| image/panoptic/encoded           | bytes        | the panoptic PNG's file                                  |
| image/segment/id                 | int64 list   | segment id in the PNG                                    |
| image/segment/category_id        | int64 list   | CocoCategoryId                                           |
| image/segment/class_index        | int64 list   | ClassIndex                                               |
| image/segment/isthing, iscrowd   | int64 lists  | 0 or 1                                                   |
| image/segment/area               | int64 list   | px                                                       |
| image/segment/bbox               | int64 list   | x, y, width, height of each segment in px, one by one    |
| image/channel_sum, ..._square_sum | int64 lists | of red, green and blue: sum of values 0..255, of squares |
| image/void_is_background         | int64        | 1: exhaustive; 0 or absent: pixels of no segment are void |
| image/statistics/...             | int64, float | scalars for statistics: see `statistics_of`              |
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
import re
from collections.abc import Iterable, Sequence

import tensorflow as tf

from maskformer_model.config.files import CATEGORIES_FILE, KEPT_ASIDE_FILE, NOTICES_FILE, RECORD_DIGESTS_FILE

_VOID_IS_BACKGROUND = "image/void_is_background"
_CHANNEL_KEYS = ("image/channel_sum", "image/channel_square_sum")
SEGMENT_KEYS = ("id", "category_id", "class_index", "isthing", "iscrowd", "area")
INTEGER_STATISTICS = ("num_segments", "num_things", "num_crowds")
FLOAT_STATISTICS = ("void_fraction", "crowd_fraction", "thing_fraction", "aspect_ratio", "brightness")
STATISTICS_PREFIX = "image/statistics/"
# What statistics are made of: the scalars, and the class of every segment.
STATISTICS_KEYS = (
    "image/height",
    "image/width",
    "image/segment/class_index",
    *(STATISTICS_PREFIX + name for name in (*INTEGER_STATISTICS, *FLOAT_STATISTICS)),
)

_SPLIT_FOLDER_PREFIX = "Split-"
_SHARD = re.compile(r"(?P<start>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})(?:\.[a-z.]+)?")

_BYTES_KEYS = (
    "image/encoded",
    "image/format",
    "image/filename",
    "image/source_id",
    "image/key/sha256",
    "image/panoptic/encoded",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentRecord:
    """A segment of a photo's panoptic truth.

    Attributes:
        id: its id in the panoptic PNG, 1..2**24-1.
        category_id: CocoCategoryId.
        class_index: ClassIndex of the same category.
        isthing: True for things, False for stuff.
        iscrowd: True for a group of things that is annotated as one region.
        area_px: its pixels in the PNG.
        bbox_px: x, y, width, height of its pixels.
    """

    id: int
    category_id: int
    class_index: int
    isthing: bool
    iscrowd: bool
    area_px: int
    bbox_px: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleRecord:
    """A photo with its checked panoptic truth, before encoding or after decoding.

    Attributes:
        source_id: image id of the annotation file, as text.
        filename: the photo's file name in its folder.
        image_encoded: the photo's file.
        image_format: "jpeg" or "png".
        height_px: height of photo and PNG.
        width_px: width of photo and PNG.
        panoptic_png: the panoptic PNG's file.
        segments: the segments of the PNG.
        brightness: mean of the photo's luma, in 0..1; stored as float32.
        captions: what people said the photo shows; may be empty.
        channel_sums: The sums of all red, green and blue values 0..255; empty where they have not been added up.
        channel_square_sums: The sums of their squares.
        void_is_background: the annotation is exhaustive, so pixels of no segment are background, where a predicted
            segment is false; otherwise they are void and excuse it.
    """

    source_id: str
    filename: str
    image_encoded: bytes
    image_format: str
    height_px: int
    width_px: int
    panoptic_png: bytes
    segments: tuple[SegmentRecord, ...]
    brightness: float
    captions: tuple[str, ...] = ()
    channel_sums: tuple[int, ...] = ()
    channel_square_sums: tuple[int, ...] = ()
    void_is_background: bool = False


def statistics_of(record: ExampleRecord) -> dict[str, float]:
    """Returns the scalars of `image/statistics/`.

    Returns:
        `num_segments`, `num_things` and `num_crowds` (a crowd is not counted as a thing); `void_fraction`,
        `crowd_fraction` and `thing_fraction` (shares of the photo's pixels; crowds are not in `thing_fraction`);
        `aspect_ratio` (width / height); `brightness` (0..1).
    """
    num_pixels = record.height_px * record.width_px
    crowds = [segment for segment in record.segments if segment.iscrowd]
    things = [segment for segment in record.segments if segment.isthing and not segment.iscrowd]
    void_fraction = 1.0 - sum(segment.area_px for segment in record.segments) / num_pixels
    return {
        "num_segments": len(record.segments),
        "num_things": len(things),
        "num_crowds": len(crowds),
        "void_fraction": 0.0 if record.void_is_background else void_fraction,
        "crowd_fraction": sum(segment.area_px for segment in crowds) / num_pixels,
        "thing_fraction": sum(segment.area_px for segment in things) / num_pixels,
        "aspect_ratio": record.width_px / record.height_px,
        "brightness": record.brightness,
    }


def encode_example(record: ExampleRecord) -> tf.train.Example:
    """Turns a record into the Example that stores it."""
    segments = record.segments
    feature = {
        "image/encoded": _bytes_feature([record.image_encoded]),
        "image/format": _bytes_feature([record.image_format.encode()]),
        "image/height": _int64_feature([record.height_px]),
        "image/width": _int64_feature([record.width_px]),
        "image/filename": _bytes_feature([record.filename.encode()]),
        "image/source_id": _bytes_feature([record.source_id.encode()]),
        "image/key/sha256": _bytes_feature([hashlib.sha256(record.image_encoded).hexdigest().encode()]),
        "image/panoptic/encoded": _bytes_feature([record.panoptic_png]),
        "image/segment/id": _int64_feature([s.id for s in segments]),
        "image/segment/category_id": _int64_feature([s.category_id for s in segments]),
        "image/segment/class_index": _int64_feature([s.class_index for s in segments]),
        "image/segment/isthing": _int64_feature([int(s.isthing) for s in segments]),
        "image/segment/iscrowd": _int64_feature([int(s.iscrowd) for s in segments]),
        "image/segment/area": _int64_feature([s.area_px for s in segments]),
        "image/segment/bbox": _int64_feature([edge for s in segments for edge in s.bbox_px]),
        "image/channel_sum": _int64_feature(record.channel_sums),
        "image/channel_square_sum": _int64_feature(record.channel_square_sums),
    }
    statistics = statistics_of(record)
    for name in INTEGER_STATISTICS:
        feature[STATISTICS_PREFIX + name] = _int64_feature([int(statistics[name])])
    for name in FLOAT_STATISTICS:
        feature[STATISTICS_PREFIX + name] = _float_feature([statistics[name]])
    if record.captions:
        feature["image/caption"] = _bytes_feature([caption.encode() for caption in record.captions])
    if record.void_is_background:
        feature[_VOID_IS_BACKGROUND] = _int64_feature([1])
    return tf.train.Example(features=tf.train.Features(feature=feature))


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses one serialized Example inside a TensorFlow graph.

    Args:
        serialized: scalar string.

    Returns:
        A tensor per key of the module's table: scalars as `[]` (string, int64 or float32), segment lists as dense
        `[segments]` int64, `image/segment/bbox` as `[segments, 4]` int64, `image/caption` as `[captions]` string.
        Photo and PNG stay encoded.

    Raises:
        tf.errors.InvalidArgumentError: if a required key is absent.
    """
    int64_list = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in _BYTES_KEYS}
    spec |= {key: tf.io.FixedLenFeature([], tf.int64) for key in ("image/height", "image/width")}
    spec |= {f"image/segment/{name}": int64_list for name in SEGMENT_KEYS}
    spec |= dict.fromkeys(("image/segment/bbox", *_CHANNEL_KEYS), int64_list)
    spec |= {STATISTICS_PREFIX + name: tf.io.FixedLenFeature([], tf.int64) for name in INTEGER_STATISTICS}
    spec |= {STATISTICS_PREFIX + name: tf.io.FixedLenFeature([], tf.float32) for name in FLOAT_STATISTICS}
    spec["image/caption"] = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    parsed = tf.io.parse_single_example(serialized, spec)
    parsed["image/segment/bbox"] = tf.reshape(parsed["image/segment/bbox"], [-1, 4])
    return parsed


def decode_record(serialized: bytes) -> ExampleRecord:
    """Parses one serialized Example in plain Python; the inverse of `encode_example`.

    Raises:
        ValueError: if a required key is absent.
    """
    feature = tf.train.Example.FromString(serialized).features.feature
    required = (*_BYTES_KEYS, "image/height", "image/width", STATISTICS_PREFIX + "brightness")
    missing = [key for key in required if key not in feature]
    if missing:
        raise ValueError(f"A panoptic Example must have the keys {missing}. Received the keys: {sorted(feature)}")

    def text(key: str) -> str:
        return feature[key].bytes_list.value[0].decode()

    return ExampleRecord(
        source_id=text("image/source_id"),
        filename=text("image/filename"),
        image_encoded=feature["image/encoded"].bytes_list.value[0],
        image_format=text("image/format"),
        height_px=feature["image/height"].int64_list.value[0],
        width_px=feature["image/width"].int64_list.value[0],
        panoptic_png=feature["image/panoptic/encoded"].bytes_list.value[0],
        segments=_segments_from(feature),
        brightness=feature[STATISTICS_PREFIX + "brightness"].float_list.value[0],
        captions=tuple(value.decode() for value in feature["image/caption"].bytes_list.value),
        channel_sums=tuple(feature["image/channel_sum"].int64_list.value),
        channel_square_sums=tuple(feature["image/channel_square_sum"].int64_list.value),
        void_is_background=1 in feature[_VOID_IS_BACKGROUND].int64_list.value,
    )


def categories_path(file_pattern: str) -> str:
    """Returns the path of the categories of a set of record files, for `CategoryTable.load`.

    Args:
        file_pattern: path or glob of record files, for instance `<artifact>/Split-train/*`.

    Returns:
        `categories.json` in the artifact's root, or beside the files where their folder is not that of a TFX split.
    """
    return posixpath.join(_records_root(file_pattern), CATEGORIES_FILE)


def kept_aside_path(file_pattern: str) -> str:
    """Returns the path of the list of skipped records, beside `categories_path(file_pattern)`."""
    return posixpath.join(_records_root(file_pattern), KEPT_ASIDE_FILE)


def notices_path(file_pattern: str) -> str:
    """Returns the path of the list of what was noticed, beside `categories_path(file_pattern)`."""
    return posixpath.join(_records_root(file_pattern), NOTICES_FILE)


def record_digests_path(file_pattern: str) -> str:
    """Returns the path of the record files' hashes, beside `categories_path(file_pattern)`."""
    return posixpath.join(_records_root(file_pattern), RECORD_DIGESTS_FILE)


def check_shards(paths: Iterable[str]) -> None:
    """Returns whether record files that are numbered `-00000-of-00004` are all there, each set once.

    A set of which some are missing is what a copy or a job leaves that was stopped; two sets with one beginning hold
    the same records twice.

    Raises:
        ValueError: if not.
    """
    sets: dict[str, dict[int, set[int]]] = {}
    for path in paths:
        if found := _SHARD.fullmatch(path):
            sets.setdefault(found["start"], {}).setdefault(int(found["count"]), set()).add(int(found["index"]))
    for start, by_count in sets.items():
        if len(by_count) > 1:
            raise ValueError(
                f"Record files must be of one set. Received several at {start}: of {sorted(by_count)} files"
            )
        [(count, indices)] = by_count.items()
        if missing := sorted(set(range(count)) - indices):
            raise ValueError(f"Record files must be complete. Missing of the {count} at {start}: {missing[:10]}")


def _records_root(file_pattern: str) -> str:
    folder = posixpath.dirname(file_pattern)
    is_tfx_split = posixpath.basename(folder).startswith(_SPLIT_FOLDER_PREFIX)
    return posixpath.dirname(folder) if is_tfx_split else folder


def _segments_from(feature) -> tuple[SegmentRecord, ...]:
    columns = [feature[f"image/segment/{name}"].int64_list.value for name in SEGMENT_KEYS]
    edges = feature["image/segment/bbox"].int64_list.value
    boxes = [tuple(edges[start : start + 4]) for start in range(0, len(edges), 4)]
    return tuple(
        SegmentRecord(
            id=segment_id,
            category_id=category_id,
            class_index=class_index,
            isthing=bool(isthing),
            iscrowd=bool(iscrowd),
            area_px=area_px,
            bbox_px=box,
        )
        for segment_id, category_id, class_index, isthing, iscrowd, area_px, box in zip(*columns, boxes, strict=True)
    )


def _bytes_feature(values: list[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _int64_feature(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _float_feature(values: list[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
