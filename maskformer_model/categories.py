"""The categories of a data set: the only place where category ids of the files and class indices of tensors meet.

A COCO panoptic json numbers its categories with gaps (1..200 for the 133 of COCO 2017); tensors number the same
categories densely from 0, in the order in which the file lists them. Mixing the two numberings turns stuff into things
without an error, so they are two types and this module alone converts between them.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple, NewType

import numpy as np

from maskformer_model import coco_schema

CocoCategoryId = NewType("CocoCategoryId", int)  # As the files number them, with gaps; only on disk.
ClassIndex = NewType("ClassIndex", int)  # Dense from 0; only in tensors.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Category:
    """One category as a COCO panoptic json lists it.

    Attributes:
        id: The file's own number of the category.
        name: What a person calls it.
        isthing: True for countable things, False for amorphous stuff.
        color: RGB in 0..255 for drawings.
    """

    id: CocoCategoryId
    name: str
    isthing: bool
    color: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class CategoryTable:
    """All categories of a data set, in class-index order.

    Raises:
        ValueError: if there is no category, or two share an id.
    """

    categories: tuple[Category, ...]

    def __post_init__(self):
        if not self.categories:
            raise ValueError("A data set needs at least one category. Received an empty list of categories.")
        ids = [category.id for category in self.categories]
        repeated = sorted({category_id for category_id in ids if ids.count(category_id) > 1})
        if repeated:
            raise ValueError(f"Category ids must be unique. Received twice: {repeated}")

    @classmethod
    def from_coco(cls, categories: Iterable[Mapping[str, Any]], *, needs_isthing: bool = False) -> CategoryTable:
        """Reads the `categories` list of a COCO json.

        Args:
            categories: Dicts with `id` and `name`; `isthing` (default 1) and `color` (default: derived from the id)
                are optional, because instance files have neither.
            needs_isthing: Refuse a category without `isthing`: a panoptic json that leaves it out does not tell stuff
                from things.

        Raises:
            ValueError: if an entry has no id or name, or a field is of another kind than `coco_schema` says, or an id
                repeats.
        """
        return cls(tuple(_category_from_coco(entry, needs_isthing) for entry in categories))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CategoryTable:
        """Reads a file that `save` wrote, any json list of COCO categories, or a COCO json that has one.

        Raises:
            FileNotFoundError: if a local file does not exist.
            ValueError: if the file holds no list of categories, or one that `from_coco` refuses.
        """
        with _open(path, "rb") as file:
            content = json.loads(file.read().decode("utf-8-sig"))
        categories = content.get("categories") if isinstance(content, Mapping) else content
        if not isinstance(categories, list):
            raise ValueError(f"A file of categories must be a list of them, or hold `categories`. Received: {path}")
        return cls.from_coco(categories)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as a COCO `categories` list."""
        with _open(path, "wb") as file:
            file.write(json.dumps(self.to_coco(), indent=1).encode())

    def to_coco(self) -> list[dict[str, Any]]:
        """Returns the table as a COCO `categories` list."""
        return [
            {"id": int(c.id), "name": c.name, "isthing": int(c.isthing), "color": list(c.color)}
            for c in self.categories
        ]

    @property
    def num_classes(self) -> int:
        """Number of categories, without the no-object class."""
        return len(self.categories)

    @functools.cached_property
    def isthing(self) -> np.ndarray:
        """Returns `[classes]` bool, True for things."""
        return np.array([category.isthing for category in self.categories], dtype=bool)

    @functools.cached_property
    def category_ids(self) -> np.ndarray:
        """Returns `[classes]` int64, the file's id of each class index."""
        return np.array([category.id for category in self.categories], dtype=np.int64)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """`[classes]` names, each once: a name that categories share is followed by the id, as in "cells (id 0)"."""
        times = Counter(category.name for category in self.categories)
        return tuple(c.name if times[c.name] == 1 else f"{c.name} (id {c.id})" for c in self.categories)

    @functools.cached_property
    def colors(self) -> np.ndarray:
        """Returns `[classes, 3]` uint8 RGB."""
        return np.array([category.color for category in self.categories], dtype=np.uint8)

    @functools.cached_property
    def _class_of_id(self) -> dict[int, int]:
        return {int(category.id): index for index, category in enumerate(self.categories)}

    def class_index(self, category_id: int) -> ClassIndex:
        """Returns the class index of a file's category id.

        Raises:
            KeyError: if the data set has no such category.
        """
        try:
            return ClassIndex(self._class_of_id[int(category_id)])
        except KeyError:
            raise KeyError(
                f"`category_id` must be one of the data set's {self.num_classes} category ids. Received: {category_id}"
            ) from None

    def category_id(self, class_index: int) -> CocoCategoryId:
        """Returns the file's category id of a class index.

        Raises:
            IndexError: if the index is outside 0..num_classes-1.
        """
        if not 0 <= class_index < self.num_classes:
            raise IndexError(f"`class_index` must be in 0..{self.num_classes - 1}. Received: {class_index}")
        return self.categories[class_index].id


