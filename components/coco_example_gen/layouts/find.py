"""Finds the files of a data set, whatever form it has: a published layout, a labelling tool's export, or label PNGs."""

from __future__ import annotations

import dataclasses
import itertools
import posixpath
from collections.abc import Iterable, Mapping, Sequence

from components.coco_example_gen.layouts import class_folders, coco_exports, published
from components.coco_example_gen.layouts.drawn_split import DEFAULT_EVAL_SHARE, draw_split
from components.coco_example_gen.layouts.files import Files
from components.coco_example_gen.layouts.published import AUTO, TRAIN, VAL, UnknownLayoutError
from components.coco_example_gen.layouts.split_source import INSTANCES, PANOPTIC, SplitSource
from components.coco_example_gen.layouts.split_words import TEST
from components.coco_example_gen.layouts.tool_jsons import LABEL_STUDIO, LABELME, find_tool_jsons

COCO_LAYOUTS = {"coco_panoptic": PANOPTIC, "coco_instances": INSTANCES}
LAYOUT_NAMES = (*published.LAYOUT_NAMES, class_folders.LAYOUT, LABELME, LABEL_STUDIO)
_MOST_NAMES = 12


def find_data(
    data_dir: str,
    splits: Sequence[str],
    files: Files,
    layout: str = AUTO,
    things: Sequence[str] = (),
    stuff: Sequence[str] = (),
) -> dict[str, SplitSource]:
    """Finds the files of each split.

    Args:
        data_dir: the data folder.
        splits: those of "train" and "val" that will be read.
        files: how the folder is read.
        layout: a name of `LAYOUT_NAMES`, or "auto".
        things: classes of label PNGs whose connected regions are instances.
        stuff: classes of single objects that are stuff.

    Returns:
        By split: where its files are. Where "val" is asked for and the data set has none, both splits are drawn from
        the same photos.

    Raises:
        UnknownLayoutError: if the folder has none of the forms that can be read, saying what was found and is missing.
    """
    if layout in (AUTO, *published.LAYOUT_NAMES):
        try:
            return _with_kinds(published.find_sources(data_dir, splits, files.exists, layout), things, stuff)
        except UnknownLayoutError:
            if layout not in (AUTO, *COCO_LAYOUTS):
                raise
    problems: list[str] = []
    for found in _forms(data_dir, files, layout, problems):
        if sources := _of_splits(found, splits, files, problems):
            return _with_kinds(sources, things, stuff)
    raise UnknownLayoutError(_explanation(data_dir, files, layout, problems))


def find_split(
    data_dir: str,
    split: str,
    files: Files,
    layout: str = AUTO,
    things: Sequence[str] = (),
    stuff: Sequence[str] = (),
) -> SplitSource:
    """Finds the files of one split, to score a model on it.

    Args:
        data_dir: the data folder.
        split: "train", "val" or "test"; empty takes "val", drawn as `find_data` does where the data set has none, or
            the only split of a folder that has nothing to train on.
        files: how the folder is read.
        layout: a name of `LAYOUT_NAMES`, or "auto".
        things: as in `find_data`.
        stuff: as in `find_data`.

    Raises:
        UnknownLayoutError: if the folder has none of the forms that can be read, or no such split.
    """
    problems: list[str] = []
    # One form after another, so that no folder is searched once the split is found.
    for found in itertools.chain([_published(data_dir, files, layout)], _forms(data_dir, files, layout, problems)):
        if not found:
            continue
        only = next(iter(found)) if len(found) == 1 and not found.keys() & {TRAIN, ""} else VAL
        name = split or only
        if name in found:
            return _with_kinds({name: found[name]}, things, stuff)[name]
        if split:
            have = ", ".join(sorted(other or "one without a name" for other in found))
            problems.append(f"There are no photos of the split {split}. Splits that were found: {have}.")
        elif sources := _of_splits(found, (VAL,), files, problems):
            return _with_kinds(sources, things, stuff)[VAL]
    raise UnknownLayoutError(_explanation(data_dir, files, layout, problems))


def notes_on(sources: Mapping[str, SplitSource], eval_share: float = 0.0) -> list[str]:
    """Says in sentences how a data folder is read: its layout, the tool it comes from, how it is split.

    Args:
        sources: The files of each split.
        eval_share: The share of the train photos that the user asked to evaluate; 0: none.
    """
    first = next(iter(sources.values()))
    tool = f" (export of {first.tool})" if first.tool else ""
    notes = [f"Layout: {first.layout}{tool}"]
    if eval_share:
        notes.append(f"A share of {eval_share:g} of the train photos is kept for evaluation (--eval_share).")
    elif any(source.part != (0.0, 1.0) for source in sources.values()):
        notes.append(
            f"The data has no validation split: a share of {DEFAULT_EVAL_SHARE} of its photos is kept for evaluation, "
            "chosen by a hash of their ids (--eval_share takes another share)."
        )
    return notes


def _published(data_dir: str, files: Files, layout: str) -> dict[str, SplitSource]:
    """Returns those of "train" and "val" that a published layout has."""
    found: dict[str, SplitSource] = {}
    for split in (TRAIN, VAL) if layout in (AUTO, *published.LAYOUT_NAMES) else ():
        try:
            found |= published.find_sources(data_dir, (split,), files.exists, layout)
        except UnknownLayoutError:
            continue
    return found


