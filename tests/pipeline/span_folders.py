"""Spans of generated scenes, for tests and for the simulated month."""

from __future__ import annotations

import json
import pathlib
import shutil

from components.coco_example_gen import data_manifest
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from maskformer_model.scenes.data_set import write_data_set


def write_span(
    folder, number: int, *, seed: int | None = None, num_train: int = 6, num_val: int = 3, **drawing
) -> pathlib.Path:
    """Draws a whole span, its manifest last."""
    path = pathlib.Path(folder, f"span-{number}")
    write_data_set(path, num_train=num_train, num_val=num_val, seed=number if seed is None else seed, **drawing)
    seal(path)
    return path


def copy_span(folder, origin: int, number: int) -> pathlib.Path:
    """Copies a span under another number, manifest and all."""
    return pathlib.Path(shutil.copytree(pathlib.Path(folder, f"span-{origin}"), pathlib.Path(folder, f"span-{number}")))


def seal(path) -> None:
    """Writes the manifest of a span as it is now."""
    sources = sources_of(str(path), IngestOptions()).values()
    data_manifest.write_manifest(
        str(pathlib.Path(path, data_manifest.MANIFEST_FILE)), data_manifest.build_manifest(str(path), sources)
    )


def change_annotations(path, change, splits=("train2017", "val2017")) -> None:
    """Changes the panoptic jsons of a span and seals it again."""
    for split in splits:
        file = pathlib.Path(path, "annotations", f"panoptic_{split}.json")
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
    seal(path)


def rename_a_class(document) -> None:
    """Other classes: what was a ball is a globe."""
    next(category for category in document["categories"] if category["name"] == "ball")["name"] = "globe"


def drift(document) -> None:
    """Another distribution of classes: every ball is a tent."""
    ids = {category["name"]: category["id"] for category in document["categories"]}
    for annotation in document["annotations"]:
        for segment in annotation["segments_info"]:
            if segment["category_id"] in (ids["ball"], ids["crate"], ids["ring"]):
                segment["category_id"] = ids["tent"]


def damage_photos(path, split: str = "train2017", every: int = 2) -> None:
    """Cuts photos short before the manifest is made: whole files, bad photos."""
    for photo in sorted(pathlib.Path(path, split).iterdir())[::every]:
        photo.write_bytes(photo.read_bytes()[:100])
    seal(path)
