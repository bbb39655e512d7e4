"""Draws panoptic maps: a photo under its segments' colours, outlined and labelled, for 80 to 4000 px.

Colours are the data set's own (`CategoryTable.colors`); instances of a thing differ in lightness. What is drawn where
depends on the arguments alone. Reading photos, and pages around the pictures, are left to others.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskformer_model.categories import CategoryTable

# Lightness of the first, second, ... instance of a thing, then again from the start: share of white (+) or black (-).
_SHADES = (0.0, 0.35, -0.3, 0.6, -0.5, 0.2, -0.15, 0.48, -0.4)
_VOID_BRIGHTNESS = 0.4
_STRIPE_STRENGTH = 0.45
_MIN_FONT_PX = 8
_SEARCH_SIDE_PX = 192  # Places of labels are searched on a map of at most this size.


class MatchState(enum.Enum):
    """What an evaluation says about a segment; the value is what its label adds."""

    PLAIN = ""
    EXTRA = "extra"
    MISSED = "missed"
    CROWD = "crowd"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawnSegment:
    """One segment of a picture.

    Attributes:
        id: Its value in the map, positive.
        class_index: Dense class index.
        score: Printed in the label in percent, if any.
        state: `EXTRA` (a false positive) and `MISSED` (a false negative) are striped, and all but `PLAIN` say so.
    """

    id: int
    class_index: int
    score: float | None = None
    state: MatchState = MatchState.PLAIN


def draw_panoptic(
    image: np.ndarray,
    segment_ids: np.ndarray,
    segments: Sequence[DrawnSegment],
    categories: CategoryTable,
    *,
    opacity: float = 0.55,
    labels: bool = True,
) -> np.ndarray:
    """Draws segments over a photo. Void is dark and grey; a segment too small for its label has none.

    Args:
        image: `[height, width, 3]` uint8 RGB.
        segment_ids: `[height, width]` integers, 0 = void.
        segments: Every segment of the map; one without a pixel is not drawn.
        categories: Names and colours.
        opacity: The opacity of the colours, in 0..1.
        labels: Whether names are written.

    Returns:
        `[height, width, 3]` uint8 RGB.

    Raises:
        ValueError: if the photo is not uint8 RGB of the map's size, or the map holds an id that is not listed.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape != (*segment_ids.shape, 3):
        raise ValueError(
            f"`image` must be uint8 [height, width, 3] of the size of `segment_ids`. "
            f"Received: {image.dtype} {list(image.shape)} and a map of {list(segment_ids.shape)}"
        )
    if not segment_ids.size:
        return image.copy()
    rows = _rows(segment_ids, segments)
    drawn = _fill(image, rows, segments, categories, opacity)
    drawn[_outline(rows)] = 255
    if not labels:
        return drawn
    picture = Image.fromarray(drawn)
    _write_labels(picture, rows, [_label(segment, categories) for segment in segments])
    return np.asarray(picture).copy()


def segment_colors(segments: Sequence[DrawnSegment], categories: CategoryTable) -> np.ndarray:
    """Returns `[segments, 3]` uint8 RGB: the class's colour, in another shade for each further instance of a thing."""
    colors = []
    seen: Counter[int] = Counter()
    for segment in segments:
        shade = _SHADES[seen[segment.class_index] % len(_SHADES)] if categories.isthing[segment.class_index] else 0.0
        seen[segment.class_index] += 1
        color = categories.colors[segment.class_index].astype(np.float64)
        colors.append(color + abs(shade) * ((255.0 if shade > 0 else 0.0) - color))
    return np.array(colors).reshape(-1, 3).round().astype(np.uint8)


def _rows(segment_ids: np.ndarray, segments: Sequence[DrawnSegment]) -> np.ndarray:
    """Returns `[height, width]` int32: 0 for void, k for the k-th segment of the list."""
    listed = np.array([0, *(segment.id for segment in segments)])
    order = np.argsort(listed)
    position = np.minimum(np.searchsorted(listed[order], segment_ids), len(listed) - 1)
    rows = order.astype(np.int32)[position]
    unlisted = listed[rows] != segment_ids
    if unlisted.any():
        raise ValueError(
            "`segments` must list every id of `segment_ids`. "
            f"Received ids that are not listed: {np.unique(segment_ids[unlisted]).tolist()}"
        )
    return rows


