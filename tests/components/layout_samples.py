"""The same few scenes in the published layouts of all data sets, for tests: small and complete.

Every scene keeps its photo's pixels and its segments wherever it is written. Where a layout has a category file, the
categories are those of the drawn scenes; Cityscapes' label PNGs know Cityscapes' categories alone.
"""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from maskformer_model.data.panoptic_png import encode_panoptic_png, segment_extents
from maskformer_model.scenes import data_set, drawing

CATEGORIES = list(data_set.CATEGORIES)
CLASS_OF = {entry["name"]: index for index, entry in enumerate(CATEGORIES)}
# Cityscapes' label of each of the drawn scenes' categories.
CITYSCAPES_LABEL = {"sky": 23, "ball": 26, "grass": 21, "crate": 27, "tent": 24, "ring": 33, "water": 7}
_SPLITS = ("train", "val")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One scene: its number, its photo as a JPEG, its map and what its segments are (name, crowd), by id 1.."""

    number: int
    jpeg: bytes
    segment_map: np.ndarray
    segments: dict[int, tuple[str, bool]]

    @property
    def rgb(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.jpeg)))


def draw_samples(num_train: int, num_val: int, size_px: int = 48, seed: int = 11) -> dict[str, list[Sample]]:
    """The scenes of both splits."""
    counts = dict(zip(_SPLITS, (num_train, num_val), strict=True))
    return {
        split: [_draw(seed, stream, n, size_px) for n in range(counts[split])] for stream, split in enumerate(_SPLITS)
    }


def _draw(seed: int, stream: int, number: int, size_px: int) -> Sample:
    scene = drawing.draw_scene(np.random.default_rng([seed, stream, number]), size_px, size_px - 8)
    buffer = io.BytesIO()
    Image.fromarray(scene.photo).save(buffer, format="JPEG", quality=95)
    present = segment_extents(scene.segment_map)[0].tolist()
    names = {k: (scene.segments[k - 1].name, scene.segments[k - 1].iscrowd) for k in present}
    return Sample(number, buffer.getvalue(), scene.segment_map, names)


def write_coco(root: pathlib.Path, samples: dict[str, list[Sample]]) -> None:
    for split, scenes in samples.items():
        name = f"{split}2017"
        _write_photos(root / name, {f"{s.number:012d}.jpg": s.jpeg for s in scenes})
        folder = root / "annotations"
        _write_panoptic(folder / f"panoptic_{name}.json", folder / f"panoptic_{name}", scenes, "{:012d}", "{:012d}.jpg")


def write_ade20k_panoptic(root: pathlib.Path, samples: dict[str, list[Sample]]) -> None:
    for split, scenes in samples.items():
        stem = f"ADE_{split}_{{:08d}}"
        _write_photos(root / "images" / _LONG[split], {f"{stem.format(s.number)}.jpg": s.jpeg for s in scenes})
        name = f"ade20k_panoptic_{split}"
        # ADE20K counts its categories from 0.
        ids = {entry["id"]: place for place, entry in enumerate(CATEGORIES)}
        _write_panoptic(root / f"{name}.json", root / name, scenes, stem, stem + ".jpg", ids)


def write_cityscapes_panoptic(root: pathlib.Path, samples: dict[str, list[Sample]]) -> None:
    for split, scenes in samples.items():
        stem = "bonn_000000_{:06d}"
        photos = {f"bonn/{stem.format(s.number)}_leftImg8bit.png": _png(s.rgb) for s in scenes}
        _write_photos(root / "leftImg8bit" / split, photos)
        name = f"cityscapes_panoptic_{split}"
        folder = root / "gtFine"
        photo_name, png_name = stem + "_gtFine_leftImg8bit.png", stem + "_gtFine_panoptic.png"
        _write_panoptic(folder / f"{name}.json", folder / name, scenes, stem, photo_name, png_name=png_name)


def write_vistas_panoptic(root: pathlib.Path, samples: dict[str, list[Sample]], version: str = "v2.0") -> None:
    folder, year = {"v2.0": ("v2.0/panoptic", 2020), "v1.2": ("panoptic", 2018)}[version]
    for split, scenes in samples.items():
        base = root / _LONG[split]
        _write_photos(base / "images", {f"{s.number:022d}.jpg": s.jpeg for s in scenes})
        _write_panoptic(base / folder / f"panoptic_{year}.json", base / folder, scenes, "{:022d}", "{:022d}.jpg")


PANOPTIC_WRITERS = {
    "coco_panoptic": write_coco,
    "ade20k_panoptic": write_ade20k_panoptic,
    "cityscapes_panoptic": write_cityscapes_panoptic,
    "vistas_v2.0_panoptic": write_vistas_panoptic,
}


def write_ade20k_labels(root: pathlib.Path, samples: dict[str, list[Sample]]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rows = [f"{n + 1}\t0.1\t5\t6\t{1 - entry['isthing']}\t{entry['name']}, more" for n, entry in enumerate(CATEGORIES)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows, ""]))
    for split, scenes in samples.items():
        stem = f"ADE_{split}_{{:08d}}"
        _write_photos(root / "images" / _LONG[split], {f"{stem.format(s.number)}.jpg": s.jpeg for s in scenes})
        labels = {f"{stem.format(s.number)}.png": _png(semantic_map(s).astype(np.uint8)) for s in scenes}
        _write_photos(root / "annotations" / _LONG[split], labels)


def write_official_labels(root: pathlib.Path, samples: dict[str, list[Sample]], layout: str) -> None:
    """The last categories of ADE20K-Full or COCO-Stuff-10k, as the official preparation scripts write them."""
    names, suffix, void, num_classes = {
        "ade20k_full": (_LONG, ".tif", 65535, 847),
        "coco_stuff_10k": ({"train": "train", "val": "test"}, ".png", 255, 171),
    }[layout]
    for split, scenes in samples.items():
        _write_photos(root / "images_detectron2" / names[split], {f"{s.number:08d}.jpg": s.jpeg for s in scenes})
        labels = {}
        for s in scenes:
            classes = semantic_map(s) - 1 + num_classes - len(CATEGORIES)
            label_map = np.where(semantic_map(s) > 0, classes, void).astype(np.uint16 if suffix == ".tif" else np.uint8)
            labels[f"{s.number:08d}{suffix}"] = _image(label_map, "TIFF" if suffix == ".tif" else "PNG")
        _write_photos(root / "annotations_detectron2" / names[split], labels)


def write_cityscapes_labels(root: pathlib.Path, samples: dict[str, list[Sample]]) -> None:
    for split, scenes in samples.items():
        stem = "bonn_000000_{:06d}"
        photos = {f"bonn/{stem.format(s.number)}_leftImg8bit.png": _png(s.rgb) for s in scenes}
        _write_photos(root / "leftImg8bit" / split, photos)
        labels = {f"bonn/{stem.format(s.number)}_gtFine_instanceIds.png": _png(cityscapes_ids(s)) for s in scenes}
        _write_photos(root / "gtFine" / split, labels)
        plain = {f"bonn/{stem.format(s.number)}_gtFine_labelIds.png": _png(_cityscapes_labels(s)) for s in scenes}
        _write_photos(root / "gtFine" / split, plain)


def write_vistas_labels(root: pathlib.Path, samples: dict[str, list[Sample]], version: str = "v2.0") -> None:
    config, folder = {"v2.0": ("config_v2.0.json", "v2.0/instances"), "v1.2": ("config.json", "instances")}[version]
    root.mkdir(parents=True, exist_ok=True)
    labels = [
        {"name": f"x--{e['name']}", "readable": e["name"], "instances": bool(e["isthing"]), "evaluate": True}
        | {"color": e["color"]}
        for e in CATEGORIES
    ]
    unlabeled = {"name": "void--unlabeled", "readable": "Unlabeled", "instances": False, "evaluate": False}
    labels.append(unlabeled | {"color": [0, 0, 0]})
    (root / config).write_text(json.dumps({"labels": labels, "version": 1}))
    for split, scenes in samples.items():
        base = root / _LONG[split]
        _write_photos(base / "images", {f"{s.number:022d}.jpg": s.jpeg for s in scenes})
        _write_photos(base / folder, {f"{s.number:022d}.png": _png(vistas_ids(s)) for s in scenes})
        plain = {f"{s.number:022d}.png": _palette_png((vistas_ids(s) // 256).astype(np.uint8)) for s in scenes}
        _write_photos(base / folder.replace("instances", "labels"), plain)


def semantic_map(sample: Sample) -> np.ndarray:
    """0 void, else class index + 1."""
    table = [0] * (max(sample.segments) + 1)
    for k, (name, _) in sample.segments.items():
        table[k] = CLASS_OF[name] + 1
    return np.array(table, np.int32)[sample.segment_map]


def cityscapes_ids(sample: Sample) -> np.ndarray:
    """Cityscapes' instanceIds; void is label 3, out of roi."""
    return _instance_map(sample, lambda name, iscrowd, k: _cityscapes_id(name, iscrowd, k), void=3)