class TableMatch(enum.Enum):
    """How two category tables agree."""

    SAME = "same"
    REORDERED = "reordered"  # The same categories, so files can be joined by id; class indices mean other things.
    OTHER = "other"


class TableComparison(NamedTuple):
    """What `compare_categories` found.

    Attributes:
        match: How the tables agree.
        words: A clause that says how they differ; empty where they do not.
    """

    match: TableMatch
    words: str


def compare_categories(
    ours: CategoryTable, theirs: CategoryTable, our_place: str = "here", their_place: str = "there"
) -> TableComparison:
    """Compares id, name, kind and order of two tables; colours do not count.

    Args:
        ours: One table.
        theirs: The other one.
        our_place: Where ours is, for the words.
        their_place: Where the other one is.
    """
    left, right = (
        [(int(c.id), c.name, "thing" if c.isthing else "stuff") for c in table.categories] for table in (ours, theirs)
    )
    if left == right:
        return TableComparison(TableMatch.SAME, "")
    if sorted(left) == sorted(right):
        index = next(k for k, (one, other) in enumerate(zip(left, right, strict=True)) if one != other)
        words = f"class {index} is {left[index][1]!r} {our_place} and {right[index][1]!r} {their_place}"
        return TableComparison(TableMatch.REORDERED, f"the order of the categories differs: {words}")
    counts = f"{len(left)} classes {our_place} and {len(right)} {their_place}"
    parts = [
        f"only {place}: {', '.join(f'{name} (id {number}, {kind})' for number, name, kind in sorted(found)[:5])}"
        + (", ..." if len(found) > 5 else "")
        for place, found in ((our_place, set(left) - set(right)), (their_place, set(right) - set(left)))
        if found
    ]
    return TableComparison(TableMatch.OTHER, f"the categories differ ({counts}): {'; '.join(parts)}")


def _open(path: str | os.PathLike[str], mode: str) -> IO[bytes]:
    """Opens a local file, or an address such as `gs://`, for which alone TensorFlow is loaded."""
    if "://" not in os.fspath(path):
        return open(path, mode)
    import tensorflow as tf

    return tf.io.gfile.GFile(path, mode)


def _category_from_coco(entry: Mapping[str, Any], needs_isthing: bool) -> Category:
    if not isinstance(entry, Mapping):
        raise ValueError(f"A category must be an object with `id` and `name`. Received: {coco_schema.shown(entry)}")
    where = f"category {coco_schema.shown(entry.get('name', entry.get('id')))}"
    try:
        category_id = coco_schema.whole_field(entry, "id")
        name = coco_schema.text_field(entry, "name")
        isthing = coco_schema.flag_field(entry, "isthing")
    except coco_schema.FieldError as error:
        raise ValueError(f"{where}: {error}") from error
    if isthing is None and needs_isthing:
        raise ValueError(
            f"{where} has no `isthing`: a panoptic json must say of each category if it is a thing (1) or stuff (0)"
        )
    # Well spread default colours: the golden ratio walks round the hue circle without repeating.
    default_color = tuple(int(255 * (0.35 + 0.6 * ((category_id * step) % 1.0))) for step in (0.618, 0.382, 0.764))
    red, green, blue = coco_schema.color_field(entry) or default_color
    return Category(
        id=CocoCategoryId(category_id),
        name=name,
        isthing=True if isthing is None else isthing,
        color=(red, green, blue),
    )
