"""The same few photos with the same truth in the folders that labelling tools and people make, for tests.

Every photo has a ball (a square of 10 x 12 px) and a crate (of 8 x 8 px); photo k is moved by k px.
"""

from __future__ import annotations

import base64
import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 40
NAMES = ("ball", "crate")
COLORS = {"background": (0, 0, 0), "ball": (128, 0, 0), "crate": (0, 128, 0)}


def boxes(number: int) -> dict[str, tuple[int, int, int, int]]:
    """left, top, right, bottom of each object."""
    return {"ball": (2 + number, 3, 14 + number, 13), "crate": (25, 20, 33, 28)}


def polygon(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def class_map(number: int) -> np.ndarray:
    """0 background, 1 ball, 2 crate."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for value, name in enumerate(NAMES, 1):
        left, top, right, bottom = boxes(number)[name]
        labels[top:bottom, left:right] = value
    return labels


def write_photo(path: pathlib.Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def coco(numbers: range, name: str = "{}.jpg", first_id: int = 1) -> dict[str, Any]:
    """A COCO instances json whose ids begin with `first_id`."""
    images = [{"id": n, "file_name": name.format(n), "height": HEIGHT, "width": WIDTH} for n in numbers]
    objects = []
    for number in numbers:
        for place, (_, box) in enumerate(boxes(number).items()):
            left, top, right, bottom = box
            entry = {"id": 10 * number + place, "image_id": number, "category_id": first_id + place, "iscrowd": 0}
            area = (right - left) * (bottom - top)
            shape = [[float(v) for corner in polygon(box) for v in corner]]
            objects.append(
                entry | {"bbox": [left, top, right - left, bottom - top], "area": area, "segmentation": shape}
            )
    categories = [{"id": first_id + place, "name": label} for place, label in enumerate(NAMES)]
    return {"images": images, "annotations": objects, "categories": categories}


def write_json(path: pathlib.Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_photos(folder: pathlib.Path, numbers: range, ending: str = ".jpg") -> None:
    for number in numbers:
        write_photo(folder / f"{number}{ending}", number)


def roboflow(root: pathlib.Path) -> None:
    for split, numbers in (("train", range(4)), ("valid", range(4, 6)), ("test", range(6, 7))):
        write_photos(root / split, numbers)
        write_json(root / split / "_annotations.coco.json", coco(numbers, first_id=0))


def cvat(root: pathlib.Path) -> None:
    write_photos(root / "images" / "default", range(6))
    write_json(root / "annotations" / "instances_default.json", coco(range(6)))


def cvat_subsets(root: pathlib.Path) -> None:
    for subset, numbers in (("Train", range(4)), ("Validation", range(4, 6))):
        write_photos(root / "images" / subset, numbers)
        write_json(root / "annotations" / f"instances_{subset}.json", coco(numbers))


def label_studio_coco(root: pathlib.Path) -> None:
    write_photos(root / "images", range(6))
    write_json(root / "result.json", coco(range(6), "images/{}.jpg") | {"info": {"contributor": "Label Studio"}})


def label_studio_without_photos(root: pathlib.Path) -> None:
    """The json as the tool gives it, and the photos that somebody has put beside it."""
    write_photos(root / "photos", range(6))
    document = coco(range(6), "../../label-studio/data/media/upload/1/{}.jpg")
    write_json(root / "result.json", document | {"info": {"contributor": "Label Studio"}})


def fiftyone(root: pathlib.Path) -> None:
    write_photos(root / "data", range(6))
    write_json(root / "labels.json", coco(range(6)))


def supervisely(root: pathlib.Path) -> None:
    for dataset, numbers in (("train", range(4)), ("val", range(4, 6))):
        write_photos(root / dataset / "images", numbers)
        write_json(root / dataset / "annotations" / "instances.json", coco(numbers))


def via(root: pathlib.Path) -> None:
    write_photos(root, range(6))
    write_json(root / "via_project_28Nov2026_coco.json", coco(range(6)))


COCO_FORMS = {
    "Roboflow": roboflow,
    "CVAT or Datumaro": cvat,
    "Label Studio": label_studio_coco,
    "Supervisely": supervisely,
    "FiftyOne": fiftyone,
    "VIA": via,
}


def labelme(root: pathlib.Path) -> None:
    for number in range(6):
        write_photo(root / f"{number}.jpg", number)
        shapes = [
            {"label": label, "points": [list(p) for p in polygon(box)], "group_id": None, "shape_type": "polygon"}
            for label, box in boxes(number).items()
        ]
        write_json(root / f"{number}.json", labelme_json(number, shapes))


def labelme_json(number: int, shapes: list[dict[str, Any]]) -> dict[str, Any]:
    sizes = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": f"{number}.jpg", "imageData": None} | sizes


def label_pngs(root: pathlib.Path) -> None:
    """As people keep semantic masks: folders of a split, index PNGs, a text list of names."""
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        write_photos(root / split, numbers)
        for number in numbers:
            write_png(root / f"{split}_labels" / f"{number}.png", class_map(number))
    (root / "classes.txt").write_text("background\nball\ncrate\nVoid\n")


def roboflow_masks(root: pathlib.Path) -> None:
    for split, numbers in (("train", range(4)), ("valid", range(4, 6))):
        write_photos(root / split, numbers)
        for number in numbers:
            write_png(root / split / f"{number}_mask.png", class_map(number))
        (root / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, ball\n2, crate\n")


def cvat_masks(root: pathlib.Path) -> None:
    """CVAT's "Segmentation mask 1.1": colours of a labelmap, and objects in another PNG."""
    write_photos(root / "JPEGImages", range(6))
    for number in range(6):
        labels = class_map(number)
        palette = np.array(list(COLORS.values()), np.uint8)
        write_png(root / "SegmentationClass" / f"{number}.png", palette[labels])
        write_png(root / "SegmentationObject" / f"{number}.png", palette[labels])
    lines = [f"{name}:{','.join(map(str, color))}::" for name, color in sorted(COLORS.items())]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("".join(f"{n}\n" for n in range(6)))


LABEL_FORMS = {"label_pngs": label_pngs, "roboflow_masks": roboflow_masks, "cvat_masks": cvat_masks}


def write_png(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def base64_png(mask: np.ndarray) -> str:
    return base64.b64encode(png(mask.astype(np.uint8) * 255)).decode()
