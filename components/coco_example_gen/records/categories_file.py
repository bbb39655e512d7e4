"""Reads the categories of a data set from the file that lists them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from components.coco_example_gen.layouts.class_folders import CLASSES_CODE
from components.coco_example_gen.layouts.data_files import read_category_file
from components.coco_example_gen.layouts.split_source import INSTANCES, LABELS, PANOPTIC, SplitSource
from components.coco_example_gen.records.class_names import category_entries, read_class_names
from components.coco_example_gen.records.json_stream import stream_list
from components.coco_example_gen.records.label_png import label_categories
from maskformer_model.categories import CategoryTable


def read_categories(source: SplitSource) -> CategoryTable:
    """Reads the categories that the class indices of a source's Examples mean.

    A source without any truth has one category, "object", so that its Examples are of the same form.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not whole, or the categories are not usable.
    """
    if source.truth == LABELS:
        return _table(source.category_file, _listed_classes(source), needs_isthing=False)
    if source.truth == PANOPTIC:
        return _table(source.panoptic_file, stream_list(source.panoptic_file, "categories"), needs_isthing=True)
    if source.truth == INSTANCES:
        entries = list(stream_list(source.object_file, "categories"))
        return _with_stuff(_table(source.object_file, entries, needs_isthing=False), source)
    if source.object_file:
        return _table(source.object_file, stream_list(source.object_file, "categories"), needs_isthing=False)
    return CategoryTable.from_coco([{"id": 1, "name": "object"}])


def _listed_classes(source: SplitSource) -> list[dict[str, Any]]:
    """The classes of a source of label PNGs, as COCO lists categories."""
    content = read_category_file(source.category_file)
    try:
        if source.label_code != CLASSES_CODE:
            return label_categories(content, source.label_code)
        return category_entries(read_class_names(content), source.things, has_objects=bool(source.object_dir))
    except ValueError as error:
        raise ValueError(f"{source.category_file}: {error}") from error


def object_names(source: SplitSource) -> dict[int, str]:
    """Names of the categories that the instances json lists, by id; empty without one.

    Raises:
        ValueError: if its categories are not usable.
    """
    if not source.object_file:
        return {}
    table = _table(source.object_file, stream_list(source.object_file, "categories"), needs_isthing=False)
    return {int(category.id): category.name for category in table.categories}


def stuff_ids(categories: CategoryTable) -> frozenset[int]:
    """Returns the category ids of the stuff classes."""
    return frozenset(int(category.id) for category in categories.categories if not category.isthing)


def _with_stuff(categories: CategoryTable, source: SplitSource) -> CategoryTable:
    if wrong := sorted(set(source.stuff) - {category.name for category in categories.categories}):
        raise ValueError(f"`stuff` must be of the classes {list(categories.names)}. Received: {wrong}")
    return CategoryTable(
        tuple(
            dataclasses.replace(category, isthing=False) if category.name in source.stuff else category
            for category in categories.categories
        )
    )


def _table(path: str, entries: Iterable[Any], *, needs_isthing: bool) -> CategoryTable:
    try:
        return CategoryTable.from_coco(list(entries), needs_isthing=needs_isthing)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
