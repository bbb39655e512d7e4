"""labelme's and Label Studio's jsons as COCO's lists: shapes, groups, sizes, names, damage."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.instance_masks import object_mask
from components.coco_example_gen.records.tool_lists import tool_list
from maskformer_model.prediction.label_studio_rle import pack_mask
from tests.components.coco_example_gen import folder_forms

SIZE = (folder_forms.HEIGHT, folder_forms.WIDTH)


def labelme(root, *shapes, number=0):
    folder_forms.write_json(root / f"{number}.json", folder_forms.labelme_json(number, list(shapes)))
    return {name: list(tool_list(f"labelme:{root}|", name)) for name in ("images", "annotations", "categories")}


def shape(label, kind, points, group=None, **more):
    return {"label": label, "points": points, "group_id": group, "shape_type": kind} | more


def test_labelme_shapes_of_every_kind(tmp_path):
    mask = np.zeros((3, 5), bool)
    mask[1, 1:4] = True
    lists = labelme(
        tmp_path,
        shape("a", "rectangle", [[2, 3], [6, 8]]),
        shape("b", "circle", [[20, 15], [20, 20]]),
        shape("c", "mask", [[10.0, 20.0], [14.0, 22.0]], mask=folder_forms.base64_png(mask)),
        shape("__ignore__", "polygon", [[0, 0], [9, 0], [9, 9]]),
    )
    masks = [object_mask(entry["segmentation"], SIZE) for entry in lists["annotations"]]
    expected = np.zeros(SIZE, bool)
    expected[3:8, 2:6] = True
    np.testing.assert_array_equal(masks[0], expected)
    assert abs(masks[1].sum() - np.pi * 25) < 6
    assert np.argwhere(masks[2]).tolist() == [[21, 11], [21, 12], [21, 13]]
    assert [entry["name"] for entry in lists["categories"]] == ["a", "b", "c"]
    assert lists["images"] == [{"id": "0", "file_name": "0.jpg", "height": SIZE[0], "width": SIZE[1]}]


def test_labelme_shapes_of_one_group_and_label_are_one_object(tmp_path):
    square, other = [[0, 0], [4, 0], [4, 4], [0, 4]], [[10, 0], [14, 0], [14, 4], [10, 4]]
    lists = labelme(
        tmp_path, shape("a", "polygon", square, 1), shape("a", "polygon", other, 1), shape("a", "polygon", square)
    )
    assert [object_mask(entry["segmentation"], SIZE).sum() for entry in lists["annotations"]] == [32, 16]


def test_labelme_classes_are_those_of_all_splits_and_only_the_part_s_photos_are_listed(tmp_path):
    square = [[0, 0], [4, 0], [4, 4]]
    for split, label in (("train", "b"), ("val", "a")):
        document = folder_forms.labelme_json(0, [shape(label, "polygon", square)]) | {"imagePath": "..\\photos\\0.jpg"}
        folder_forms.write_json(tmp_path / split / "0.json", document)
    address = f"labelme:{tmp_path}|val"
    assert [entry["name"] for entry in tool_list(address, "categories")] == ["a", "b"]
    assert [entry["file_name"] for entry in tool_list(address, "images")] == ["photos/0.jpg"]
    assert [entry["category_id"] for entry in tool_list(address, "annotations")] == [1]


def test_a_line_and_a_damaged_mask_cost_their_photo_and_not_the_job(tmp_path):
    lists = labelme(tmp_path, shape("a", "line", [[0, 0], [4, 4]]), shape("a", "mask", [[0, 0], [1, 1]], mask="%%"))
    for entry in lists["annotations"]:
        with pytest.raises(BadRecordError):
            object_mask(entry["segmentation"], SIZE)
    (tmp_path / "1.json").write_text('{"shapes": 3, "imagePath": "1.jpg"}')
    with pytest.raises(ValueError, match="1.json fails with"):
        list(tool_list(f"labelme:{tmp_path}|", "images"))


def task(number, *results, image="/data/upload/1/0a1b2c3d-{}.jpg", **more):
    annotation = {"id": 1, "result": list(results)} | more
    return {"id": number, "data": {"image": image.format(number)}, "annotations": [annotation]}


def result(kind, value, label="a"):
    sizes = {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"type": kind, "value": value | {kind: [label]}, "from_name": "x", "to_name": "image"} | sizes


def label_studio(root, *tasks):
    folder_forms.write_json(root / "export.json", list(tasks))
    address = f"label_studio:{root}|export.json"
    return {name: list(tool_list(address, name)) for name in ("images", "annotations", "categories")}


def test_label_studio_shapes_of_every_kind(tmp_path):
    brush = np.zeros(SIZE, bool)
    brush[4:9, 3:20] = True
    lists = label_studio(
        tmp_path,
        task(
            7,
            result("polygonlabels", {"points": [[25, 50], [75, 50], [75, 75], [25, 75]]}, "b"),
            result("rectanglelabels", {"x": 10, "y": 25, "width": 20, "height": 50, "rotation": 0}),
            result("ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 90}),
            result("brushlabels", {"format": "rle", "rle": pack_mask(brush)}),
            {"type": "choices", "value": {"choices": ["good"]}},
        ),
    )
    masks = [object_mask(entry["segmentation"], SIZE) for entry in lists["annotations"]]
    assert [int(mask.sum()) for mask in masks[:2]] == [20 * 8, 8 * 16]
    rows, columns = np.nonzero(masks[2])  # 10 px across and 8 px down, turned by a quarter.
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 16)
    np.testing.assert_array_equal(masks[3], brush)
    assert [entry["category_id"] for entry in lists["annotations"]] == [2, 1, 1, 1]
    assert lists["images"] == [{"id": 7, "file_name": "0a1b2c3d-7.jpg", "height": SIZE[0], "width": SIZE[1]}]


@pytest.mark.parametrize(
    "image",
    ["/data/upload/1/0a1b2c3d-{}.jpg", "/data/local-files/?d=some%20folder/{}.jpg", "s3://bucket/x/{}.jpg", "{}.jpg"],
)
def test_label_studio_photos_are_found_by_their_name(tmp_path, image):
    folder_forms.write_photos(tmp_path / "photos", range(1))
    assert label_studio(tmp_path, task(0, image=image))["images"] == [{"id": 0, "file_name": "photos/0.jpg"}]


def test_a_skipped_annotation_and_damaged_run_lengths(tmp_path):
    square = result("polygonlabels", {"points": [[0, 0], [50, 0], [50, 50]]})
    damaged = result("brushlabels", {"format": "rle", "rle": [0, 0, 1]})
    lists = label_studio(tmp_path, task(0, square, was_cancelled=True), task(1, damaged))
    [entry] = lists["annotations"]
    with pytest.raises(BadRecordError, match="cut off"):
        object_mask(entry["segmentation"], SIZE)
    assert json.dumps(entry)
