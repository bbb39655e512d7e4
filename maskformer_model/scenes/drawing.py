"""Draws one generated scene: textured stuff, things that overlap and occlude, now and then a crowd, and void.

A scene is a picture that a small network can learn in minutes and that still has what makes COCO's panoptic photos
hard: objects of one class that touch, objects cut by others and by the frame, small ones, groups too dense to
separate, and pixels that nobody labelled. It is painted back to front at three times its size; the photo is the mean
of each 3 x 3 block, so edges are antialiased, and the truth is the block's centre, so every pixel has one exact id.
Writing scenes to files is left to `data_set`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image

SUPERSAMPLING = 3
THING_NAMES = ("ball", "crate", "tent", "ring")
STUFF_NAMES = ("sky", "grass", "water")
MIN_THING_DIAMETER_PX = 6

_MIN_VISIBLE_SHARE = 0.4
_MIN_VISIBLE_PX = 14
_MIN_STUFF_SHARE = 0.01
_PLACEMENT_TRIES = 12
_CROWD_PROBABILITY = 0.15
_VOID_PROBABILITY = 0.6
# Shares of small, medium and large things, and their diameters relative to the shorter edge.
_SIZE_SHARES = (0.12, 0.35, 0.53)
_SIZE_RANGES = ((0.065, 0.12), (0.12, 0.24), (0.24, 0.5))
_EVERYWHERE = (slice(None), slice(None))


@dataclasses.dataclass(frozen=True)
class SceneSegment:
    """What one segment of a scene is: a name of `THING_NAMES` or `STUFF_NAMES`, and whether it is a crowd."""

    name: str
    iscrowd: bool = False


@dataclasses.dataclass(frozen=True)
class Scene:
    """A photo and its truth.

    Attributes:
        photo: `[height, width, 3]` uint8 RGB.
        segment_map: `[height, width]` int32; 0 = void, k = `segments[k - 1]`. Every segment has a pixel.
        segments: what the segments are; at most one per stuff name.
    """

    photo: np.ndarray
    segment_map: np.ndarray
    segments: tuple[SceneSegment, ...]


def draw_scene(generator: np.random.Generator, height_px: int, width_px: int) -> Scene:
    """Draws a scene of 2 or 3 kinds of stuff and 2 to 5 things; a small frame may hold fewer.

    Args:
        generator: the only source of chance.
        height_px: at least 16.
        width_px: at least 16.

    Raises:
        ValueError: if the frame is smaller than 16 x 16 px.
    """
    if min(height_px, width_px) < 16:
        raise ValueError(f"A scene must be at least 16 x 16 px. Received: {height_px} x {width_px}")
    canvas = _Canvas(generator, height_px, width_px)
    _paint_stuff(canvas)
    if generator.random() < _VOID_PROBABILITY:
        _paint_void(canvas)
    if generator.random() < _CROWD_PROBABILITY:
        _paint_crowd(canvas)
    for _ in range(generator.integers(2, 6)):
        _paint_thing(canvas)
    return canvas.scene()


class _Canvas:
    """The supersampled picture under the brush.

    Attributes:
        color: `[3 height, 3 width, 3]` float32 in 0..255.
        index: `[3 height, 3 width]` int32; 0 = void, k = `segments[k - 1]`.
        full_area: pixels that each thing had when it was painted; 0 for void and stuff.
        visible_area: pixels that void and each segment still have.
    """

    def __init__(self, generator: np.random.Generator, height_px: int, width_px: int):
        self.generator = generator
        self.height, self.width = height_px * SUPERSAMPLING, width_px * SUPERSAMPLING
        self.unit = min(self.height, self.width)
        self.color = np.zeros((self.height, self.width, 3), np.float32)
        self.index = np.zeros((self.height, self.width), np.int32)
        self.segments: list[SceneSegment] = []
        self.full_area = [0]
        self.visible_area = [self.index.size]
        self.grain = self.noise(2, 2)
        self.rows, self.columns = (axis.astype(np.float32) for axis in np.ogrid[0 : self.height, 0 : self.width])

    def add(self, segment: SceneSegment) -> int:
        """Announces a segment without a pixel and returns its index."""
        self.segments.append(segment)
        self.full_area.append(0)
        self.visible_area.append(0)
        return len(self.segments)

    def paint(self, region: tuple[slice, slice], mask: np.ndarray, texture: np.ndarray, index: int) -> None:
        """Gives the masked pixels of a region the texture's colours and one index."""
        for covered, area in enumerate(self._areas_under(region, mask)):
            self.visible_area[covered] -= int(area)
        self.visible_area[index] += int(np.count_nonzero(mask))
        np.copyto(self.color[region], texture, where=mask[..., None], casting="same_kind")
        self.index[region][mask] = index

    def noise(self, cell_height: float, cell_width: float) -> np.ndarray:
        """Returns `[3 height, 3 width]` float32 in -1..1 whose bumps are about as large as a cell (in photo pixels)."""
        shape = [
            max(2, round(extent / (cell * SUPERSAMPLING)) + 1)
            for extent, cell in ((self.height, cell_height), (self.width, cell_width))
        ]
        coarse = Image.fromarray(self.generator.uniform(-1, 1, shape).astype(np.float32))
        return np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BILINEAR))

    def leaves_enough_visible(self, region: tuple[slice, slice], mask: np.ndarray) -> bool:
        """Returns whether every thing under `mask` stays recognisable if the mask is painted over it."""
        for covered, area in enumerate(self._areas_under(region, mask)):
            if area and self.full_area[covered]:
                left = self.visible_area[covered] - area
                if left < max(_MIN_VISIBLE_PX * SUPERSAMPLING**2, _MIN_VISIBLE_SHARE * self.full_area[covered]):
                    return False
        return True

    def _areas_under(self, region: tuple[slice, slice], mask: np.ndarray) -> np.ndarray:
        return np.bincount(self.index[region][mask], minlength=len(self.segments) + 1)

    def scene(self) -> Scene:
        """Reduces the canvas to the photo's size and drops what has no pixel left."""
        height, width, step = self.height // SUPERSAMPLING, self.width // SUPERSAMPLING, SUPERSAMPLING
        photo = self.color.reshape(height, step, width, step, 3).mean(axis=(1, 3))
        photo += 2 * self.generator.standard_normal(photo.shape, np.float32)
        index = self.index[step // 2 :: step, step // 2 :: step]
        areas = np.bincount(index.ravel(), minlength=len(self.segments) + 1)
        new_index = np.zeros(len(areas), np.int32)
        kept: list[SceneSegment] = []
        for old, segment in enumerate(self.segments, start=1):
            # Slivers of stuff are left unlabelled, as people leave them.
            if areas[old] > (_MIN_STUFF_SHARE * index.size if segment.name in STUFF_NAMES else 0):
                kept.append(segment)
                new_index[old] = len(kept)
        return Scene(np.clip(photo.round(), 0, 255).astype(np.uint8), new_index[index], tuple(kept))


def _paint_stuff(canvas: _Canvas) -> None:
    generator = canvas.generator
    ground, other = generator.permutation(["grass", "water"])
    _paint_texture(canvas, ground, np.ones_like(canvas.index, dtype=bool))
    has_sky = generator.random() < 0.65
    if not has_sky or generator.random() < 0.45:
        _paint_texture(canvas, other, _half_plane(canvas, angle=generator.uniform(0, 2 * np.pi), spread=0.25))
    if has_sky:
        _paint_texture(canvas, "sky", _half_plane(canvas, angle=generator.normal(-np.pi / 2, 0.15), spread=0.15))


def _half_plane(canvas: _Canvas, angle: float, spread: float) -> np.ndarray:
    """Returns `[3 height, 3 width]` bool: the side of a wavy line through about the middle that `angle` points to."""
    offset = canvas.generator.uniform(-spread, spread) * canvas.unit
    away = (canvas.columns - canvas.width / 2) * np.cos(angle) + (canvas.rows - canvas.height / 2) * np.sin(angle)
    return away + 0.06 * canvas.unit * canvas.noise(20, 20) > offset


def _paint_texture(canvas: _Canvas, name: str, mask: np.ndarray) -> None:
    texture = {"sky": _sky, "grass": _grass, "water": _water}[name](canvas)
    canvas.paint(_EVERYWHERE, mask, texture, canvas.add(SceneSegment(name)))


def _sky(canvas: _Canvas) -> np.ndarray:
    depth = (canvas.rows / canvas.height)[..., None]
    clear = _varied(canvas, 95, 150, 215, spread=8) + depth * _rgb(90, 60, 20)
    clouds = np.clip(canvas.noise(16, 28) * 1.3, 0, 1)[..., None]
    return clear + clouds * (_rgb(240, 240, 240) - clear)


def _grass(canvas: _Canvas) -> np.ndarray:
    blades = 26 * canvas.noise(4, 1.3) + 12 * canvas.noise(14, 14)
    return _varied(canvas, 78, 125, 48, spread=9) + blades[..., None] * _rgb(0.9, 1.0, 0.6)


def _water(canvas: _Canvas) -> np.ndarray:
    period = canvas.generator.uniform(4.5, 7) * SUPERSAMPLING
    waves = np.sin(2 * np.pi * canvas.rows / period + 2.5 * canvas.noise(10, 16))
    return _varied(canvas, 38, 82, 122, spread=8) + 20 * waves[..., None] * _rgb(0.7, 1.0, 1.0)


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32)


