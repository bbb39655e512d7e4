"""Two COCO panoptic data sets, truth and prediction, paired image by image; everything wrong with them is an error.

The official evaluation overlooks some mistakes that make a score look better or worse than it is: a prediction for a
photo that is not in the truth, a second annotation of the same photo, other categories. Here each is named. What pixels
say is checked in `maskformer_model.metrics.segment_matching`, when a pair is counted.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from components.panoptic_evaluator.coco_files.coco_json import read_panoptic_json
from components.panoptic_evaluator.coco_files.task_pool import map_tasks
from maskformer_model.categories import CategoryTable
from maskformer_model.data import panoptic_png
from maskformer_model.metrics.panoptic_quality import PanopticCounts, count_image, segments_from_coco
from maskformer_model.metrics.segment_matching import MatchedSegment

_MAX_NAMED = 5
_PAIRS_PER_TASK = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanopticDataset:
    """One COCO panoptic json with its folder of PNGs.

    Attributes:
        json_path: the json.
        folder: where its PNGs are.
        categories: the json's category list; None where a prediction has none.
        annotations: by image id, in the order of the json.
        sizes_px: (height, width) of an image as the json states it, by image id; may lack images.
    """

    json_path: str
    folder: pathlib.Path
    categories: CategoryTable | None
    annotations: Mapping[int, dict[str, Any]]
    sizes_px: Mapping[int, tuple[int, int]]

    @classmethod
    def load(cls, json_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticDataset:
        """Reads a json.

        Args:
            json_path: COCO panoptic json.
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
            categories=CategoryTable.from_coco(document["categories"]) if document.get("categories") else None,
            annotations={annotation["image_id"]: annotation for annotation in annotations},
            sizes_px={
                image["id"]: (image["height"], image["width"])
                for image in document.get("images") or []
                if "height" in image and "width" in image
            },
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagePair:
    """The truth of one image and its prediction, as annotations of their jsons.

    Attributes:
        truth: the truth's annotation.
        prediction: the prediction's.
        size_px: (height, width) as the truth's json states it, if it does.
    """

    truth: dict[str, Any]
    prediction: dict[str, Any]
    size_px: tuple[int, int] | None


def pair_images(truth: PanopticDataset, prediction: PanopticDataset) -> tuple[list[ImagePair], CategoryTable]:
    """Every image of the truth with its prediction, in the truth's order, and the truth's categories.

    Raises:
        ValueError: if the truth has no image or no categories, an image has no prediction, a prediction no image, or
            the two category lists disagree in an id, its name or its kind.
    """
    if truth.categories is None:
        raise ValueError(f"{truth.json_path}: the truth must list its `categories`.")
    if not truth.annotations:
        raise ValueError(f"{truth.json_path}: there must be an annotated image to evaluate. Received none.")
    _check_categories(truth.categories, prediction)
    missing = [image_id for image_id in truth.annotations if image_id not in prediction.annotations]
    if missing:
        raise ValueError(
            f"{prediction.json_path}: no prediction for {len(missing)} images of the truth, {_named(missing)}"
        )
    unknown = [image_id for image_id in prediction.annotations if image_id not in truth.annotations]
    if unknown:
        raise ValueError(
            f"{prediction.json_path}: {len(unknown)} predictions are for images that are not in the truth, "
            f"{_named(unknown)}"
        )
    pairs = [
        ImagePair(truth=annotation, prediction=prediction.annotations[image_id], size_px=truth.sizes_px.get(image_id))
        for image_id, annotation in truth.annotations.items()
    ]
    return pairs, truth.categories


def count_datasets(
    truth: PanopticDataset, prediction: PanopticDataset, num_workers: int = 1
) -> tuple[PanopticCounts, CategoryTable]:
    """Counts all images, in processes of their own where there is more than one worker.

    Sums are exact, so they do not depend on the number of workers. Where a process dies, the images whose counts have
    not arrived are counted again, and none twice.

    Raises:
        RuntimeError: if processes keep dying.
        ValueError, FileNotFoundError: as `pair_images` and `count_pairs`.
    """
    pairs, categories = pair_images(truth, prediction)
    tasks = [pairs[start : start + _PAIRS_PER_TASK] for start in range(0, len(pairs), _PAIRS_PER_TASK)]
    count = functools.partial(
        count_pairs, truth_dir=truth.folder, predicted_dir=prediction.folder, categories=categories
    )
    return sum(map_tasks(count, tasks, num_workers), PanopticCounts.zeros(categories.num_classes)), categories


def count_pairs(
    pairs: Sequence[ImagePair], truth_dir: pathlib.Path, predicted_dir: pathlib.Path, categories: CategoryTable
) -> PanopticCounts:
    """Reads the PNGs of some pairs, matches and counts them.

    Raises:
        FileNotFoundError: if a PNG is missing.
        ValueError: if a PNG is damaged, of another size than the truth states, or disagrees with its json.
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
        counts += count_image(
            maps[0],
            _segments(pair.truth, categories, name),
            maps[1],
            _segments(pair.prediction, categories, name),
            categories.num_classes,
            image_name=name,
        )
    return counts


def _segments(annotation: dict[str, Any], categories: CategoryTable, name: str) -> list[MatchedSegment]:
    try:
        return segments_from_coco(annotation["segments_info"], categories)
    except KeyError as error:
        raise ValueError(f"Image {name}: {error.args[0]}") from error


def _check_categories(truth: CategoryTable, prediction: PanopticDataset) -> None:
    if prediction.categories is None:
        return
    ours, theirs = (
        {int(c.id): (c.name, "thing" if c.isthing else "stuff") for c in table.categories}
        for table in (truth, prediction.categories)
    )
    for category_id in sorted(ours.keys() | theirs.keys()):
        if ours.get(category_id) != theirs.get(category_id):
            raise ValueError(
                f"{prediction.json_path}: the categories must be the truth's. Category {category_id} is "
                f"{theirs.get(category_id, 'absent')} instead of {ours.get(category_id, 'absent')}"
            )


def _named(image_ids: Sequence[int]) -> str:
    more = ", ..." if len(image_ids) > _MAX_NAMED else ""
    return f"image ids: {', '.join(map(str, image_ids[:_MAX_NAMED]))}{more}"