def _cityscapes_labels(sample: Sample) -> np.ndarray:
    ids = cityscapes_ids(sample)
    return np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)


def vistas_ids(sample: Sample) -> np.ndarray:
    """Vistas' instances; void is the last label."""
    return _instance_map(sample, lambda name, iscrowd, k: 256 * CLASS_OF[name] + (k if isthing(name) else 0), 256 * 7)


def isthing(name: str) -> bool:
    return bool(CATEGORIES[CLASS_OF[name]]["isthing"])


def _cityscapes_id(name: str, iscrowd: bool, k: int) -> int:
    label = CITYSCAPES_LABEL[name]
    return 1000 * label + k if isthing(name) and not iscrowd else label


def _instance_map(sample: Sample, number, void: int) -> np.ndarray:
    table = [void] * (max(sample.segments) + 1)
    for k, (name, iscrowd) in sample.segments.items():
        table[k] = number(name, iscrowd, k)
    return np.array(table, np.uint16)[sample.segment_map]


_LONG = {"train": "training", "val": "validation"}


def _png(array: np.ndarray) -> bytes:
    return _image(array, "PNG")


def _image(array: np.ndarray, image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=image_format)
    return buffer.getvalue()


def _palette_png(labels: np.ndarray) -> bytes:
    """As Vistas stores its labels: numbers, with a palette to look at."""
    image = Image.fromarray(labels)
    image.putpalette([value for entry in CATEGORIES for value in entry["color"]])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _write_photos(folder: pathlib.Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_panoptic(
    json_path: pathlib.Path,
    png_folder: pathlib.Path,
    scenes: list[Sample],
    stem: str,
    photo_name: str,
    category_ids: dict[int, int] | None = None,
    png_name: str = "",
) -> None:
    png_folder.mkdir(parents=True, exist_ok=True)
    new_id = category_ids or {entry["id"]: entry["id"] for entry in CATEGORIES}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        image_id = stem.format(scene.number)
        png = (png_name or stem + ".png").format(scene.number)
        (png_folder / png).write_bytes(encode_panoptic_png(scene.segment_map))
        height, width = scene.segment_map.shape
        images.append({"id": image_id, "file_name": photo_name.format(scene.number), "height": height, "width": width})
        segments = [
            {"id": k, "category_id": new_id[CATEGORIES[CLASS_OF[name]]["id"]], "iscrowd": int(iscrowd)}
            for k, (name, iscrowd) in scene.segments.items()
        ]
        annotations.append({"image_id": image_id, "file_name": png, "segments_info": segments})
    categories = [entry | {"id": new_id[entry["id"]]} for entry in CATEGORIES]
    json_path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