def _varied(canvas: _Canvas, red: float, green: float, blue: float, spread: float) -> np.ndarray:
    return _rgb(red, green, blue) + canvas.generator.normal(0, spread, 3).astype(np.float32)


def _paint_void(canvas: _Canvas) -> None:
    """Paints grey rubble that no class describes: 1 to 2 blobs, together about a tenth of the photo."""
    generator = canvas.generator
    rubble = _varied(canvas, 118, 118, 118, spread=5) + 30 * canvas.noise(3, 3)[..., None]
    for _ in range(generator.integers(1, 3)):
        radius = generator.uniform(0.14, 0.24) * canvas.unit
        row, column = generator.uniform(0, canvas.height), generator.uniform(0, canvas.width)
        distance = np.hypot(canvas.rows - row, canvas.columns - column)
        mask = distance < radius * (1 + 0.5 * canvas.noise(8, 8))
        canvas.paint(_EVERYWHERE, mask, rubble, 0)


def _paint_crowd(canvas: _Canvas) -> None:
    """Paints a dense group of one kind, too small to count, as one segment that includes the gaps."""
    generator = canvas.generator
    name = str(generator.choice(THING_NAMES))
    row, column = generator.uniform(0.2, 0.8) * canvas.height, generator.uniform(0.2, 0.8) * canvas.width
    index = canvas.add(SceneSegment(name, iscrowd=True))
    for _ in range(generator.integers(14, 26)):
        radius = generator.uniform(2.2, 3.0) * SUPERSAMPLING
        spread = generator.normal(0, 0.08 * canvas.unit, 2)
        thing = _Thing(name, row + spread[0], column + 1.6 * spread[1], radius, generator.uniform(0, 2 * np.pi))
        region, depth, texture = thing.render(canvas)
        canvas.paint(region, depth > -0.6, canvas.color[region], index)
        canvas.paint(region, depth > 0, texture, index)
    canvas.full_area[index] = canvas.visible_area[index]


