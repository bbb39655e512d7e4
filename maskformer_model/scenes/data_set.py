"""The embedded data set: generated scenes in COCO's own files.

`write_data_set` writes real JPEGs, panoptic PNGs and the three COCO jsons (panoptic; instances with polygons for plain
things and run lengths for crowds and things with holes; captions), with what real data has to trip over: gaps in the
category ids, 24-bit segment ids, crowds, void, photos of different shapes and one grayscale JPEG per split. What a
scene looks like is decided in `scene_drawing`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import multiprocessing
import multiprocessing.pool
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maskformer_model.data.panoptic_png import encode_panoptic_png
from maskformer_model.scenes.drawing import Scene, draw_scene

CATEGORIES = (
    {"id": 92, "name": "sky", "isthing": 0, "color": [70, 130, 220], "supercategory": "stuff"},
    {"id": 1, "name": "ball", "isthing": 1, "color": [220, 20, 60], "supercategory": "thing"},
    {"id": 100, "name": "grass", "isthing": 0, "color": [96, 168, 64], "supercategory": "stuff"},
    {"id": 3, "name": "crate", "isthing": 1, "color": [250, 170, 30], "supercategory": "thing"},
    {"id": 7, "name": "tent", "isthing": 1, "color": [190, 80, 255], "supercategory": "thing"},
    {"id": 18, "name": "ring", "isthing": 1, "color": [0, 226, 252], "supercategory": "thing"},
    {"id": 119, "name": "water", "isthing": 0, "color": [28, 96, 140], "supercategory": "stuff"},
)
GRAYSCALE_INDEX = 4  # Which scene of a split is stored as a grayscale JPEG.

_JPEG_QUALITY = 92
_SPLIT_STREAMS = {"train2017": 0, "val2017": 1}
_ID_STEP = 2_654_435  # Scatters the ids of a scene over 24 bits, as COCO's are.
_CATEGORY_ID = {entry["name"]: entry["id"] for entry in CATEGORIES}


def write_data_set(
    directory: str | os.PathLike[str],
    *,
    num_train: int,
    num_val: int,
    size_px: int = 96,
    seed: int = 0,
    num_processes: int = 1,
) -> None:
    """Writes `train2017` and `val2017` in COCO's layout; the same arguments write the same bytes.

    A scene depends on the seed, its split and its number alone, so more training scenes do not change the others.

    Args:
        directory: Is made if it is missing; files of the same name are overwritten.
        num_train: Scenes in train2017.
        num_val: Scenes in val2017.
        size_px: Height and width; every fourth scene is a sixth shorter or narrower.
        seed: The seed of everything that is random.
        num_processes: How many processes draw; above 1, the caller's script has to guard its start with
            `if __name__ == "__main__"`, as `multiprocessing` asks.

    Raises:
        ValueError: if a number of scenes is negative or `size_px` is below 24.
    """
    if min(num_train, num_val) < 0 or size_px < 24:
        raise ValueError(
            "`num_train` and `num_val` must not be negative and `size_px` at least 24. "
            f"Received: {num_train}, {num_val}, {size_px}"
        )
    # Spawned, because a fork of a process that runs threads, as TensorFlow does, can hang.
    with (
        multiprocessing.get_context("spawn").Pool(num_processes) if num_processes > 1 else contextlib.nullcontext()
    ) as pool:
        for split, num_scenes in (("train2017", num_train), ("val2017", num_val)):
            write_scene = functools.partial(_write_scene, pathlib.Path(directory), split, size_px, seed)
            _write_split(pathlib.Path(directory), split, num_scenes, write_scene, pool)


def _write_split(
    root: pathlib.Path,
    split: str,
    num_scenes: int,
    write_scene: Callable[[int], _SceneEntries],
    pool: multiprocessing.pool.Pool | None,
) -> None:
    for folder in (root / split, root / "annotations" / f"panoptic_{split}"):
        folder.mkdir(parents=True, exist_ok=True)
    scenes = pool.map(write_scene, range(num_scenes)) if pool else [write_scene(index) for index in range(num_scenes)]
    instances = [entry for scene in scenes for entry in scene.instances]
    things = [entry for entry in CATEGORIES if entry["isthing"]]
    for kind, entries, categories in (
        ("panoptic", [scene.panoptic for scene in scenes], list(CATEGORIES)),
        ("instances", [{"id": number, **entry} for number, entry in enumerate(instances, start=1)], things),
        ("captions", [{"id": number, **scene.caption} for number, scene in enumerate(scenes, start=1)], None),
    ):
        images = [scene.image for scene in scenes]
        content = {"info": {"description": "generated scenes"}, "images": images, "annotations": entries}
        if categories is not None:
            content["categories"] = categories
        (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content), encoding="utf-8")


class _SceneEntries(NamedTuple):
    """What the jsons say of a scene; instances and caption still lack their ids."""

    image: dict[str, Any]
    panoptic: dict[str, Any]
    instances: list[dict[str, Any]]
    caption: dict[str, Any]


def _write_scene(root: pathlib.Path, split: str, size_px: int, seed: int, index: int) -> _SceneEntries:
    """Writes the photo and the panoptic PNG of scene number `index`."""
    generator = np.random.default_rng([seed, _SPLIT_STREAMS[split], index])
    scene = draw_scene(generator, *_size(index, size_px))
    image_id = 10 * index + 7 + 5_000_000 * _SPLIT_STREAMS[split]
    stem = f"{image_id:012d}"
    (root / split / f"{stem}.jpg").write_bytes(_encode_photo(scene.photo, gray=index == GRAYSCALE_INDEX))
    ids, segments = _coco_segments(scene, image_id)
    (root / "annotations" / f"panoptic_{split}" / f"{stem}.png").write_bytes(encode_panoptic_png(ids))
    height, width = ids.shape
    return _SceneEntries(
        image={"id": image_id, "file_name": f"{stem}.jpg", "height": height, "width": width, "license": 1},
        panoptic={"image_id": image_id, "file_name": f"{stem}.png", "segments_info": segments},
        instances=_instances(ids, segments, image_id),
        caption={"image_id": image_id, "caption": _caption(scene)},
    )


def _size(index: int, size_px: int) -> tuple[int, int]:
    shorter = size_px - size_px // 6
    return {1: (shorter, size_px), 3: (size_px, shorter)}.get(index % 8, (size_px, size_px))


def _encode_photo(photo: np.ndarray, gray: bool) -> bytes:
    image = Image.fromarray(photo)
    buffer = io.BytesIO()
    (image.convert("L") if gray else image).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _coco_segments(scene: Scene, image_id: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Returns the panoptic id of every pixel, `[height, width]` int32, and the json entries of the segments."""
    first = image_id * 97
    new_ids = [0] + [(first + k + 1) * _ID_STEP % (2**24 - 1) + 1 for k in range(len(scene.segments))]
    ids = np.array(new_ids, np.int32)[scene.segment_map]
    segments = []
    for segment, segment_id in zip(scene.segments, new_ids[1:], strict=True):
        mask = ids == segment_id
        segments.append(
            {
                "id": segment_id,
                "category_id": _CATEGORY_ID[segment.name],
                "iscrowd": int(segment.iscrowd),
                "area": int(mask.sum()),
                "bbox": _box(mask),
            }
        )
    return ids, segments


