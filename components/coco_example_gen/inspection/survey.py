"""Reads every photo of a split with its truth, as an ingestion would, and counts what is there.

The records are checked by the ingestion's own reader, so what is skipped here, and why, is what an ingestion skips. No
photo stays in memory but the few that are to be shown.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import tempfile

import numpy as np

from components.coco_example_gen.conversion.conversion_step import in_threads, or_kept_aside
from components.coco_example_gen.inspection.stated_segments import add_record
from components.coco_example_gen.kept_aside import KeptAside
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.records.reader import CheckedRecord, read_checked_record
from components.coco_example_gen.records.reference_files import ShardPlan, SplitRequest, plan_split, read_references
from components.coco_example_gen.records.references import ImageRef
from maskformer_model.categories import CategoryTable
from maskformer_model.data.examples import ExampleRecord
from maskformer_model.metrics.query_ceiling import SegmentRanks

_SMALL_PX, _LARGE_PX = 32**2, 96**2  # COCO's bounds of small and large.


@dataclasses.dataclass(kw_only=True)
class SplitSurvey:
    """The counts of one split.

    Attributes:
        split: The split's name.
        source: The places of its files.
        categories: The data set's categories.
        kept_aside: The records that were skipped.
        notices: How often each thing was noticed that cost no record.
        ranks: The segments by class and rank, for the query ceiling.
        segments: `[classes]` segments, without crowds.
        crowds: `[classes]` crowds.
        pixels: `[classes]` pixels, crowds among them.
        photos: `[classes]` photos that have the class.
        all_pixels: The pixels of all photos.
        sizes_px: height and width of each photo.
        segments_per_photo: The number of segments of each photo, without crowds.
        thing_sizes: things that are small (below 32 x 32 px), medium, and large (96 x 96 px or more).
        formats: photos by file format.
        num_gray: photos without colour.
        empty: names of photos without any segment.
        names_of_hash: photos by the SHA-256 of their file.
        shown: the records of the photos to be drawn.
    """

    split: str
    source: SplitSource
    categories: CategoryTable
    ranks: SegmentRanks
    kept_aside: list[KeptAside] = dataclasses.field(default_factory=list)
    notices: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    segments: np.ndarray
    crowds: np.ndarray
    pixels: np.ndarray
    photos: np.ndarray
    all_pixels: int = 0
    sizes_px: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    segments_per_photo: list[int] = dataclasses.field(default_factory=list)
    thing_sizes: list[int] = dataclasses.field(default_factory=lambda: [0, 0, 0])
    formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    num_gray: int = 0
    empty: list[str] = dataclasses.field(default_factory=list)
    names_of_hash: dict[str, list[str]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    shown: list[ExampleRecord] = dataclasses.field(default_factory=list)

    @property
    def num_photos(self) -> int:
        """Photos that were read."""
        return len(self.sizes_px)

    def add(self, record: ExampleRecord) -> None:
        """Counts one photo."""
        add_record(self.ranks, record)
        for segment in record.segments:
            (self.crowds if segment.iscrowd else self.segments)[segment.class_index] += 1
            self.pixels[segment.class_index] += segment.area_px
            if segment.isthing and not segment.iscrowd:
                self.thing_sizes[int(np.digitize(segment.area_px, (_SMALL_PX, _LARGE_PX)))] += 1
        self.photos[sorted({segment.class_index for segment in record.segments})] += 1
        self.all_pixels += record.height_px * record.width_px
        self.sizes_px.append((record.height_px, record.width_px))
        self.segments_per_photo.append(sum(not segment.iscrowd for segment in record.segments))
        self.formats[record.image_format] += 1
        self.num_gray += len(set(record.channel_sums)) == 1 and len(set(record.channel_square_sums)) == 1
        if not record.segments:
            self.empty.append(record.filename)
        self.names_of_hash[hashlib.sha256(record.image_encoded).hexdigest()].append(record.filename)


def survey_split(
    split: str,
    source: SplitSource,
    kind: str,
    *,
    max_images: int = 0,
    num_shown: int = 0,
) -> SplitSurvey:
    """Reads and counts the photos of a split.

    Args:
        split: The split's name.
        source: The places of its files.
        kind: what is to be trained: "panoptic", "instance" or "semantic".
        max_images: the first so many by file name; 0 takes all.
        num_shown: photos to keep for drawing, spread evenly.

    Raises:
        FileNotFoundError: if an annotation file is missing.
        ValueError: if one is not whole json, or the categories are not usable.
    """
    with tempfile.TemporaryDirectory() as work_dir:
        request = SplitRequest(split=split, max_images=max_images, num_shards=1)
        plan = plan_split(request, source, work_dir)
        [shard] = plan.shards
        num_classes = plan.categories.num_classes
        survey = SplitSurvey(
            split=split,
            source=source,
            categories=plan.categories,
            ranks=SegmentRanks(plan.categories.isthing, kind),
            kept_aside=list(plan.kept_aside),
            notices=collections.Counter(notice.reason for notice in plan.notices),
            segments=np.zeros(num_classes, np.int64),
            crowds=np.zeros(num_classes, np.int64),
            pixels=np.zeros(num_classes, np.int64),
            photos=np.zeros(num_classes, np.int64),
        )
        step = max(1, shard.num_images // max(1, num_shown))
        read = functools.partial(_read, shard, plan.categories)
        for place, found in enumerate(in_threads(read, read_references(shard))):
            if isinstance(found, KeptAside):
                survey.kept_aside.append(found)
                continue
            survey.add(found.record)
            survey.notices.update(notice.reason for notice in found.notices)
            if place % step == 0 and len(survey.shown) < num_shown:
                survey.shown.append(found.record)
    return survey


def _read(shard: ShardPlan, categories: CategoryTable, ref: ImageRef | KeptAside) -> CheckedRecord | KeptAside:
    return or_kept_aside(shard, ref, lambda ref: read_checked_record(ref, shard.source, categories))
