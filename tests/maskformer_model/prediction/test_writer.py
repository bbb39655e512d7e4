"""What lies in the folder after two photos."""

import dataclasses
import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest

from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.prediction.annotation_files import LabelStudioTasks
from maskformer_model.prediction.results import InstanceResult, PanopticResult, Segment, SemanticResult
from maskformer_model.prediction.writer import PredictionWriter, unique_names
from tests.maskformer_model.helpers.small_export import CATEGORIES, encoded, photo

IDS = np.array([[1, 1, 0], [2, 2, 2]], np.int32)
CAT = Segment(
    id=1, category_id=5, class_index=0, name="cat", isthing=True, score=0.9, area_px=2, box_px=(0.0, 0.0, 2.0, 1.0)
)
SKY = Segment(
    id=2, category_id=9, class_index=1, name="sky", isthing=False, score=0.8, area_px=3, box_px=(0.0, 1.0, 3.0, 1.0)
)
SHARED = {"image_bytes": encoded(photo(2, 3)), "categories": CATEGORIES}
PANOPTIC = PanopticResult(segment_ids=IDS, segments=(CAT, SKY), **SHARED)
INSTANCES = InstanceResult(masks=(IDS == 1)[None], segments=(CAT,), **SHARED)


def test_photos_of_one_name_are_told_apart():
    assert unique_names(["a/x.jpg", "b/x.png", "c/x.jpg", "c/x-2.jpg"]) == {
        "a/x.jpg": "x",
        "b/x.png": "x-2",
        "c/x.jpg": "x-3",
        "c/x-2.jpg": "x-2-2",
    }


def test_a_coco_submission_lists_photos_segments_and_categories(tmp_path):
    writer = PredictionWriter(str(tmp_path), ["coco_panoptic", "overlay", "npz"], CATEGORIES, ["a/x.jpg", "b/x.jpg"])
    writer.write("a/x.jpg", 11, PANOPTIC)
    writer.write("b/x.jpg", 12, PANOPTIC)
    writer.finish()
    document = json.loads((tmp_path / "panoptic.json").read_text())
    assert [image["id"] for image in document["images"]] == [11, 12]
    assert [a["file_name"] for a in document["annotations"]] == ["x.png", "x-2.png"]
    assert document["annotations"][1]["segments_info"] == [
        {"id": 1, "category_id": 5, "area": 2, "bbox": [0, 0, 2, 1], "score": 0.9, "iscrowd": 0},
        {"id": 2, "category_id": 9, "area": 3, "bbox": [0, 1, 3, 1], "score": 0.8, "iscrowd": 0},
    ]
    assert [category["id"] for category in document["categories"]] == [5, 9, 2, 200]
    np.testing.assert_array_equal(decode_panoptic_png((tmp_path / "panoptic" / "x-2.png").read_bytes()), IDS)
    np.testing.assert_array_equal(np.load(tmp_path / "npz" / "x.npz")["areas_px"], [2, 3])
    assert {path.name for path in (tmp_path / "overlay").iterdir()} == {"x.jpg", "x-2.jpg"}


def test_instances_are_run_lengths_of_columns(tmp_path):
    pytest.importorskip("pycocotools")
    writer = PredictionWriter(str(tmp_path), ["coco_results"], CATEGORIES, ["x.jpg"])
    writer.write("x.jpg", 7, INSTANCES)
    writer.finish()
    (entry,) = json.loads((tmp_path / "instances.json").read_text())
    assert (entry["image_id"], entry["category_id"], entry["score"]) == (7, 5, 0.9)
    assert entry["segmentation"]["size"] == [2, 3]


def test_without_a_photo_there_is_an_empty_list(tmp_path):
    writer = PredictionWriter(str(tmp_path), ["coco_results", "coco_panoptic"], CATEGORIES, [])
    writer.finish()
    assert json.loads((tmp_path / "instances.json").read_text()) == []
    assert json.loads((tmp_path / "panoptic.json").read_text())["images"] == []


