"""Reads from the annotations alone which segments a data set's photos have, to know the query ceiling before training.

A json says classes and areas without a pixel being read: seven seconds for all of COCO. Label PNGs have to be decoded,
so of these a sample of photos is taken. Entries that the ingestion will skip are left out here without a word: it is
the ingestion that reports them.
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from components.coco_example_gen.conversion.conversion_step import in_threads, or_kept_aside
from components.coco_example_gen.kept_aside import KeptAside
from components.coco_example_gen.layouts.split_source import INSTANCES, PANOPTIC, SplitSource
from components.coco_example_gen.records.categories_file import read_categories, stuff_ids
from components.coco_example_gen.records.json_stream import stream_list
from components.coco_example_gen.records.reader import read_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.records.references import ImageRef, id_of
from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import as_whole, is_number
from maskformer_model.data.examples import ExampleRecord
from maskformer_model.metrics.query_ceiling import SegmentRanks

_SAMPLED_PHOTOS = 100


def stated_ranks(source: SplitSource, kind: str) -> SegmentRanks:
    """Counts the segments of a split's photos.

    Args:
        source: where the annotations are.
        kind: what is trained: "panoptic", "instance" or "semantic".

    Raises:
        FileNotFoundError: if an annotation file is missing.
        ValueError: if one is not whole json, or the categories are not usable.
    """
    categories = read_categories(source)
    ranks = SegmentRanks(categories.isthing, kind)
    if source.truth == PANOPTIC:
        for image_id, entries in _panoptic_entries(source.panoptic_file):
            if source.takes(image_id):
                _add(ranks, entries, categories)
    elif source.truth == INSTANCES:
        objects: dict[str, list[tuple[Any, Any, Any]]] = collections.defaultdict(list)
        for entry in stream_list(source.object_file, "annotations"):
            object_of = id_of(entry, "image_id")
            if object_of is not None and source.takes(object_of):
                objects[object_of].append(_facts(entry))
        stuff = stuff_ids(categories)
        for facts in objects.values():
            _add(ranks, _with_one_segment_per_stuff(facts, stuff), categories)
    else:
        for record in _sample(source, categories):
            add_record(ranks, record)
    return ranks


def add_record(ranks: SegmentRanks, record: ExampleRecord) -> None:
    """Adds the segments of a photo that was read with its pixels."""
    segments = record.segments
    ranks.add_photo([s.class_index for s in segments], [s.area_px for s in segments], [s.iscrowd for s in segments])


def _panoptic_entries(path: str) -> Iterator[tuple[str, list[tuple[Any, Any, Any]]]]:
    for entry in stream_list(path, "annotations"):
        image_id = id_of(entry, "image_id")
        segments = entry.get("segments_info") if isinstance(entry, Mapping) else None
        if image_id is not None and isinstance(segments, list):
            yield image_id, [_facts(segment) for segment in segments]


def _facts(entry: Any) -> tuple[Any, Any, Any]:
    """Returns category, area and crowd of a segment; `(None, ...)` if the entry is not a segment."""
    if not isinstance(entry, Mapping):
        return None, 0, 0
    return entry.get("category_id"), entry.get("area", 0), entry.get("iscrowd", 0)


def _with_one_segment_per_stuff(facts: Iterable[tuple[Any, Any, Any]], stuff: Set[int]) -> list[tuple[Any, Any, Any]]:
    """Returns the facts of single objects, with those of a stuff class added up, as `paint_objects` unites them."""
    things: list[tuple[Any, Any, Any]] = []
    areas: dict[int, float] = collections.defaultdict(float)
    for category_id, area, iscrowd in facts:
        if isinstance(category_id, int) and category_id in stuff:
            areas[category_id] += area if isinstance(area, int | float) else 0
        else:
            things.append((category_id, area, iscrowd))
    return [*things, *((category_id, area, 0) for category_id, area in areas.items())]


def _add(ranks: SegmentRanks, facts: Iterable[tuple[Any, Any, Any]], categories: CategoryTable) -> None:
    known = set(categories.category_ids.tolist())
    rows = [
        (categories.class_index(category_id), area if is_number(area) else 0, iscrowd == 1)
        for category_id, area, iscrowd in ((as_whole(first), *others) for first, *others in facts)
        if category_id in known
    ]
    ranks.add_photo([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _sample(source: SplitSource, categories: CategoryTable) -> Iterator[ExampleRecord]:
    with tempfile.TemporaryDirectory() as work_dir:
        request = SplitRequest(split="sample", max_images=_SAMPLED_PHOTOS, num_shards=1)
        [shard] = plan_split(request, source, work_dir).shards

        def read(ref: ImageRef | KeptAside) -> ExampleRecord | KeptAside:
            return or_kept_aside(shard, ref, lambda ref: read_record(ref, source, categories))

        found = in_threads(read, read_references(shard))
        yield from (record for record in found if not isinstance(record, KeptAside))