def _box(mask: np.ndarray) -> list[int]:
    """x, y, width, height in px of the True pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _instances(ids: np.ndarray, segments: list[dict[str, Any]], image_id: int) -> list[dict[str, Any]]:
    """Returns the things and crowds as annotations of an instances json, without their ids."""
    isthing = {entry["id"]: entry["isthing"] for entry in CATEGORIES}
    annotations: list[dict[str, Any]] = []
    for segment in segments:
        if isthing[segment["category_id"]]:
            mask = ids == segment["id"]
            outlines = _outlines(mask)
            # A mask with a hole is no set of plain polygons: the hole's outline runs the other way round.
            plain = not segment["iscrowd"] and all(_signed_area(outline) > 0 for outline in outlines)
            shape = outlines if plain else _run_lengths(mask)
            entry = {key: segment[key] for key in ("category_id", "iscrowd", "area", "bbox")}
            annotations.append({"image_id": image_id, "segmentation": shape, **entry})
    return annotations


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths: column by column, beginning with a run of zeros."""
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [0]])
    changes = np.flatnonzero(np.diff(flat))
    bounds = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(bounds).tolist()
    if counts[-1] == 0:
        counts.pop()
    return {"size": list(mask.shape), "counts": counts}


def _signed_area(outline: list[float]) -> float:
    """Area inside a flat x, y list; negative where it runs against the clock in the picture."""
    x, y = np.array(outline[0::2]), np.array(outline[1::2])
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _outlines(mask: np.ndarray) -> list[list[float]]:
    """Returns the outlines of the mask's parts and holes along pixel edges, as COCO's flat x, y lists."""
    # Directed edges with the mask on their right; each corner of the walk takes the sharpest right turn.
    padded = np.pad(mask, 1).astype(np.int8)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, column in zip(*np.nonzero(padded), strict=True):
        sides = (
            (padded[row - 1, column], (row, column), (row, column + 1)),
            (padded[row, column + 1], (row, column + 1), (row + 1, column + 1)),
            (padded[row + 1, column], (row + 1, column + 1), (row + 1, column)),
            (padded[row, column - 1], (row + 1, column), (row, column)),
        )
        for neighbour, start, end in sides:
            if not neighbour:
                edges.setdefault(start, []).append(end)
    outlines = []
    while edges:
        outlines.append(_walk(edges))
    return outlines


def _walk(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> list[float]:
    start = point = next(iter(edges))
    direction: tuple[int, int] | None = None
    corners: list[float] = []
    while True:
        ends = edges[point]
        # Where two parts touch at a corner, turning right stays on the same part.
        right = (direction[1], -direction[0]) if direction else None
        target = (point[0] + right[0], point[1] + right[1]) if right else None
        end = target if target in ends else ends[0]
        ends.remove(end)
        if not ends:
            del edges[point]
        new_direction = (end[0] - point[0], end[1] - point[1])
        if new_direction != direction:
            corners += [float(point[1] - 1), float(point[0] - 1)]
        point, direction = end, new_direction
        if point == start:
            return corners


def _caption(scene: Scene) -> str:
    names = sorted({segment.name for segment in scene.segments})
    return f"A generated scene with {', '.join(names)}."
