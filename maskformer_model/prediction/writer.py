"""Writes the results of many photos into a folder: overlays, COCO submissions, numpy archives.

| format        | what is written                                                                    |
|---------------|------------------------------------------------------------------------------------|
| overlay       | `overlay/NAME.jpg`                                                                 |
| npz           | `npz/NAME.npz`                                                                     |
| coco_panoptic | `panoptic/NAME.png` and `panoptic.json`, as COCO's panoptic server takes them       |
| coco_results  | `instances.json`, a COCO results file                                              |
| coco_instances, cvat, label_studio | for labelling tools, see `annotation_files`                  |

NAME is the photo's name without suffix, with a number where two photos share it.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from maskformer_model.categories import CategoryTable
from maskformer_model.prediction import annotation_files
from maskformer_model.prediction.annotation_files import MASKS
from maskformer_model.prediction.regions import regions_of
from maskformer_model.prediction.results import InstanceResult, PanopticResult, SemanticResult

Result = PanopticResult | SemanticResult | InstanceResult


class PredictionWriter:
    """Writes one photo after another, and what is about all of them at the end.

    Args:
        output_dir: Made where it does not exist.
        formats: Formats from the module's table.
        categories: The model's categories; a COCO panoptic json lists them.
        paths: All photos that will come, which fixes their names.
        shapes: "masks" or "polygons", for labelling tools.
    """

    def __init__(
        self,
        output_dir: str,
        formats: Sequence[str],
        categories: CategoryTable,
        paths: Sequence[str],
        shapes: str = MASKS,
    ):
        self.output_dir = pathlib.Path(output_dir)
        self.formats = formats
        self.categories = categories
        self.names = unique_names(paths)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.relative_names = relative_names(paths)
        self.annotation_files = [
            make(categories, shapes) for name, make in annotation_files.WRITERS.items() if name in formats
        ]
        os.makedirs(output_dir, exist_ok=True)
        for name, folder in (("overlay", "overlay"), ("npz", "npz"), ("coco_panoptic", "panoptic")):
            if name in formats:
                (self.output_dir / folder).mkdir(exist_ok=True)

    def write(self, path: str, image_id: int | str, result: Result) -> None:
        """Writes what belongs to one photo."""
        name = self.names[path]
        if "overlay" in self.formats:
            result.plot().save(self.output_dir / "overlay" / f"{name}.jpg", quality=92)
        if "npz" in self.formats:
            np.savez_compressed(self.output_dir / "npz" / f"{name}.npz", **result.arrays())  # type: ignore[arg-type]
        if "coco_panoptic" in self.formats and isinstance(result, PanopticResult):
            (self.output_dir / "panoptic" / f"{name}.png").write_bytes(result.coco_png())
            height, width = result.segment_ids.shape
            self.images.append({"id": image_id, "file_name": os.path.basename(path), "height": height, "width": width})
            self.annotations.append(result.coco_annotation(image_id, f"{name}.png"))
        if self.annotation_files:
            regions = list(regions_of(result))
            for file in self.annotation_files:
                file.add(self.relative_names[path], result.size_px, regions)
        if "coco_results" in self.formats and isinstance(result, InstanceResult):
            self.results.extend(result.coco_results(image_id))

    def finish(self) -> None:
        """Writes the files that are about all photos."""
        for file in self.annotation_files:
            file.save(self.output_dir)
        if "coco_panoptic" in self.formats:
            categories = self.categories.to_coco()
            document = {"images": self.images, "annotations": self.annotations, "categories": categories}
            (self.output_dir / "panoptic.json").write_text(json.dumps(document), encoding="utf-8")
        if "coco_results" in self.formats:
            (self.output_dir / "instances.json").write_text(json.dumps(self.results), encoding="utf-8")


def relative_names(paths: Sequence[str]) -> dict[str, str]:
    """Returns each photo's name as labelling tools know it: from the folder on that all photos have in common."""
    if not paths:
        return {}
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    return {path: pathlib.PurePath(os.path.relpath(os.path.abspath(path), folder)).as_posix() for path in paths}


def unique_names(paths: Sequence[str]) -> dict[str, str]:
    """Returns a file name without suffix for every photo; a later one of the same name gets a number."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem = pathlib.Path(path).stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names[path] = name
    return names
