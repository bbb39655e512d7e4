"""COCO's instances json without any PNG: polygons and run lengths -> a map of segments.

Overlap: crowds lie at the bottom, above them the objects from the largest to the smallest, so that a cup stays on its
table; of two of the same area the later of the json is on top. What nothing covers is void. An object that is too small
to cover a pixel is left out. An object that others cover whole, such as the first of two equal ones, is a fault of the
record.

Objects of a class that is stuff lie below all others and are one segment, whatever the json says of crowds; where
others cover all of it, the photo has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from components.coco_example_gen.kept_aside import BadRecordError, Notice
from maskformer_model.coco_schema import ObjectEntry, is_absent, is_number, shown
from maskformer_model.data import stated_extents

_MIN_NUMBERS = 6  # x and y of three points.


class ObjectShape(NamedTuple):
    """The pixels that an object covers.

    Attributes:
        mask: `[height, width]` bool.
        area_px: its pixels.
        bbox_px: x, y, width, height of its pixels.
        polygons: that were drawn; empty for run lengths.
        num_strays: polygons of fewer than three points that were left out.
    """

    mask: np.ndarray
    area_px: int
    bbox_px: tuple[float, float, float, float]
    polygons: list[list[float]]
    num_strays: int


class PaintedObjects(NamedTuple):
    """The objects of a photo as a map of segments.

    Attributes:
        ids: `[height, width]` int32 segment ids, 0 = void, k = the k-th object, or stuff of which it is the first part.
        segments_info: what COCO's `segments_info` says of them.
        notices: what was left out.
    """

    ids: np.ndarray
    segments_info: list[dict[str, Any]]
    notices: list[Notice]


def paint_objects(
    objects: Sequence[ObjectEntry], size_px: tuple[int, int], stuff: Set[int] = frozenset()
) -> PaintedObjects:
    """Draws the objects of a photo.

    Args:
        objects: The objects of the instances json.
        size_px: height and width of the photo.
        stuff: category ids of the classes that are stuff.

    Raises:
        BadRecordError: if an object is malformed, outside the photo, or hidden by others, or covers something else than
            its `area` and `bbox` say.
    """
    ids = np.zeros(size_px, np.int32)
    seen: set[Any] = set()
    shapes: dict[int, ObjectShape] = {}
    notices: list[Notice] = []
    for place, entry in enumerate(objects):
        if entry.id is not None and entry.id in seen:
            raise BadRecordError("repeated_segment_id", f"two objects have the id {entry.id}")
        seen.add(entry.id)
        shape = object_shape(entry.segmentation, size_px, entry.id)
        if shape.num_strays:
            detail = f"object {entry.id}: {shape.num_strays} of its polygons have fewer than three points"
            notices.append(Notice("stray_polygon", detail))
        if not shape.area_px:
            notices.append(Notice("object_without_pixels", f"object {entry.id} covers no pixel"))
            continue
        check_object_extent(entry, shape)
        shapes[place] = shape
    is_stuff = {place: objects[place].category_id in stuff for place in shapes}
    segment_of = _segments(objects, is_stuff)
    for place in sorted(
        shapes, key=lambda place: (not is_stuff[place], not objects[place].iscrowd, -shapes[place].area_px)
    ):
        ids[shapes[place].mask] = segment_of[place]
    counts = np.bincount(ids.ravel(), minlength=len(objects) + 1)
    covered = [place for place in shapes if counts[segment_of[place]] == 0]
    if hidden := [objects[place].id for place in covered if not is_stuff[place]]:
        raise BadRecordError("hidden_segment", f"other objects cover all of the objects with the ids {hidden[:10]}")
    notices += [Notice("object_without_pixels", f"others cover all of object {objects[p].id}") for p in covered]
    entries = [
        {
            "id": place + 1,
            "category_id": objects[place].category_id,
            "iscrowd": int(objects[place].iscrowd and not is_stuff[place]),
        }
        for place in shapes
        if segment_of[place] == place + 1 and place not in covered
    ]
    return PaintedObjects(ids, entries, notices)


def _segments(objects: Sequence[ObjectEntry], is_stuff: Mapping[int, bool]) -> dict[int, int]:
    """Returns the segment id of each object; the objects of a stuff class share that of the first."""
    first_of: dict[Any, int] = {}
    return {
        place: first_of.setdefault(objects[place].category_id, place + 1) if stuff else place + 1
        for place, stuff in is_stuff.items()
    }


def object_mask(segmentation: Any, size_px: tuple[int, int], object_id: Any = None) -> np.ndarray:
    """Draws one object's mask, `[height, width]` bool; arguments and errors are those of `object_shape`."""
    return object_shape(segmentation, size_px, object_id).mask


