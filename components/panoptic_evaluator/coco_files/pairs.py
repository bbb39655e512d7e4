"""Pairs two COCO panoptic data sets, truth and prediction, image by image; every fault in them is an error.

The official evaluation ignores some mistakes that change a score: a prediction for a photo that is not in the truth, a
second annotation of the same photo, other categories. Here each is reported.
`maskformer_model.metrics.segment_matching` checks the pixels when a pair is counted.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.panoptic_evaluator.coco_files.coco_json import read_panoptic_json
from components.panoptic_evaluator.coco_files.task_pool import map_tasks
from maskformer_model.categories import CategoryTable, TableMatch, compare_categories
from maskformer_model.data import panoptic_png, stated_extents
from maskformer_model.metrics.panoptic_quality import PanopticCounts, count_matches, segments_from_coco
from maskformer_model.metrics.segment_matching import MatchedSegment, match_segments

_MAX_NAMED = 5
_PAIRS_PER_TASK = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanopticDataset:
    """A COCO panoptic json with its folder of PNGs.

    Attributes:
        json_path: the json.
        folder: where its PNGs are.
        categories: the json's category list, as COCO has it; empty where a prediction has none.
        annotations: by image id, which is text, in the order of the json.
        sizes_px: (height, width) of an image as the json states it, by image id; may lack images.
    """

    json_path: str
    folder: pathlib.Path
    categories: Sequence[Mapping[str, Any]]
    annotations: Mapping[str, dict[str, Any]]
    sizes_px: Mapping[str, tuple[int, int]]

    @classmethod
    def load(cls, json_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticDataset:
        """Reads a json.

        Args:
            json_path: The path of the COCO panoptic json.
            folder: The folder of its PNGs; by default the one named like the json without its ending.

        Raises:
            FileNotFoundError: if json or folder is missing.
            ValueError: if the json is not one, a field is of another kind, or an image is annotated twice.
        """
        path = pathlib.Path(json_path)
        folder = pathlib.Path(folder or path.with_suffix(""))
        if not folder.is_dir():
            raise FileNotFoundError(f"{path} needs the folder of its PNGs. Not found: {folder}")
        document = read_panoptic_json(path)
        annotations = document["annotations"]
        repeated = [i for i, times in Counter(a["image_id"] for a in annotations).items() if times > 1]
        if repeated:
            raise ValueError(f"{path}: every image must be annotated once. Received more often, {_named(repeated)}")
        return cls(
            json_path=str(path),
            folder=folder,
            categories=document.get("categories") or [],
            annotations={annotation["image_id"]: annotation for annotation in annotations},
            sizes_px={
                image["id"]: (image["height"], image["width"])
                for image in document.get("images") or []
                if image["height"] and image["width"]
            },
        )

    def category_table(self, kinds: CategoryTable | None = None) -> CategoryTable:
        """Returns the json's categories.

        Args:
            kinds: says whether a category without `isthing` is a thing; without it such a category is an error.

        Raises:
            ValueError: if a category is malformed, or does not say whether it is a thing.
        """
        entries = list(self.categories)
        if kinds is not None:
            isthing: dict[str, bool] = {str(category.id): category.isthing for category in kinds.categories}
            entries = [{"isthing": isthing.get(str(entry.get("id")), True)} | dict(entry) for entry in entries]
        try:
            return CategoryTable.from_coco(entries, needs_isthing=True)
        except ValueError as error:
            raise ValueError(f"{self.json_path}: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePair:
    """The truth of one image and its prediction, as annotations of their jsons.

    Attributes:
        truth: The truth's annotation.
        prediction: The prediction's annotation.
        size_px: The (height, width) in the truth's json, or None.
    """

    truth: dict[str, Any]
    prediction: dict[str, Any]
    size_px: tuple[int, int] | None


def pair_images(truth: PanopticDataset, prediction: PanopticDataset) -> tuple[list[ImagePair], CategoryTable]:
    """Returns every image of the truth with its prediction, in the truth's order, and the truth's categories.

    Raises:
        ValueError: if the truth has no image or no categories, an image has no prediction, a prediction no image, or
            the two category lists disagree in an id, its name or its kind.
    """
    if not truth.categories:
        raise ValueError(f"{truth.json_path}: the truth must list its `categories`.")
    categories = truth.category_table()
    if not truth.annotations:
        raise ValueError(f"{truth.json_path}: there must be an annotated image to evaluate. Received none.")
    _check_categories(categories, prediction)
    missing = [image_id for image_id in truth.annotations if image_id not in prediction.annotations]
    unknown = [image_id for image_id in prediction.annotations if image_id not in truth.annotations]
    if missing:
        raise ValueError(
            f"{prediction.json_path}: no prediction for {len(missing)} images of the truth, {_named(missing)}"
            f"{_other_form(missing, unknown)}"
        )
    if unknown:
        raise ValueError(
            f"{prediction.json_path}: {len(unknown)} predictions are for images that are not in the truth, "
            f"{_named(unknown)}"
        )
    pairs = [
        ImagePair(truth=annotation, prediction=prediction.annotations[image_id], size_px=truth.sizes_px.get(image_id))
        for image_id, annotation in truth.annotations.items()
    ]
    return pairs, categories


def count_datasets(
    truth: PanopticDataset, prediction: PanopticDataset, num_workers: int = 1, areas: str = stated_extents.PIXELS
) -> tuple[PanopticCounts, CategoryTable]:
    """Counts all images, in separate processes if there is more than one worker.

    Sums are exact, so they do not depend on the number of workers. If a process dies, the images whose counts have
    not arrived are counted again, and none twice.

    Args:
        truth: what is true.
        prediction: what was predicted.
        num_workers: processes.
        areas: Which stated areas are trusted, see `stated_extents`.

    Raises:
        RuntimeError: if processes keep dying.
        ValueError, FileNotFoundError: from `pair_images` and `count_pairs`.
    """
    pairs, categories = pair_images(truth, prediction)
    tasks = [pairs[start : start + _PAIRS_PER_TASK] for start in range(0, len(pairs), _PAIRS_PER_TASK)]
    count = functools.partial(
        count_pairs, truth_dir=truth.folder, predicted_dir=prediction.folder, categories=categories, areas=areas
    )
    return sum(map_tasks(count, tasks, num_workers), PanopticCounts.zeros(categories.num_classes)), categories


def count_pairs(
    pairs: Sequence[ImagePair],
    truth_dir: pathlib.Path,
    predicted_dir: pathlib.Path,
    categories: CategoryTable,
    areas: str = stated_extents.PIXELS,
) -> PanopticCounts:
    """Reads the PNGs of some pairs, matches and counts them.

    Raises:
        FileNotFoundError: if a PNG is missing.
        ValueError: if a PNG is damaged, has another size than the truth, or disagrees with its json.
    """
    counts = PanopticCounts.zeros(categories.num_classes)
    for pair in pairs:
        maps, name = [], f"{pair.truth['file_name']} (id {pair.truth['image_id']})"
        for annotation, folder in ((pair.truth, truth_dir), (pair.prediction, predicted_dir)):
            path = folder / annotation["file_name"]
            try:
                maps.append(panoptic_png.decode_panoptic_png(path.read_bytes()))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
            if pair.size_px and maps[-1].shape != pair.size_px:
                raise ValueError(f"{path} must be of the photo's size {pair.size_px}. Received: {maps[-1].shape}")
        true_segments = _segments(pair.truth, categories, name, believes_areas=areas == stated_extents.JSON)
        predicted = _segments(pair.prediction, categories, name, believes_areas=False)
        matches = match_segments(maps[0], true_segments, maps[1], predicted, image_name=name)
        truth_px, predicted_px = (matches.intersections.sum(axis=axis)[1:].tolist() for axis in (1, 0))
        _check_extents(pair.truth, maps[0], truth_px, f"Image {name}: truth", areas)
        _check_extents(pair.prediction, maps[1], predicted_px, f"Image {name}: prediction", stated_extents.PIXELS)
        counts += count_matches(matches, true_segments, predicted, categories.num_classes)
    return counts


def _segments(
    annotation: dict[str, Any], categories: CategoryTable, name: str, *, believes_areas: bool
) -> list[MatchedSegment]:
    try:
        segments = segments_from_coco(annotation["segments_info"], categories)
    except KeyError as error:
        raise ValueError(f"Image {name}: {error.args[0]}") from error
    return segments if believes_areas else [MatchedSegment(*segment[:3]) for segment in segments]  # Without areas.


def _check_extents(
    annotation: dict[str, Any], segment_ids: np.ndarray, areas_px: Sequence[int], where: str, areas: str
) -> None:
    """Compares `area` and `bbox` of every segment with its pixels."""
    for segment, area_px in zip(annotation["segments_info"], areas_px, strict=True):
        if problem := stated_extents.area_problem(segment["area"], area_px, areas):
            raise ValueError(f"{where}: segment {segment['id']}: {problem}")
        box = segment["bbox"]
        if box is None or not area_px or stated_extents.holds_box(segment_ids, segment["id"], area_px, box):
            continue
        ids, _, boxes_px = panoptic_png.segment_extents(segment_ids)
        counted_px = boxes_px[ids.tolist().index(segment["id"])].tolist()
        if problem := stated_extents.box_problem(box, counted_px, areas):
            raise ValueError(f"{where}: segment {segment['id']}: {problem}")


def _check_categories(truth: CategoryTable, prediction: PanopticDataset) -> None:
    if not prediction.categories:
        return
    match, words = compare_categories(truth, prediction.category_table(truth), "in the truth", "in the prediction")
    if match == TableMatch.OTHER:  # Segments name their categories by id, so the order of the list is free.
        raise ValueError(f"{prediction.json_path}: the categories must be the truth's, but {words}")


def _other_form(missing: Sequence[str], unknown: Sequence[str]) -> str:
    """Words for ids that are the same but for zeros in front."""
    by_number = {image_id.lstrip("0"): image_id for image_id in unknown}
    if found := next((image_id for image_id in missing if image_id.lstrip("0") in by_number), None):
        theirs = by_number[found.lstrip("0")]
        return f". The ids are of two forms: {found!r} in the truth, {theirs!r} in the prediction; write one of them"
    return ""


def _named(image_ids: Sequence[str]) -> str:
    more = ", ..." if len(image_ids) > _MAX_NAMED else ""
    return f"image ids: {', '.join(map(str, image_ids[:_MAX_NAMED]))}{more}"