def _paint_thing(canvas: _Canvas) -> None:
    """Paints a thing where it hides no other thing beyond recognition; paints none if no such place is found."""
    generator = canvas.generator
    for _ in range(_PLACEMENT_TRIES):
        low, high = _SIZE_RANGES[generator.choice(len(_SIZE_RANGES), p=_SIZE_SHARES)]
        diameter = max(generator.uniform(low, high) * canvas.unit, MIN_THING_DIAMETER_PX * SUPERSAMPLING)
        thing = _Thing(
            name=str(generator.choice(THING_NAMES)),
            row=generator.uniform(0, canvas.height),
            column=generator.uniform(0, canvas.width),
            radius=diameter / 2,
            angle=generator.uniform(0, 2 * np.pi),
        )
        region, depth, texture = thing.render(canvas)
        mask = depth > 0
        full_area = int(np.count_nonzero(mask))
        outside = full_area < 0.6 * _unit_area(thing.name) * thing.radius**2
        if not outside and canvas.leaves_enough_visible(region, mask):
            index = canvas.add(SceneSegment(thing.name))
            canvas.paint(region, mask, texture, index)
            canvas.full_area[index] = full_area
            return


@dataclasses.dataclass(frozen=True)
class _Thing:
    """A thing to paint; lengths in supersampled pixels."""

    name: str
    row: float
    column: float
    radius: float
    angle: float

    def render(self, canvas: _Canvas) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """Returns the region it touches, its depth there (radii inside its outline, negative outside), its colours."""
        reach = 1.7 * self.radius
        region = (
            slice(max(0, int(self.row - reach)), max(0, int(self.row + reach) + 1)),
            slice(max(0, int(self.column - reach)), max(0, int(self.column + reach) + 1)),
        )
        down = (canvas.rows[region[0]] + 0.5 - self.row) / self.radius
        right = (canvas.columns[:, region[1]] + 0.5 - self.column) / self.radius
        u = right * np.cos(self.angle) + down * np.sin(self.angle)
        v = down * np.cos(self.angle) - right * np.sin(self.angle)
        depth = _SHAPES[self.name](u, v)
        base = _contrasting_color(canvas.generator, canvas.color[region])
        shade = _shading(self.name, u, v, right, down) + 0.05 * canvas.grain[region]
        outline_width = min(0.9 * SUPERSAMPLING / self.radius, 0.12)
        shade = np.where(depth < outline_width, 0.4, shade)
        return region, depth, np.clip(base * shade[..., None], 0, 255).astype(np.float32)


