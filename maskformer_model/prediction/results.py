"""A model's results for one photo, as numpy arrays and names, to draw, store or submit to COCO's server.

Needs no TensorFlow. Where results come from is `exported_model`'s business, how pictures are drawn `visualization`'s.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.data import panoptic_png, photo_files
from maskformer_model.prediction.visualization import DrawnSegment, draw_panoptic


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """A thing, or all of one kind of stuff.

    Attributes:
        id: Its value in the map, from 1; for instances its rank.
        category_id: The data set's number of the class.
        class_index: The dense number of the class.
        name: What a person calls the class.
        isthing: Whether the class is countable.
        score: In 0..1.
        area_px: Pixels.
        box_px: x, y, width, height.
    """

    id: int
    category_id: int
    class_index: int
    name: str
    isthing: bool
    score: float
    area_px: int
    box_px: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Result:
    """The common part of all results.

    Attributes:
        image_bytes: The photo that was segmented, a JPEG or PNG; maps are of its stored pixels.
        categories: Names and colours.
    """

    image_bytes: bytes = dataclasses.field(repr=False)
    categories: CategoryTable = dataclasses.field(repr=False)

    @functools.cached_property
    def image(self) -> np.ndarray:
        """Returns `[height, width, 3]` uint8 RGB."""
        return photo_files.decode(self.image_bytes)

    @property
    def size_px(self) -> tuple[int, int]:
        """Returns height and width of the photo."""
        return self.image.shape[0], self.image.shape[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanopticResult(_Result):
    """Every pixel's segment.

    Attributes:
        segment_ids: `[height, width]` int32, 0 = void.
        segments: The segments of the map.
    """

    segment_ids: np.ndarray = dataclasses.field(repr=False)
    segments: tuple[Segment, ...]

    def plot(self, opacity: float = 0.55, labels: bool = True) -> Image.Image:
        """Returns the photo under its segments' colours, with outlines, names and scores; notebooks show it."""
        drawn = [DrawnSegment(id=s.id, class_index=s.class_index, score=s.score) for s in self.segments]
        return Image.fromarray(
            draw_panoptic(self.image, self.segment_ids, drawn, self.categories, opacity=opacity, labels=labels)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What an `.npz` of the result holds."""
        return {"segment_ids": self.segment_ids, **_columns(self.segments)}

    def coco_annotation(self, image_id: int | str, file_name: str) -> dict[str, Any]:
        """Returns the entry of a COCO panoptic json whose PNG is called `file_name`."""
        info = [
            {
                "id": s.id,
                "category_id": s.category_id,
                "area": s.area_px,
                "bbox": [int(edge) for edge in s.box_px],
                "score": s.score,
                "iscrowd": 0,
            }
            for s in self.segments
        ]
        return {"image_id": image_id, "file_name": file_name, "segments_info": info}

    def coco_png(self) -> bytes:
        """Returns the COCO panoptic PNG of the map."""
        return panoptic_png.encode_panoptic_png(self.segment_ids)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SemanticResult(_Result):
    """Every pixel's class.

    Attributes:
        class_map: `[height, width]` int32, dense class indices.
    """

    class_map: np.ndarray = dataclasses.field(repr=False)

    def plot(self, opacity: float = 0.55, labels: bool = True) -> Image.Image:
        """Returns the photo under its classes' colours."""
        drawn = [DrawnSegment(id=int(c) + 1, class_index=int(c)) for c in np.unique(self.class_map)]
        return Image.fromarray(
            draw_panoptic(self.image, self.class_map + 1, drawn, self.categories, opacity=opacity, labels=labels)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What an `.npz` of the result holds."""
        return {"class_map": self.class_map}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceResult(_Result):
    """Single things, best first; they may overlap.

    Attributes:
        masks: `[instances, height, width]` bool.
        segments: One per mask; ids count from 1.
    """

    masks: np.ndarray = dataclasses.field(repr=False)
    segments: tuple[Segment, ...]

    def plot(self, opacity: float = 0.55, labels: bool = True, min_score: float = 0.5) -> Image.Image:
        """Returns the photo under the instances that score at least `min_score`, the best on top."""
        shown = [index for index, segment in enumerate(self.segments) if segment.score >= min_score]
        segment_ids = np.zeros(self.image.shape[:2], np.int32)
        for index in reversed(shown):
            segment_ids[self.masks[index]] = self.segments[index].id
        segments = [self.segments[index] for index in shown]
        drawn = [DrawnSegment(id=s.id, class_index=s.class_index, score=s.score) for s in segments]
        return Image.fromarray(
            draw_panoptic(self.image, segment_ids, drawn, self.categories, opacity=opacity, labels=labels)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What an `.npz` of the result holds."""
        return {"masks": self.masks, **_columns(self.segments)}

    def coco_results(self, image_id: int | str) -> list[dict[str, Any]]:
        """Returns the entries of a COCO instance results file."""
        from pycocotools import mask as coco_mask

        results = []
        for mask, segment in zip(self.masks, self.segments, strict=True):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            segmentation = {"size": [int(edge) for edge in rle["size"]], "counts": rle["counts"].decode("ascii")}
            entry = {"image_id": image_id, "category_id": segment.category_id, "segmentation": segmentation}
            results.append({**entry, "score": segment.score})
        return results


def _columns(segments: tuple[Segment, ...]) -> dict[str, np.ndarray]:
    return {
        "ids": np.array([s.id for s in segments], np.int32),
        "category_ids": np.array([s.category_id for s in segments], np.int32),
        "class_indices": np.array([s.class_index for s in segments], np.int32),
        "names": np.array([s.name for s in segments], str),
        "scores": np.array([s.score for s in segments], np.float32),
        "areas_px": np.array([s.area_px for s in segments], np.int64),
        "boxes_px": np.array([s.box_px for s in segments], np.float32).reshape(-1, 4),
    }
