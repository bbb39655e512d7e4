"""The categories of a converted checkpoint: the names that it states, and which of its classes are things.

A Hugging Face folder names its classes (`id2label`), but not which are things. That is known if the folder lists
`label_ids_to_fuse`, if the names are those of a published data set, or if the task leaves no choice. Otherwise the
person who converts says it. `published_categories.json` holds the categories of COCO panoptic, ADE20K, Cityscapes and
Mapillary Vistas in the order in which the official models number them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

from maskformer_model.categories import CategoryTable
from maskformer_model.config import INSTANCE, SEMANTIC

_FILE = pathlib.Path(__file__).with_name("published_categories.json")
# COCO merged finer stuff classes into these; Hugging Face's labels leave the endings out.
_ENDINGS = re.compile(r"(-stuff|-other|-merged)+$")


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a source says of its classes.

    Attributes:
        names: Their names in the order of the classes; empty if the source has none.
        fused: Indices of the classes whose segments are merged into one, so stuff; None if the source does not say.
    """

    names: tuple[str, ...] = ()
    fused: frozenset[int] | None = None


def read_labels(folder: pathlib.Path) -> Labels:
    """Reads what a Hugging Face folder says of its classes.

    Raises:
        ValueError: if `id2label` does not number its labels 0, 1, ...
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stated = config.get("id2label") or {}
    if not isinstance(stated, dict) or not all(str(index).isdecimal() for index in stated):
        raise ValueError(f"`id2label` in {folder}/config.json must number its labels 0, 1, ... Received: {stated}")
    names = {int(index): str(name) for index, name in stated.items()}
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"`id2label` in {folder}/config.json must number its labels 0, 1, ... Received: {names}")
    fused = config.get("label_ids_to_fuse")
    processor = folder / "preprocessor_config.json"
    if fused is None and processor.is_file():
        fused = json.loads(processor.read_text(encoding="utf-8")).get("label_ids_to_fuse")
    return Labels(
        tuple(names[index] for index in range(len(names))), None if fused is None else frozenset(map(int, fused))
    )


def categories_of(
    labels: Labels, num_classes: int, kind: str, recipe: str = "", stuff: Sequence[str] | None = None
) -> tuple[CategoryTable | None, str]:
    """Returns the categories, and a clause that says where they come from and what was assumed.

    Args:
        labels: What the source says.
        num_classes: Of the network.
        kind: `task.kind` of the experiment.
        recipe: The published recipe that the network was trained as, whose data set's categories are taken where the
            source has no names; empty if it is not known.
        stuff: Names of the classes that are stuff; None leaves it to the source.

    Returns:
        None for the table where nothing names the classes.

    Raises:
        ValueError: if the source names another number of classes, or has no class of a name in `stuff`.
    """
    if not labels.names:
        if stuff is not None:
            raise ValueError(f"`stuff` must name classes, but the source does not name its classes. Received: {stuff}")
        known = _published_by_recipe(recipe, num_classes)
        return known, f"the classes are those of {recipe}" if known else "the source does not name its classes"
    names = labels.names
    if len(names) != num_classes:
        raise ValueError(f"`id2label` must name the network's {num_classes} classes. Received: {len(names)}")
    if stuff is not None:
        if unknown := sorted(set(stuff) - set(names)):
            raise ValueError(f"`stuff` must be of the classes {', '.join(names)}. Received: {', '.join(unknown)}")
        return _table(names, [name not in stuff for name in names]), "things and stuff are as --stuff says"
    if labels.fused is not None:
        is_thing = [index not in labels.fused for index in range(num_classes)]
        return _table(names, is_thing), "stuff is what `label_ids_to_fuse` lists"
    for data_set, table in _published().items():
        if [_plain(category.name) for category in table.categories] == [_plain(name) for name in names]:
            return _renamed(table, names), f"things, stuff and ids are those of {data_set}, which has these classes"
    if kind == SEMANTIC:
        return _table(names, [False] * num_classes), "all classes are stuff, as the task is semantic"
    if kind == INSTANCE:
        return _table(names, [True] * num_classes), "all classes are things, as the task is instances"
    assumed = "all classes are taken as things, because nothing says which are stuff: name those with --stuff A,B"
    return _table(names, [True] * num_classes), assumed


def _table(names: Sequence[str], is_thing: Sequence[bool]) -> CategoryTable:
    rows = [
        {"id": index, "name": name, "isthing": int(thing)}
        for index, (name, thing) in enumerate(zip(names, is_thing, strict=True))
    ]
    return CategoryTable.from_coco(rows)


def _renamed(table: CategoryTable, names: Sequence[str]) -> CategoryTable:
    pairs = zip(table.categories, names, strict=True)
    return CategoryTable(tuple(dataclasses.replace(category, name=name) for category, name in pairs))


def _plain(name: str) -> str:
    """Returns a name as data sets and Hugging Face spell it alike: without synonyms and COCO's endings."""
    return _ENDINGS.sub("", name.partition(",")[0].strip().lower())


@functools.cache
def _published() -> Mapping[str, CategoryTable]:
    tables = {
        name: CategoryTable.from_coco(rows) for name, rows in json.loads(_FILE.read_text(encoding="utf-8")).items()
    }
    things = tuple(category for category in tables["coco"].categories if category.isthing)
    return {**tables, "coco instances": CategoryTable(things)}


def _published_by_recipe(recipe: str, num_classes: int) -> CategoryTable | None:
    for data_set, table in _published().items():
        if data_set.split()[0] in recipe.split("_") and table.num_classes == num_classes:
            return table
    return None
