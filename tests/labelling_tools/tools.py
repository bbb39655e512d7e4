"""Makes exports, and reads pre-annotations, with the packages of labelling tools; run by their own environment.

    python tools.py export PHOTOS MASKS.npz DIR     # DIR/cvat_coco, cvat_masks, label_studio, ..., labelme, fiftyone
    python tools.py cvat PHOTOS MASKS.npz DIR       # DIR/cvat_coco alone, and DIR/cvat_masks, DIR/datumaro_panoptic
    python tools.py read DIR MASKS.npz              # what the tools make of the pre-annotations in DIR

MASKS.npz holds a `[height, width]` bool array per photo and class, under `PHOTO/CLASS`. For `cvat` it may hold one per
object, under `PHOTO/CLASS#NUMBER`. Nothing of this project is
imported here.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image


def masks_of(path: str) -> dict[str, dict[str, np.ndarray]]:
    """By photo name: mask by class."""
    masks: dict[str, dict[str, np.ndarray]] = {}
    for key, mask in np.load(path).items():
        photo, name = key.rsplit("/", 1)
        masks.setdefault(photo, {})[name] = mask.astype(bool)
    return masks


def class_names(masks) -> list[str]:
    return sorted({class_of(name) for of_photo in masks.values() for name in of_photo})


def class_of(name: str) -> str:
    return name.partition("#")[0]


def export_with_datumaro(photos: pathlib.Path, masks, root: pathlib.Path) -> None:
    """CVAT's "COCO 1.0" and "Segmentation mask 1.1", which it writes by Datumaro: https://docs.cvat.ai."""
    import datumaro
    from datumaro.components.annotation import Mask

    names = class_names(masks)
    # CVAT's background is the first label of its masks.
    for folder, form, labels in (
        ("cvat_coco", "coco_instances", names),
        ("cvat_masks", "voc_segmentation", ["background", *names]),
        ("datumaro_panoptic", "coco_panoptic", names),
    ):
        items = [
            datumaro.DatasetItem(
                id=photo.rsplit(".", 1)[0],
                subset="default",
                media=datumaro.Image.from_file(str(photos / photo)),
                annotations=[
                    Mask(mask, label=labels.index(class_of(name)), id=n, group=n, attributes={"is_crowd": False})
                    for n, (name, mask) in enumerate(of_photo.items(), 1)
                ],
            )
            for photo, of_photo in masks.items()
        ]
        dataset = datumaro.Dataset.from_iterable(items, categories=labels)
        options = {"label_map": "source", "apply_colormap": True} if form == "voc_segmentation" else {}
        dataset.export(str(root / folder), form, save_media=True, **options)


def export_with_label_studio(photos: pathlib.Path, masks, root: pathlib.Path) -> None:
    """Label Studio's JSON with brush strokes, and its COCO with polygons, by the converter of its SDK."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.brush import mask2rle

    uploads = root / "uploads" / "1"
    uploads.mkdir(parents=True)
    for photo in masks:
        shutil.copy(photos / photo, uploads / f"0a1b2c3d-{photo}")
    for folder, kind, tag in (
        ("label_studio_json", "brushlabels", "Brush"),
        ("label_studio_coco", "polygonlabels", "Polygon"),
    ):
        tasks = []
        for number, (photo, of_photo) in enumerate(masks.items(), 1):
            results = []
            for name, mask in of_photo.items():
                height, width = mask.shape
                rows, columns = np.nonzero(mask)
                left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                corners = ((left, top), (right, top), (right, bottom), (left, bottom))
                value = {
                    "brushlabels": {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)},
                    "polygonlabels": {"points": [[100 * x / width, 100 * y / height] for x, y in corners]},
                }[kind] | {kind: [name]}
                sizes = {"original_width": width, "original_height": height, "image_rotation": 0}
                results.append(
                    {"id": name, "type": kind, "from_name": "tag", "to_name": "image", "value": value} | sizes
                )
            data = {"image": f"/data/upload/1/0a1b2c3d-{photo}"}
            tasks.append(
                {"id": number, "data": data, "annotations": [{"id": number, "completed_by": 1, "result": results}]}
            )
        file = root / f"{folder}.tasks"
        file.write_text(json.dumps(tasks))
        labels = "".join(f'<Label value="{name}"/>' for name in class_names(masks))
        control = f'<{tag}Labels name="tag" toName="image">{labels}</{tag}Labels>'
        config = f'<View><Image name="image" value="$image"/>{control}</View>'
        converter = Converter(config, None, upload_dir=str(root / "uploads"), download_resources=True)
        converter.convert(str(file), str(root / folder), "COCO" if kind == "polygonlabels" else "JSON", is_dir=False)
        # As the export's archive holds them: the photos beside the json.
        (root / folder / "images").mkdir(exist_ok=True)
        for photo in uploads.iterdir():
            shutil.copy(photo, root / folder / "images")
        file.unlink()
    shutil.rmtree(root / "uploads")


def export_with_labelme(photos: pathlib.Path, masks, root: pathlib.Path) -> None:
    """Labelme's jsons, with masks as its AI tools draw them."""
    from labelme import LabelFile

    folder = root / "labelme"
    folder.mkdir()
    for photo, of_photo in masks.items():
        shutil.copy(photos / photo, folder)
        shapes = []
        for name, mask in of_photo.items():
            rows, columns = np.nonzero(mask)
            left, top, right, bottom = columns.min(), rows.min(), columns.max(), rows.max()
            buffer = io.BytesIO()
            Image.fromarray(mask[top : bottom + 1, left : right + 1]).save(buffer, "PNG")
            points = [[float(left), float(top)], [float(right), float(bottom)]]
            shape = {"label": name, "points": points, "group_id": None, "shape_type": "mask", "flags": {}}
            shapes.append(shape | {"description": "", "mask": base64.b64encode(buffer.getvalue()).decode()})
        height, width = next(iter(of_photo.values())).shape
        content = (photos / photo).read_bytes()
        LabelFile().save(str(folder / f"{pathlib.Path(photo).stem}.json"), shapes, photo, height, width, content)


