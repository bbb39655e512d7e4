"""Writes results as the pre-annotations that labelling tools import, to be corrected there by people.

| format         | file                                | masks                       | polygons                      |
|----------------|-------------------------------------|-----------------------------|-------------------------------|
| coco_instances | `annotations/instances_default.json`| compressed run lengths      | COCO's lists of polygons      |
| cvat           | `annotations.xml`, "CVAT for images 1.1" | `<mask>`               | `<polygon>`                   |
| label_studio   | `tasks.json`, `label_config.xml`    | `brushlabels`               | `polygonlabels`               |

Masks are exact; polygons move an outline by at most a pixel. Scores are COCO's `score`, an attribute `score` in CVAT,
and a prediction's score in Label Studio.
"""

from __future__ import annotations

import json
import pathlib
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskformer_model.categories import CategoryTable
from maskformer_model.prediction.label_studio_rle import pack_mask
from maskformer_model.prediction.outlines import polygons_of
from maskformer_model.prediction.regions import Region

COCO_INSTANCES, CVAT, LABEL_STUDIO = "coco_instances", "cvat", "label_studio"
MASKS, POLYGONS = "masks", "polygons"
# Where Label Studio serves photos of its local storage; a quoted path follows.
LOCAL_FILES_PREFIX = "/data/local-files/?d="


class CocoInstances:
    """A COCO json of images, categories and annotations, with RLE or polygons."""

    def __init__(self, categories: CategoryTable, shapes: str):
        self._shapes = shapes
        listed = [{"id": int(c.id), "name": c.name, "supercategory": ""} for c in categories.categories]
        self._document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": listed}

    def add(self, file_name: str, size_px: tuple[int, int], regions: Sequence[Region]) -> None:
        """Adds a photo."""
        image_id = len(self._document["images"]) + 1
        height, width = size_px
        self._document["images"].append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for region in regions:
            annotation = {
                "id": len(self._document["annotations"]) + 1,
                "image_id": image_id,
                "category_id": region.category_id,
                "segmentation": self._segmentation(region.mask),
                "area": int(region.mask.sum()),
                "bbox": list(region.box_px),
                "iscrowd": 0,
                "score": region.score,
            }
            self._document["annotations"].append(annotation)

    def save(self, output_dir: pathlib.Path) -> None:
        """Writes the file."""
        folder = output_dir / "annotations"
        folder.mkdir(exist_ok=True)
        (folder / "instances_default.json").write_text(json.dumps(self._document), encoding="utf-8")

    def _segmentation(self, mask: np.ndarray) -> Any:
        if self._shapes == POLYGONS:
            return [[coordinate for point in ring for coordinate in point] for ring in polygons_of(mask)]
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": [int(edge) for edge in rle["size"]], "counts": rle["counts"].decode("ascii")}


class CvatXml:
    """An `annotations.xml` of CVAT."""

    def __init__(self, categories: CategoryTable, shapes: str):
        self._shapes = shapes
        self._root = ElementTree.Element("annotations")
        ElementTree.SubElement(self._root, "version").text = "1.1"
        labels = ElementTree.SubElement(_path(self._root, "meta", "task"), "labels")
        for name in categories.names:
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = name
            ElementTree.SubElement(label, "attributes")
        self._num_photos = 0

    def add(self, file_name: str, size_px: tuple[int, int], regions: Sequence[Region]) -> None:
        """Adds a photo."""
        numbers = {"id": str(self._num_photos), "width": str(size_px[1]), "height": str(size_px[0])}
        image = ElementTree.SubElement(self._root, "image", {"name": file_name} | numbers)
        self._num_photos += 1
        for region in regions:
            common = {"label": region.name, "source": "auto", "occluded": "0", "z_order": "0"}
            if self._shapes == POLYGONS:
                for ring in polygons_of(region.mask):
                    points = ";".join(f"{x}.00,{y}.00" for x, y in ring)
                    _score(ElementTree.SubElement(image, "polygon", common | {"points": points}), region.score)
                continue
            left, top, width, height = region.box_px
            part = region.mask[top : top + height, left : left + width].ravel()
            edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), part.size]
            counts = np.diff(edges).tolist()
            # Run lengths by rows within the box; the first one is of what is outside.
            rle = ", ".join(map(str, [0, *counts] if part[0] else counts))
            box = {"left": str(left), "top": str(top), "width": str(width), "height": str(height)}
            _score(ElementTree.SubElement(image, "mask", common | {"rle": rle} | box), region.score)

    def save(self, output_dir: pathlib.Path) -> None:
        """Writes the file."""
        ElementTree.indent(self._root)
        content = ElementTree.tostring(self._root, encoding="utf-8", xml_declaration=True)
        (output_dir / "annotations.xml").write_bytes(content)


class LabelStudioTasks:
    """A `tasks.json` of Label Studio with predictions, and the labelling interface that they need."""

    def __init__(self, categories: CategoryTable, shapes: str):
        self._names = categories.names
        self._shapes = shapes
        self._tasks: list[dict[str, Any]] = []

    def add(self, file_name: str, size_px: tuple[int, int], regions: Sequence[Region]) -> None:
        """Adds a photo."""
        height, width = size_px
        sizes = {"original_width": width, "original_height": height, "image_rotation": 0}
        results: list[dict[str, Any]] = []
        for region in regions:
            for value in self._values(region, size_px):
                kind = "polygonlabels" if self._shapes == POLYGONS else "brushlabels"
                names = {"id": f"region{len(results)}", "type": kind, "from_name": "label", "to_name": "image"}
                results.append(names | sizes | {"value": value | {kind: [region.name]}, "score": region.score})
        score = float(np.mean([region.score for region in regions])) if regions else 0.0
        prediction = {"model_version": "maskformer", "score": score, "result": results}
        # A name need not be UTF-8, and its bytes are quoted all the same.
        link = LOCAL_FILES_PREFIX + urllib.parse.quote(file_name, errors="surrogateescape")
        self._tasks.append({"data": {"image": link}, "predictions": [prediction]})

    def save(self, output_dir: pathlib.Path) -> None:
        """Writes both files."""
        (output_dir / "tasks.json").write_text(json.dumps(self._tasks), encoding="utf-8")
        view = ElementTree.Element("View")
        ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
        control = "PolygonLabels" if self._shapes == POLYGONS else "BrushLabels"
        labels = ElementTree.SubElement(view, control, {"name": "label", "toName": "image"})
        for name in self._names:
            ElementTree.SubElement(labels, "Label", {"value": name})
        ElementTree.indent(view)
        (output_dir / "label_config.xml").write_bytes(ElementTree.tostring(view, encoding="utf-8"))

    def _values(self, region: Region, size_px: tuple[int, int]) -> list[dict[str, Any]]:
        if self._shapes != POLYGONS:
            return [{"format": "rle", "rle": pack_mask(region.mask)}]
        height, width = size_px
        rings = polygons_of(region.mask)
        return [{"points": [[100 * x / width, 100 * y / height] for x, y in ring], "closed": True} for ring in rings]


WRITERS: dict[str, Callable[[CategoryTable, str], CocoInstances | CvatXml | LabelStudioTasks]] = {
    COCO_INSTANCES: CocoInstances,
    CVAT: CvatXml,
    LABEL_STUDIO: LabelStudioTasks,
}


def _path(root: ElementTree.Element, *names: str) -> ElementTree.Element:
    for name in names:
        root = ElementTree.SubElement(root, name)
    return root


def _score(shape: ElementTree.Element, score: float) -> None:
    ElementTree.SubElement(shape, "attribute", {"name": "score"}).text = f"{score:.3f}"
