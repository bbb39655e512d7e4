"""A field of a small data set is damaged: good records are written, bad ones are named, nothing ends in a traceback."""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from components.coco_example_gen.layouts.split_source import INSTANCES, PANOPTIC, SplitSource
from components.panoptic_evaluator import evaluate
from maskformer_model.data import panoptic_png
from tests.components.coco_example_gen.damages import DAMAGES, check_conversion, damage, fuzzed, places

HEIGHT, WIDTH, NUM_PHOTOS = 8, 10, 3
CATEGORIES = [
    {"id": 1, "name": "ball", "isthing": 1, "color": [250, 20, 20]},
    {"id": 92, "name": "sky", "isthing": 0, "color": [90, 160, 230]},
]


def documents() -> dict[str, dict[str, Any]]:
    """The jsons of a data set of three photos, each with a ball in the sky."""
    images = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(1, NUM_PHOTOS + 1)]
    sky = {"id": 7, "category_id": 92, "iscrowd": 0, "area": HEIGHT * WIDTH - 16, "bbox": [0, 0, WIDTH, HEIGHT]}
    ball = {"id": 9, "category_id": 1, "iscrowd": 0, "area": 16, "bbox": [2, 2, 4, 4]}
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 2 + 2, 4, 4, 4, 4, 4, 4, 4, HEIGHT * 5 - 6]}
    numbers = range(1, NUM_PHOTOS + 1)
    panoptic = [{"image_id": n, "file_name": f"{n}.png", "segments_info": [sky, ball]} for n in numbers]
    objects = [ball | {"id": n, "image_id": n, "segmentation": runs if n == 2 else square} for n in numbers]
    captions = [{"id": n, "image_id": n, "caption": "a ball"} for n in numbers]
    return copy.deepcopy(
        {
            "panoptic": {"images": images, "annotations": panoptic, "categories": CATEGORIES},
            "instances": {"images": images, "annotations": objects, "categories": CATEGORIES},
            "captions": {"images": images, "annotations": captions, "categories": []},
        }
    )


PLACES = [(name, place) for name, document in documents().items() for place in places(document)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed")
    for name in ("photos", "pngs", "work", "out"):
        (root / name).mkdir()
    ids = np.full((HEIGHT, WIDTH), 7, np.int32)
    ids[2:6, 2:6] = 9
    for number in range(1, NUM_PHOTOS + 1):
        noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(noise).save(root / "photos" / f"{number}.jpg")
        (root / "pngs" / f"{number}.png").write_bytes(panoptic_png.encode_panoptic_png(ids))
    return root


def write(folder: pathlib.Path, jsons: dict[str, dict[str, Any]]) -> None:
    for name, document in jsons.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def source_of(folder: pathlib.Path, truth: str) -> SplitSource:
    name = "panoptic" if truth == PANOPTIC else "instances"
    return SplitSource(
        layout="fuzzed",
        truth=truth,
        photo_dirs=(str(folder / "photos"),),
        image_file=str(folder / f"{name}.json"),
        panoptic_file=str(folder / "panoptic.json") if truth == PANOPTIC else "",
        panoptic_dir=str(folder / "pngs") if truth == PANOPTIC else "",
        object_file=str(folder / "instances.json"),
        caption_file=str(folder / "captions.json"),
    )


@fuzzed(60)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(DAMAGES)), min_size=1, max_size=2))
def test_damaged_fields_cost_their_records_or_refuse_the_file(folder, damages):
    jsons = documents()
    for (name, place), value in damages:
        try:
            damage(jsons[name], place, value)
        except (KeyError, IndexError, TypeError):
            continue  # The first damage has removed the place of the second.
    write(folder, jsons)
    for truth in (PANOPTIC, INSTANCES):
        source = source_of(folder, truth)
        images = jsons["panoptic" if truth == PANOPTIC else "instances"].get("images")
        check_conversion(source, folder, len(images) if isinstance(images, list | dict) else 0)


@fuzzed(60)
@given(place=st.sampled_from([place for name, place in PLACES if name == "panoptic"]), value=st.sampled_from(DAMAGES))
def test_a_damaged_json_scores_as_the_truth_or_is_refused_in_a_line(folder, place, value):
    jsons = {"truth": documents()["panoptic"], "panoptic": documents()["panoptic"]}
    damage(jsons["panoptic"], place, value)
    write(folder, jsons)
    flags = ["--gt_folder", str(folder / "pngs"), "--pred_folder", str(folder / "pngs"), "--num_workers", "1"]
    for truth, prediction in (("truth", "panoptic"), ("panoptic", "truth")):
        output = folder / "numbers.json"
        files = ["--gt_json_file", f"{folder}/{truth}.json", "--pred_json_file", f"{folder}/{prediction}.json"]
        status = evaluate.main([*files, *flags, "--output", str(output)])
        assert status in (0, 2)
        if status == 0:
            assert json.loads(output.read_text())["summary"]["All"]["pq"] <= 1