def test_a_semantic_result_keeps_its_classes():
    result = SemanticResult(class_map=np.array([[0, 3, 3], [1, 1, 1]], np.int32), **SHARED)
    np.testing.assert_array_equal(result.arrays()["class_map"], [[0, 3, 3], [1, 1, 1]])
    assert result.plot().size == (3, 2)


def test_files_for_labelling_tools_name_photos_from_their_common_folder(tmp_path):
    paths = ["a/x.jpg", "b/x.jpg"]
    writer = PredictionWriter(str(tmp_path), ["coco_instances", "cvat", "label_studio"], CATEGORIES, paths)
    for path in paths:
        writer.write(path, 0, PANOPTIC)
    writer.finish()
    document = json.loads((tmp_path / "annotations" / "instances_default.json").read_text())
    assert [(image["id"], image["file_name"]) for image in document["images"]] == [(1, "a/x.jpg"), (2, "b/x.jpg")]
    first = document["annotations"][0]
    assert (first["category_id"], first["area"], first["bbox"], first["score"]) == (5, 2, [0, 0, 2, 1], 0.9)
    assert [entry["id"] for entry in document["annotations"]] == [1, 2, 3, 4]
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert [image.get("name") for image in root.iter("image")] == paths
    # Rows of the cat's box: two pixels of it at once.
    assert [mask.get("rle") for mask in root.iter("mask")][:2] == ["0, 2", "0, 3"]
    assert [name.text for name in root.iter("name")] == list(CATEGORIES.names)
    [task, _] = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=a/x.jpg"
    assert [result["value"]["brushlabels"] for result in task["predictions"][0]["result"]] == [["cat"], ["sky"]]
    assert task["predictions"][0]["score"] == pytest.approx(0.85)
    config = ElementTree.parse(tmp_path / "label_config.xml").getroot()
    assert [label.get("value") for label in config.iter("Label")] == list(CATEGORIES.names)


def test_a_link_of_label_studio_is_quoted_whatever_bytes_the_name_has(tmp_path):
    tasks = LabelStudioTasks(CATEGORIES, "masks")
    for name in ("a/b+c & 1#.jpg", os.fsdecode(b"caf\xe9.jpg")):
        tasks.add(name, (2, 3), [])
    tasks.save(tmp_path)
    links = [task["data"]["image"] for task in json.loads((tmp_path / "tasks.json").read_text())]
    assert links == ["/data/local-files/?d=a/b%2Bc%20%26%201%23.jpg", "/data/local-files/?d=caf%E9.jpg"]


def test_polygons_instances_and_classes_for_labelling_tools(tmp_path):
    formats = ["coco_instances", "cvat", "label_studio"]
    weak = dataclasses.replace(CAT, score=0.2)
    unsure = dataclasses.replace(INSTANCES, masks=np.repeat(INSTANCES.masks, 2, axis=0), segments=(CAT, weak))
    classes = SemanticResult(class_map=np.where(IDS == 1, 0, 1), **SHARED)
    for name, result, num_regions in (("instances", unsure, 1), ("classes", classes, 2)):
        writer = PredictionWriter(str(tmp_path / name), formats, CATEGORIES, ["x.jpg"], "polygons")
        writer.write("x.jpg", 0, result)
        writer.finish()
        document = json.loads((tmp_path / name / "annotations" / "instances_default.json").read_text())
        assert len(document["annotations"]) == num_regions
        [[first, *_]] = [entry["segmentation"] for entry in document["annotations"][:1]]
        assert sorted(zip(first[::2], first[1::2], strict=True)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
        [task] = json.loads((tmp_path / name / "tasks.json").read_text())
        assert len(task["predictions"][0]["result"]) == num_regions
        assert (
            len(list(ElementTree.parse(tmp_path / name / "annotations.xml").getroot().iter("polygon"))) == num_regions
        )