def _fill(image, rows, segments, categories, opacity) -> np.ndarray:
    colors = np.concatenate([np.zeros((1, 3), np.uint8), segment_colors(segments, categories)])
    photo = Image.fromarray(image)
    drawn = np.asarray(Image.blend(photo, Image.fromarray(colors[rows]), opacity)).copy()
    void = rows == 0
    drawn[void] = (_VOID_BRIGHTNESS * np.asarray(photo.convert("L"))[void])[:, None]
    striped = [s.state in (MatchState.EXTRA, MatchState.MISSED) for s in segments]
    if any(striped):
        height, width = rows.shape
        period = 4 * _line_px(rows.shape) + 4
        on_stripe = (np.arange(height)[:, None] + np.arange(width)) % period < period // 2
        stripes = np.array([False, *striped])[rows] & on_stripe
        drawn[stripes] = (1 - _STRIPE_STRENGTH) * drawn[stripes] + _STRIPE_STRENGTH * 255
    return drawn


def _line_px(size_px: tuple[int, ...]) -> int:
    return max(1, round(min(size_px) / 400))


def _outline(rows: np.ndarray) -> np.ndarray:
    """Returns `[height, width]` bool, the pixels whose left or upper neighbour belongs to another segment."""
    outline = np.zeros(rows.shape, dtype=bool)
    for step in range(1, _line_px(rows.shape) + 1):
        outline[:, step:] |= rows[:, step:] != rows[:, :-step]
        outline[step:] |= rows[step:] != rows[:-step]
    return outline


def _label(segment: DrawnSegment, categories: CategoryTable) -> str:
    score = "" if segment.score is None else f" {segment.score:.0%}"
    state = f" ({segment.state.value})" if segment.state.value else ""
    return f"{categories.names[segment.class_index]}{score}{state}"


def _write_labels(picture: Image.Image, rows: np.ndarray, texts: Sequence[str]) -> None:
    """Writes each text inside its segment, largest segment first, where it fits beside those already written."""
    draw = ImageDraw.Draw(picture, "RGBA")
    step = max(1, -(-max(rows.shape) // _SEARCH_SIDE_PX))
    small = rows[step // 2 :: step, step // 2 :: step]
    depth = _depth(small)
    areas = np.bincount(rows.ravel(), minlength=len(texts) + 1)[1:]
    font_px = max(_MIN_FONT_PX + 2, round(0.03 * min(rows.shape)))
    taken = np.zeros(small.shape, dtype=bool)
    for index in sorted(np.flatnonzero(areas).tolist(), key=lambda index: -areas[index]):
        for size_px in (font_px, max(_MIN_FONT_PX, round(0.75 * font_px))):
            font = ImageFont.load_default(size_px)
            left, top, right, bottom = draw.textbbox((0, 0), texts[index], font=font)
            pad = max(1, size_px // 5)
            box_px = np.array([bottom - top + 2 * pad, right - left + 2 * pad])
            corner = _place(small == index + 1, depth, taken, box_px / step)
            if corner is None:
                continue
            y, x = np.clip(np.round(corner * step), 0, np.array(rows.shape) - box_px).astype(int).tolist()
            height, width = box_px.tolist()
            draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius=pad, fill=(0, 0, 0, 175))
            draw.text((x + pad - left, y + pad - top), texts[index], font=font, fill=(255, 255, 255, 255))
            taken[y // step : -(-(y + height) // step), x // step : -(-(x + width) // step)] = True
            break


def _depth(rows: np.ndarray) -> np.ndarray:
    """`[height, width]` int32: steps to the nearest pixel of another segment or beyond the frame, 1 at the edge."""
    depth = np.ones(rows.shape, np.int32)
    padded = np.pad(rows, 1, constant_values=-1)
    inside = np.logical_and.reduce([neighbour == rows for neighbour in _neighbours(padded)])
    while inside.any():
        depth += inside
        inside = np.logical_and.reduce([inside, *_neighbours(np.pad(inside, 1))])
    return depth


def _neighbours(padded: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the upper, lower, left and right neighbour of each pixel inside a frame of one pixel."""
    return padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]


def _place(mask: np.ndarray, depth: np.ndarray, taken: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Returns the upper left corner of a label on the search map, or None where it has no room.

    The label's middle is deep inside the segment and near its centre of mass; at least 60 % of the label must lie on
    the segment, covering at most 60 % of it, and none of it on another label.
    """
    pixels = np.argwhere(mask)
    if box.prod() > 0.6 * len(pixels) or (box > mask.shape).any():
        return None
    own_depth = depth[mask]
    deep = pixels[own_depth >= 0.6 * own_depth.max()]
    distance = ((deep - pixels.mean(axis=0)) ** 2).sum(axis=1)
    whole_box = np.ceil(box).astype(int)
    for middle in deep[np.argsort(distance, kind="stable")][:: max(1, len(deep) // 24)]:
        corner = np.clip(middle + 0.5 - box / 2, 0, mask.shape - box)
        y, x = np.floor(corner).astype(int)
        window = np.s_[y : y + whole_box[0] + 1, x : x + whole_box[1] + 1]
        if mask[window].mean() >= 0.6 and not taken[window].any():
            return corner
    return None
