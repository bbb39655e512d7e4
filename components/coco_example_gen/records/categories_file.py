"""The categories of a data set, from whichever of its files lists them."""

from __future__ import annotations

import json
from typing import Any

from components.coco_example_gen.layouts.class_folders import CLASSES_CODE
from components.coco_example_gen.layouts.data_files import read_category_file
from components.coco_example_gen.layouts.split_source import INSTANCES, LABELS, PANOPTIC, SplitSource
from components.coco_example_gen.records.class_names import category_entries, read_class_names
from components.coco_example_gen.records.json_stream import stream_list
from components.coco_example_gen.records.label_png import label_categories
from maskformer_model.categories import CategoryTable


def read_categories(source: SplitSource) -> CategoryTable:
    """The categories that the class indices of a source's Examples mean.

    A source without any truth has one category, "object", so that its Examples are of the same form.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not whole, or the categories are not usable.
    """
    if source.truth == LABELS and source.label_code == CLASSES_CODE:
        classes = read_class_names(read_category_file(source.category_file))
        entries: list[Any] = category_entries(classes, source.things, has_objects=bool(source.object_dir))
    elif source.truth == LABELS:
        entries = label_categories(read_category_file(source.category_file), source.label_code)
    elif source.truth == PANOPTIC:
        entries = list(stream_list(source.panoptic_file, "categories"))
    elif source.truth == INSTANCES or source.object_file:
        entries = list(stream_list(source.object_file, "categories"))
    else:
        entries = [{"id": 1, "name": "object"}]
    return CategoryTable.from_coco(_mappings(entries))


def object_names(source: SplitSource) -> dict[int, str]:
    """Names of the categories that the instances json lists, by id; empty without one."""
    if not source.object_file:
        return {}
    return {entry["id"]: entry["name"] for entry in _mappings(list(stream_list(source.object_file, "categories")))}


def _mappings(entries: list[Any]) -> list[dict[str, Any]]:
    if wrong := [entry for entry in entries if not isinstance(entry, dict)]:
        raise ValueError(f"A category must be an object with `id` and `name`. Received: {json.dumps(wrong[:3])}")
    return entries
