"""Finds what is unusual in a data set and often a mistake: each finding is one sentence with its numbers."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

import numpy as np

from components.coco_example_gen.inspection.survey import SplitSurvey
from components.coco_example_gen.options import EVAL_SPLIT

_FEW = 30  # Photos.
_MANY_VOID, _MANY_SMALL, _MANY_CROWDS, _RARE = 0.5, 0.5, 0.3, 0.001


def odd_things(surveys: Sequence[SplitSurvey]) -> list[str]:
    """Returns the findings, those about all splits first."""
    return [*_of_all(surveys), *(sentence for survey in surveys for sentence in _of_split(survey))]


def _of_all(surveys: Sequence[SplitSurvey]) -> Iterator[str]:
    categories = surveys[0].categories
    times = collections.Counter(category.name for category in categories.categories)
    repeated = [name for name, count in times.items() if count > 1]
    if repeated:
        yield f"Classes that share a name: {_listed(repeated)}."
    if others := [survey.split for survey in surveys if survey.categories != categories]:
        yield f"The classes of {_listed(others)} are not those of {surveys[0].split}, or in another order."
    else:
        photos = np.sum([survey.photos for survey in surveys], axis=0)
        if unseen := [name for name, count in zip(categories.names, photos, strict=True) if not count]:
            yield f"Classes that no photo has: {_listed(unseen)}."
        if new := _names(surveys[0], (surveys[0].photos == 0) & (photos > 0)):
            yield f"Classes that no photo of {surveys[0].split} has, but others do: {_listed(new)}."
        if len(surveys) == 2 and (lacking := _names(surveys[1], (surveys[1].photos == 0) & (photos > 0))):
            yield f"Classes that no photo of {surveys[1].split} has, so they are not evaluated: {_listed(lacking)}."
    hashes = [set(survey.names_of_hash) for survey in surveys]
    if len(surveys) == 2 and (shared := hashes[0] & hashes[1]):
        names = [surveys[0].names_of_hash[digest][0] for digest in sorted(shared)]
        yield f"{len(shared)} photos are in both splits, so scores on them flatter: {_listed(names)}."


def _names(survey: SplitSurvey, chosen: np.ndarray) -> list[str]:
    return [survey.categories.names[index] for index in np.flatnonzero(chosen)]


def _of_split(survey: SplitSurvey) -> Iterator[str]:
    if survey.split == EVAL_SPLIT and 0 < survey.num_photos < _FEW:
        yield f"{survey.split}: scores on {survey.num_photos} photos, fewer than {_FEW}, can change by chance."
    if copies := [names for names in survey.names_of_hash.values() if len(names) > 1]:
        pairs = [" = ".join(names[:3]) for names in copies]
        yield f"{survey.split}: {len(copies)} photos are there more than once: {_listed(pairs)}."
    if survey.empty:
        yield f"{survey.split}: {len(survey.empty)} photos have no segment: {_listed(survey.empty)}."
    if 0 < survey.num_gray < survey.num_photos:
        yield f"{survey.split}: {survey.num_gray} of {survey.num_photos} photos are gray."
    void = survey.all_pixels - int(survey.pixels.sum())
    if survey.all_pixels and void > _MANY_VOID * survey.all_pixels:
        yield f"{survey.split}: {100 * void / survey.all_pixels:.0f} % of the pixels have no label."
    things = sum(survey.thing_sizes)
    if things and survey.thing_sizes[0] > _MANY_SMALL * things:
        share = 100 * survey.thing_sizes[0] / things
        yield f"{survey.split}: {share:.0f} % of the things are smaller than 32 x 32 px."
    crowds, objects = (
        int(survey.crowds.sum()),
        int(survey.crowds.sum() + survey.segments[survey.categories.isthing].sum()),
    )
    if crowds > _MANY_CROWDS * objects:
        yield (
            f"{survey.split}: {crowds} of {objects} objects are crowds, which are not learned. CVAT and Datumaro mark "
            "masks that were drawn with the brush as `iscrowd: 1`."
        )
    labelled = survey.pixels.sum()
    names = zip(survey.categories.names, survey.pixels.tolist(), strict=True)
    if rare := [name for name, pixels in names if 0 < pixels < _RARE * labelled]:
        yield f"{survey.split}: classes with less than 0.1 % of the labelled pixels: {_listed(rare)}."


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