def object_shape(segmentation: Any, size_px: tuple[int, int], object_id: Any = None) -> ObjectShape:
    """Finds what one object covers; the mask is empty if the object is too small.

    Args:
        segmentation: a list of polygons, or a dict of run lengths, as COCO has them.
        size_px: height and width of the photo.
        object_id: for messages.

    Raises:
        BadRecordError: if it is malformed, of another size, or outside the photo.
    """
    from pycocotools import mask as coco_mask

    where = f"object {object_id}"
    polygons: list[list[float]] = []
    num_strays = 0
    if isinstance(segmentation, dict):
        counts = _checked_run_lengths(segmentation, size_px, where)
        encoded = coco_mask.frPyObjects({"size": list(size_px), "counts": counts}, *size_px)
    else:
        polygons = _checked_polygons(segmentation, where)
        num_strays = len(segmentation) - len(polygons)
        encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, *size_px))
    area_px = int(coco_mask.area(encoded))
    if not area_px and polygons and not any(_touches(polygon, size_px) for polygon in polygons):
        raise BadRecordError("polygon_outside_image", f"{where}: its polygons lie outside of {size_px} px")
    mask = coco_mask.decode(encoded).astype(bool)
    x, y, width, height = coco_mask.toBbox(encoded).tolist()
    return ObjectShape(mask, area_px, (x, y, width, height), polygons, num_strays)


def check_object_extent(entry: ObjectEntry, shape: ObjectShape) -> None:
    """Compares the json's `area` and `bbox` of an object with what it covers.

    Tools mean several things by them, and all are right: the area and the box of the pixels, those of the polygons
    before they are drawn (stray ones among them), those of a mask that was made into polygons, or the area of the box.

    Raises:
        BadRecordError: if they are none of these.
    """
    where = f"object {entry.id}"
    # A polygon's outline moves by up to a pixel when it is drawn.
    margin_px = 2.0 if shape.polygons else 1.0
    boxes = [shape.bbox_px]
    if shape.polygons:
        flat = entry.segmentation if isinstance(entry.segmentation, list) else []
        boxes += [_box_of(shape.polygons), _box_of([p for p in flat if len(p) >= 2])]
    boxes_px = [stated_extents.clipped(box, shape.mask.shape) for box in boxes]
    near_pixels = entry.area is not None and abs(entry.area - shape.area_px) <= 1.0 + 0.5 * sum(
        map(_length, shape.polygons)
    )
    if entry.bbox is not None:
        stated_px = stated_extents.clipped(entry.bbox, shape.mask.shape)
        same = any(stated_extents.is_same_box(stated_px, box, margin_px) for box in boxes_px)
        # Datumaro, and so CVAT, makes polygons of masks without their specks, and states the mask's box and area.
        of_mask = shape.polygons and near_pixels and stated_extents.holds(stated_px, boxes_px[0], margin_px)
        if not same and not of_mask:
            raise BadRecordError("bbox_mismatch", f"{where}: {stated_extents.box_words(entry.bbox, shape.bbox_px)}")
    if entry.area is None:
        return
    areas = [float(shape.area_px), *(box[2] * box[3] for box in (*boxes, *([entry.bbox] if entry.bbox else [])))]
    slack_px = 1.0 + 0.01 * shape.area_px
    if shape.polygons:
        areas += [_polygon_area(shape.polygons), abs(sum(map(_signed_area, shape.polygons)))]
    if not near_pixels and all(abs(entry.area - area) > slack_px for area in areas):
        raise BadRecordError("area_mismatch", f"{where}: {stated_extents.area_words(entry.area, shape.area_px)}")