def _forms(data_dir: str, files: Files, layout: str, problems: list[str]) -> Iterable[dict[str, SplitSource]]:
    """Sources by split ("train", "val", "test", ""), for every form that the folder has; the richest first."""
    if layout in (AUTO, *COCO_LAYOUTS):
        jsons, broken = coco_exports.find_jsons(data_dir, files)
        problems += [f"{posixpath.relpath(path, data_dir)} is not whole json." for path in broken]
        for truth in (PANOPTIC, INSTANCES):
            if layout == AUTO or COCO_LAYOUTS[layout] == truth:
                yield _coco_sources([coco for coco in jsons if coco.truth == truth], data_dir, files, problems)
        problems += [
            said
            for coco in jsons
            if coco.truth not in (PANOPTIC, INSTANCES)
            and isinstance(said := coco_exports.source_of(coco, data_dir, files), str)
        ]
    for tool in (LABELME, LABEL_STUDIO):
        if layout in (AUTO, tool):
            found, problem = find_tool_jsons(data_dir, files, tool)
            problems += [problem] if problem else []
            yield found
    if layout in (AUTO, class_folders.LAYOUT):
        found, problem = class_folders.find_label_folders(data_dir, files)
        problems += [problem] if problem else []
        yield found


def _coco_sources(
    jsons: Sequence[coco_exports.CocoJson], data_dir: str, files: Files, problems: list[str]
) -> dict[str, SplitSource]:
    found: dict[str, SplitSource] = {}
    repeated: dict[str, list[str]] = {}
    unusable: list[str] = []
    for coco in jsons:
        source = coco_exports.source_of(coco, data_dir, files)
        split = coco_exports.split_of_json(coco, data_dir)
        if isinstance(source, str):
            problems.append(source)
            unusable.append(split)
            continue
        repeated.setdefault(split, []).append(posixpath.relpath(coco.path, data_dir))
        found[split] = source
    if many := [names for split, names in repeated.items() if len(names) > 1 and split != TEST]:
        listed = "; ".join(", ".join(names[:4]) for names in many)
        problems.append(f"More than one json for one split: {listed}. Merge them, or name one folder of them as data.")
        return {}
    # A split that is there but cannot be read is not replaced by a drawn one without a word.
    return {} if set(unusable) - {TEST} else found


def _of_splits(
    found: Mapping[str, SplitSource], splits: Sequence[str], files: Files, problems: list[str]
) -> dict[str, SplitSource] | None:
    """Returns the splits that are asked for: the data set's own, or drawn from its train photos."""
    train = found.get(TRAIN) or found.get("")
    if train is None:
        if found:
            only = ", ".join(sorted(found))
            problems.append(
                f"Only photos of the split {only} were found, and none to train on. Name that folder `train`, or all "
                "photos together, of which a share is then kept for evaluation."
            )
        return None
    if VAL not in splits:
        return dict.fromkeys(splits, train)
    if VAL in found:
        return {split: train if split == TRAIN else found[VAL] for split in splits}
    # Also where there is a test split: that one is for a last check and not for choosing models.
    drawn = draw_split(train, files)
    return {split: drawn[split] for split in splits}


def _with_kinds(sources: dict[str, SplitSource], things: Sequence[str], stuff: Sequence[str]) -> dict[str, SplitSource]:
    """Adds the classes that the user says are things or stuff.

    Raises:
        UnknownLayoutError: if the data says so itself.
    """
    if things and (wrong := [source.layout for source in sources.values() if source.layout != class_folders.LAYOUT]):
        raise UnknownLayoutError(
            f"`things` is for the layout {class_folders.LAYOUT!r}, whose label PNGs do not say which classes are "
            f"countable. The data has the layout {wrong[0]!r}, which says so itself."
        )
    if stuff and (wrong := [source.layout for source in sources.values() if source.truth != INSTANCES]):
        advice = "name its things with `things` instead" if wrong[0] == class_folders.LAYOUT else "it says so itself"
        raise UnknownLayoutError(
            "`stuff` is for annotations of single objects (polygons and run lengths), which do not say which classes "
            f"are stuff. The data has the layout {wrong[0]!r}: {advice}."
        )
    return {
        split: dataclasses.replace(source, things=tuple(things), stuff=tuple(stuff))
        for split, source in sources.items()
    }


def _explanation(data_dir: str, files: Files, layout: str, problems: Sequence[str]) -> str:
    lines = [f"The data folder {data_dir} has no layout that can be read (`layout`: {layout})."]
    if not files.is_folder(data_dir):
        return f"{lines[0]} It is not a folder."
    names = files.names(data_dir)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    lines.append(f"It holds: {', '.join(names[:_MOST_NAMES]) or 'nothing'}{more}.")
    if problems:
        return "\n".join([lines[0], lines[1], *dict.fromkeys(problems)])
    if nearest := published.nearest_layout(data_dir, files.exists, layout):
        lines.append(nearest)
    else:
        lines.append(
            "Expected: a published layout (COCO, ADE20K, Cityscapes, Vistas), a COCO json and its photos, as "
            "labelling tools export it, labelme's jsons, or photos with a label PNG each and a list of class names "
            "(classes.txt)."
        )
    return "\n".join(lines)
