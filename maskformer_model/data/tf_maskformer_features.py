"""Further keys of an Example that readers of tf-maskformer's TFRecords ask for: boxes, masks, three panoptic masks.

Everything in them can be had from the keys of `examples.py`; they are written on request. The numbering is that of
tf-maskformer: contiguous ids are ClassIndex + 1, and 0 is void.

| key                                      | type       | meaning                                                    |
|------------------------------------------|------------|------------------------------------------------------------|
| image/object/bbox/xmin, xmax, ymin, ymax | floats     | edges of each object's box, as shares of width and height  |
| image/object/class/label, text           | int64s, bytes | category id of the json, and its name                   |
| image/object/area, is_crowd              | floats, int64s | as the json says                                       |
| image/object/mask                        | bytes list | each object's mask, an 8-bit PNG of 0 and 1                |
| image/segmentation/class/encoded         | bytes      | PNG: 0 void, 1 things, category id - 90 for stuff          |
| image/panoptic/category_mask             | bytes      | PNG of category ids                                        |
| image/panoptic/instance_mask             | bytes      | PNG: things the segment's place + 1, stuff 0               |
| image/panoptic/contiguous_mask           | bytes      | PNG of contiguous ids                                      |
| image/panoptic/class_ids, instance_ids   | int64s     | contiguous id and number in the instance mask, per segment |
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import ObjectEntry
from maskformer_model.data import stated_extents
from maskformer_model.data.examples import SegmentRecord

THING_LABEL = 1
STUFF_OFFSET = 90  # COCO's last thing; its stuff begins at 92.
MAX_MASK_VALUE = 255


class MaskedObject(NamedTuple):
    """An object of an instances json that is to be written.

    Attributes:
        entry: with its `area` and `bbox`.
        mask: `[height, width]` bool; None where masks are not asked for and the json has none.
    """

    entry: ObjectEntry
    mask: np.ndarray | None


def check_categories(categories: CategoryTable) -> None:
    """Returns whether the categories can be written into 8-bit masks.

    Raises:
        ValueError: if an id is above 255, or the stuff's ids do not follow the things' as COCO's do.
    """
    if wrong := _unfit_ids(categories):
        raise ValueError(
            f"The masks of `--include_panoptic_masks` hold category ids in 1..{MAX_MASK_VALUE}, and stuff from "
            f"{STUFF_OFFSET + THING_LABEL + 1} on. Received the ids: {wrong[:10]}. Leave the flag out: all other keys "
            "take any ids."
        )


def fits_masks(categories: CategoryTable) -> bool:
    """Returns whether `check_categories` accepts them."""
    return not _unfit_ids(categories)


def _unfit_ids(categories: CategoryTable) -> list[int]:
    stuff = [int(c.id) - STUFF_OFFSET for c in categories.categories if not c.isthing]
    wrong = [value + STUFF_OFFSET for value in stuff if not THING_LABEL < value <= MAX_MASK_VALUE]
    wrong += [int(c.id) for c in categories.categories if not 0 < c.id <= MAX_MASK_VALUE]
    return sorted(set(wrong))


def object_features(
    objects: Sequence[MaskedObject],
    size_px: tuple[int, int],
    names: Mapping[int, str],
    *,
    include_masks: bool = False,
) -> dict[str, tf.train.Feature]:
    """Returns the `image/object/` keys; empty without objects.

    Args:
        objects: Those that `why_left_out` does not leave out; a box is cut at the photo's edge.
        size_px: height and width of the photo.
        names: The names of the categories, by id.
        include_masks: writes each object's mask.
    """
    if not objects:
        return {}
    height, width = size_px
    entries = [o.entry for o in objects]
    boxes = np.array([stated_extents.clipped(entry.bbox or (0, 0, 0, 0), size_px) for entry in entries], np.float64)
    left, top, right, bottom = boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    features = {
        "image/object/bbox/xmin": _floats(left / width),
        "image/object/bbox/xmax": _floats(right / width),
        "image/object/bbox/ymin": _floats(top / height),
        "image/object/bbox/ymax": _floats(bottom / height),
        "image/object/area": _floats([entry.area or 0 for entry in entries]),
        "image/object/class/label": _integers([entry.category_id for entry in entries]),
        "image/object/class/text": _bytes([names[entry.category_id].encode() for entry in entries]),
        "image/object/is_crowd": _integers([int(entry.iscrowd) for entry in entries]),
    }
    if include_masks:
        features["image/object/mask"] = _bytes([_png(o.mask) for o in objects if o.mask is not None])
    return features


def why_left_out(bbox: Sequence[float] | None, size_px: tuple[int, int], *, skip_outside: bool = False) -> str:
    """Returns why an object cannot be written, as a clause; empty if it can.

    Args:
        bbox: x, y, width, height in px; None where nothing says them.
        size_px: Height and width of the photo.
        skip_outside: Leaves out objects whose box leaves the photo, as tf-maskformer does.
    """
    box = stated_extents.clipped((bbox[0], bbox[1], bbox[2], bbox[3]) if bbox else (0, 0, 0, 0), size_px)
    if box[2] <= 0 or box[3] <= 0:
        return f"its `bbox` has no pixel in a photo of {size_px} px. Received: {bbox and list(bbox)}"
    if skip_outside and bbox is not None and not _is_inside(bbox, size_px):
        return f"its `bbox` leaves the photo of {size_px} px. Received: {list(bbox)}"
    return ""


def semantic_feature(segment_ids: np.ndarray, segments: Sequence[SegmentRecord]) -> dict[str, tf.train.Feature]:
    """`image/segmentation/class/encoded`.

    Args:
        segment_ids: `[height, width]` integers.
        segments: those to draw; what is not among them is void.
    """
    labels = [THING_LABEL if s.isthing else s.category_id - STUFF_OFFSET for s in segments]
    return {"image/segmentation/class/encoded": _bytes([_png(_recolored(segment_ids, segments, labels))])}


def panoptic_features(
    segment_ids: np.ndarray, segments: Sequence[SegmentRecord], instance_ids: Sequence[int]
) -> dict[str, tf.train.Feature]:
    """Returns the `image/panoptic/` masks and their lists.

    Args:
        segment_ids: `[height, width]` integers.
        segments: those to draw; what is not among them is void.
        instance_ids: The instance id of each segment, see `instance_ids_of`.
    """
    contiguous = [s.class_index + 1 for s in segments]

    def mask(values: Sequence[int]) -> tf.train.Feature:
        return _bytes([_png(_recolored(segment_ids, segments, values))])

    return {
        "image/panoptic/category_mask": mask([s.category_id for s in segments]),
        "image/panoptic/instance_mask": mask(instance_ids),
        "image/panoptic/contiguous_mask": mask(contiguous),
        "image/panoptic/class_ids": _integers(contiguous),
        "image/panoptic/instance_ids": _integers(instance_ids),
    }


def instance_ids_of(segments: Sequence[SegmentRecord]) -> list[int]:
    """Returns each thing's place + 1 among all segments, 0 for stuff.

    Raises:
        ValueError: if a number would not fit into an 8-bit mask.
    """
    ids = [place + 1 if segment.isthing else 0 for place, segment in enumerate(segments)]
    if max(ids, default=0) > MAX_MASK_VALUE:
        raise ValueError(f"An 8-bit instance mask holds numbers up to {MAX_MASK_VALUE}. Received: {max(ids)}")
    return ids


def _is_inside(box: Sequence[float], size_px: tuple[int, int]) -> bool:
    x, y, width, height = box
    return width > 0 and height > 0 and x + width <= size_px[1] and y + height <= size_px[0]


def _recolored(segment_ids: np.ndarray, segments: Sequence[SegmentRecord], values: Sequence[int]) -> np.ndarray:
    ids = np.array([0, *(s.id for s in segments)])
    order = np.argsort(ids)
    table = np.array([0, *values], np.uint8)[order]
    ids = ids[order]
    place = np.minimum(np.searchsorted(ids, segment_ids), len(ids) - 1)
    return np.where(ids[place] == segment_ids, table[place], 0).astype(np.uint8)


def _png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _integers(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Any) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