def _ball(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 1 - np.hypot(u, v)


def _crate(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.88 - np.maximum(np.abs(u), np.abs(v))


def _tent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    slope = np.sqrt(3) / 2
    return 0.6 - np.maximum(v, np.maximum(slope * u - v / 2, -slope * u - v / 2))


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance = np.hypot(u, v)
    return np.minimum(1 - distance, distance - 0.48)


_SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ball": _ball,
    "crate": _crate,
    "tent": _tent,
    "ring": _ring,
}


def _unit_area(name: str) -> float:
    """Area of a shape of radius 1."""
    return {"ball": np.pi, "crate": 1.76**2, "tent": 3 * np.sqrt(3) * 0.6**2, "ring": np.pi * (1 - 0.48**2)}[name]


def _shading(name: str, u: np.ndarray, v: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Brightness of a shape's surface, around 1: round balls, planked crates, two-sided tents, plain rings."""
    if name == "ball":
        return 1.25 - 0.5 * np.hypot(right + 0.35, down + 0.35)
    if name == "crate":
        return 1 + 0.22 * np.sign(np.sin(2.2 * np.pi * u))
    if name == "tent":
        return 1 + 0.28 * np.sign(u)
    return np.ones_like(u)


def _contrasting_color(generator: np.random.Generator, surroundings: np.ndarray) -> np.ndarray:
    """Returns `[3]` float: the one of four random colours that is farthest from the mean of what is there."""
    hue, saturation, value = generator.random(4), generator.uniform(0.15, 1, 4), generator.uniform(0.5, 1, 4)
    ramps = np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    colors = 255 * value[:, None] * (1 - saturation[:, None] * (1 - ramps))
    background = surroundings.reshape(-1, 3).mean(axis=0) if surroundings.size else np.zeros(3)
    return colors[np.argmax(np.abs(colors - background).sum(axis=1))]