def export_with_fiftyone(photos: pathlib.Path, masks, root: pathlib.Path) -> None:
    """FiftyOne's COCO export."""
    import fiftyone
    from fiftyone.utils.coco import COCODetectionDatasetExporter

    exporter = COCODetectionDatasetExporter(
        export_dir=str(root / "fiftyone"), classes=class_names(masks), export_media=True
    )
    with exporter:
        for photo, of_photo in masks.items():
            metadata = fiftyone.ImageMetadata.build_for(str(photos / photo))
            detections = [
                fiftyone.Detection.from_mask(mask.astype(np.uint8) * 255, label=name) for name, mask in of_photo.items()
            ]
            exporter.export_sample(str(photos / photo), fiftyone.Detections(detections=detections), metadata=metadata)


def read_with_datumaro(root: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """The regions of our COCO and CVAT files; of one photo and class they are joined."""
    import datumaro
    from datumaro.components.annotation import AnnotationType

    for folder, form in (("coco_instances", "coco_instances"), ("cvat", "cvat")):
        for shapes in ("masks", "polygons"):
            path = root / f"{folder}_{shapes}"
            if not path.is_dir():
                continue
            dataset = datumaro.Dataset.import_from(str(path), form)
            labels = dataset.categories()[AnnotationType.label]
            for item in dataset:
                height, width = item.media.size
                for annotation in item.annotations:
                    if annotation.type == AnnotationType.bbox:
                        continue  # Of the same object.
                    is_mask = annotation.type == AnnotationType.mask
                    mask = annotation.image if is_mask else _filled(annotation.points, (height, width))
                    yield f"{folder}_{shapes}/{item.id}/{labels[annotation.label].name}", np.asarray(mask, bool)


def read_with_label_studio(root: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """The regions of our Label Studio tasks."""
    from label_studio_sdk.converter.brush import decode_rle

    for shapes in ("masks", "polygons"):
        if not (root / f"label_studio_{shapes}").is_dir():
            continue
        for task in json.loads((root / f"label_studio_{shapes}" / "tasks.json").read_text()):
            photo = pathlib.PurePath(task["data"]["image"].split("=")[-1]).stem
            for result in task["predictions"][0]["result"]:
                size = result["original_height"], result["original_width"]
                value = result["value"]
                if shapes == "masks":
                    mask = decode_rle(value["rle"]).reshape(*size, 4)[:, :, 3] > 0
                else:
                    mask = _filled([c * size[1 - i] / 100 for p in value["points"] for i, c in enumerate(p)], size)
                yield f"label_studio_{shapes}/{photo}/{value[result['type']][0]}", mask


def _filled(points, size) -> np.ndarray:
    from pycocotools import mask as coco_mask

    return coco_mask.decode(coco_mask.frPyObjects([[float(p) for p in points]], *map(int, size)))[:, :, 0].astype(bool)


def main() -> None:
    if sys.argv[1] in ("export", "cvat"):
        photos, masks, root = pathlib.Path(sys.argv[2]), masks_of(sys.argv[3]), pathlib.Path(sys.argv[4])
        root.mkdir(parents=True, exist_ok=True)
        export_with_datumaro(photos, masks, root)
        if sys.argv[1] == "cvat":
            return
        export_with_label_studio(photos, masks, root)
        export_with_labelme(photos, masks, root)
        if os.environ.get("WITH_FIFTYONE"):
            export_with_fiftyone(photos, masks, root)
        return
    found: dict[str, np.ndarray] = {}
    for read in (read_with_datumaro, read_with_label_studio):
        for key, mask in read(pathlib.Path(sys.argv[2])):
            found[key] = found.get(key, False) | mask
    np.savez_compressed(sys.argv[3], **found)


if __name__ == "__main__":
    main()