def _checked_polygons(segmentation: Any, where: str) -> list[list[float]]:
    """Returns the polygons of three points or more; there is at least one."""
    if segmentation is None:
        raise BadRecordError("malformed_annotation", f"{where} has no `segmentation`")
    if not isinstance(segmentation, list):
        rule = "`segmentation` must be a list of polygons or a dict of run lengths"
        raise BadRecordError("malformed_annotation", f"{where}: {rule}. Received: {shown(segmentation)}")
    if not segmentation or all(part == [] for part in segmentation):
        raise BadRecordError("empty_polygon", f"{where}: it needs a polygon with points. Received: {segmentation[:5]}")
    rule = "`segmentation` must be a list of polygons, each a flat list [x1, y1, x2, y2, ...]"
    if not all(isinstance(part, list) for part in segmentation):
        form = "one flat list of numbers; put it into a list" if all(map(is_number, segmentation)) else "others"
        raise BadRecordError("malformed_polygon", f"{where}: {rule}. Received {form}: {shown(segmentation)}")
    for polygon in segmentation:
        if not all(map(is_number, polygon)) or len(polygon) % 2:
            found = "NaN or null" if any(map(is_absent, polygon)) else "no numbers, or half a point"
            raise BadRecordError("malformed_polygon", f"{where}: {rule}. Received {found}: {shown(polygon)}")
        if polygon and max(map(abs, polygon)) > 1e6:
            corner = shown(max(polygon, key=abs))
            raise BadRecordError("polygon_outside_image", f"{where}: a polygon has the corner {corner}")
    polygons = [polygon for polygon in segmentation if len(polygon) >= _MIN_NUMBERS]
    if not polygons:
        hint = "; these are points, each in a list of its own" if len(segmentation) > 2 else ""
        rule = f"a polygon must be x, y of three points or more{hint}"
        raise BadRecordError("malformed_polygon", f"{where}: {rule}. Received: {shown(segmentation)}")
    return polygons


def _touches(polygon: list[float], size_px: tuple[int, int]) -> bool:
    xs, ys = polygon[0::2], polygon[1::2]
    return min(xs) < size_px[1] and max(xs) > 0 and min(ys) < size_px[0] and max(ys) > 0


def _box_of(polygons: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _signed_area(polygon: Sequence[float]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    return 0.5 * sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(len(xs)))


def _polygon_area(polygons: Sequence[Sequence[float]]) -> float:
    return sum(abs(_signed_area(polygon)) for polygon in polygons)


def _length(polygon: Sequence[float]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    return sum(math.hypot(xs[k] - xs[k - 1], ys[k] - ys[k - 1]) for k in range(len(xs)))


def _checked_run_lengths(segmentation: dict[str, Any], size_px: tuple[int, int], where: str) -> list[int]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or size != list(size_px):
        raise BadRecordError("rle_size_mismatch", f"{where}: run lengths of {shown(size)} px, photo of {size_px} px")
    if isinstance(counts, str):
        counts = _expand(counts, where)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise BadRecordError("malformed_annotation", f"{where}: `counts` must be run lengths, not {shown(counts)}")
    # Checked before anything is decoded: pycocotools trusts them and writes past the mask's end.
    if sum(counts) != size_px[0] * size_px[1]:
        raise BadRecordError("rle_size_mismatch", f"{where}: its runs add up to {shown(sum(counts))} of {size_px} px")
    return counts


def _expand(text: str, where: str) -> list[int]:
    """COCO's compressed run lengths: five bits a character, lowest first; from the fourth on relative to the last but
    one.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise BadRecordError("malformed_annotation", f"{where}: {character!r} is no character of run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise BadRecordError("malformed_annotation", f"{where}: its run lengths are truncated")
    return counts
