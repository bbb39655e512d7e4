"""labelme's and Label Studio's jsons as COCO's lists: shapes, groups, sizes, names, damage."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.instance_masks import object_mask
from components.coco_example_gen.records.tool_lists import tool_list
from maskformer_model.prediction.annotation_files import LabelStudioTasks
from maskformer_model.prediction.label_studio_rle import pack_mask
from tests.components.coco_example_gen import folder_forms
from tests.maskformer_model.helpers.small_export import CATEGORIES

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


SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_a_path_of_many_points_is_not_filled(tmp_path, kind):
    [entry] = labelme(tmp_path, shape("wire", kind, SQUARE))["annotations"]
    with pytest.raises(BadRecordError, match=f"a {kind} has no area"):
        object_mask(entry["segmentation"], SIZE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"shapes": 3, "imagePath": "1.jpg"}', "`shapes` must be a list. Received: 3"),
        (b'{"shapes": [], "imagePath": null}', "`imagePath` must be text. Received: None"),
        (b'{"shapes": [{"label": null, "points": []}], "imagePath": "1.jpg"}', "`label` must be text. Received: None"),
        (b'{"shapes": [{"label": "a", "points": [], "group_id": [1]}], "imagePath": "1.jpg"}', "`group_id` must be"),
        (b'{"shapes": [{"label": "a"', "its json cannot be used"),
        (b"\xff\xfe", "its json cannot be used"),
        (b"[" * 100_000, "its json cannot be used"),
    ],
)
def test_a_damaged_labelme_json_costs_its_photo_and_not_the_job(tmp_path, content, words):
    (tmp_path / "1.json").write_bytes(content)
    lists = labelme(tmp_path, shape("a", "polygon", SQUARE))
    photo, unread = lists["images"]
    assert (photo["id"], unread.image_id, unread.reason) == ("0", "1", "malformed_annotation")
    assert words in unread.detail and unread.is_record
    assert [entry["image_id"] for entry in lists["annotations"]] == ["0"]


def test_a_json_that_is_not_labelme_s_is_noticed(tmp_path):
    (tmp_path / "settings.json").write_text('{"theme": "dark"}')
    [_, unread] = labelme(tmp_path, shape("a", "polygon", SQUARE))["images"]
    assert (unread.reason, unread.is_record) == ("other_file", False)


def test_labelme_masks_are_compared_with_their_box_and_cut_at_the_photo_s_edge(tmp_path):
    mask = folder_forms.base64_png(np.ones((3, 5), bool))
    lists = labelme(
        tmp_path,
        shape("a", "mask", [[-2, -1], [2, 1]], mask=mask),
        shape("a", "mask", [[0, 0], [9, 2]], mask=mask),
        shape("a", "polygon", [["0", 0], [4, 0], [4, 4]]),
    )
    first, second, third = (entry["segmentation"] for entry in lists["annotations"])
    assert np.argwhere(object_mask(first, SIZE)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert "does not fill the box of its points" in second
    assert "`points` must be pairs of numbers" in third


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
    assert lists["images"] == [{"id": "7", "file_name": "0a1b2c3d-7.jpg", "height": SIZE[0], "width": SIZE[1]}]


@pytest.mark.parametrize(
    "image",
    ["/data/upload/1/0a1b2c3d-{}.jpg", "/data/local-files/?d=some%20folder/{}.jpg", "s3://bucket/x/{}.jpg", "{}.jpg"],
)
def test_label_studio_photos_are_found_by_their_name(tmp_path, image):
    folder_forms.write_photos(tmp_path / "photos", range(1))
    assert label_studio(tmp_path, task(0, image=image))["images"] == [{"id": "0", "file_name": "photos/0.jpg"}]


SPECIAL_NAMES = ["a+b.jpg", "a&b.jpg", "a#1.jpg", "a?b.jpg", "a b.jpg", "100%25.jpg", "x;d=1.jpg", "Straße.jpg"]


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_a_photo_of_any_name_is_found_again_through_the_link_that_we_write(tmp_path, name):
    folder_forms.write_photo(tmp_path / "photos" / name, 0)
    tasks = LabelStudioTasks(CATEGORIES, "masks")
    tasks.add(f"photos/{name}", SIZE, [])
    tasks.save(tmp_path)
    [written] = json.loads((tmp_path / "tasks.json").read_text())
    corrected = {"id": 0, "data": written["data"], "annotations": [{"id": 1, "result": []}]}
    assert label_studio(tmp_path, corrected)["images"] == [{"id": "0", "file_name": f"photos/{name}"}]


@pytest.mark.parametrize("name", SPECIAL_NAMES)
@pytest.mark.parametrize(
    "link", ["/data/local-files/?d=photos/{}", "s3://bucket/{}", "/data/upload/1/0a1b2c3d-{}", "{}"]
)
def test_a_photo_of_any_name_is_found_through_a_link_that_is_not_quoted(tmp_path, link, name):
    folder_forms.write_photo(tmp_path / "photos" / name, 0)
    images = label_studio(tmp_path, task(0, image=link.format(name)))["images"]
    assert images == [{"id": "0", "file_name": f"photos/{name}"}]


def test_of_photos_of_one_name_the_link_s_folder_decides(tmp_path):
    for folder in ("left", "right", "."):
        folder_forms.write_photos(tmp_path / folder, range(1))
    folder_forms.write_photos(tmp_path / ".thumbs", range(1))
    links = ["/data/local-files/?d=set/right/0.jpg", "s3://bucket/left/0.jpg", "/data/upload/1/0a1b2c3d-0.jpg"]
    images = label_studio(tmp_path, *(task(n, image=link) for n, link in enumerate(links)))["images"]
    assert [image["file_name"] for image in images] == ["right/0.jpg", "left/0.jpg", "0.jpg"]


def test_a_link_that_can_mean_two_photos_costs_its_photo(tmp_path):
    for folder in ("left", "right"):
        folder_forms.write_photos(tmp_path / folder, range(1))
    lists = label_studio(tmp_path, task(0, POLYGON, image="/data/upload/1/0.jpg"))
    [photo] = lists["images"]
    assert photo.reason == "ambiguous_photo" and "left/0.jpg, right/0.jpg" in photo.detail
    assert not lists["annotations"]


@pytest.mark.parametrize(
    ("links", "taken"),
    [
        (["?d=left/0.jpg", "?d=right/0.jpg"], ["0"]),  # The photo of the second is not there.
        (["/data/upload/1/0a1b2c3d-0.jpg", "/data/upload/1/ffffffff-0.jpg"], []),
        (["?d=left/0.jpg", "?d=left/0.jpg"], ["0", "1"]),  # Labelled twice.
    ],
)
def test_a_photo_is_not_taken_for_that_of_another_task(tmp_path, links, taken):
    folder_forms.write_photos(tmp_path / "left", range(1))
    lists = label_studio(tmp_path, *(task(number, POLYGON, image=link) for number, link in enumerate(links)))
    assert [image["id"] for image in lists["images"] if isinstance(image, dict)] == taken
    assert [image.reason for image in lists["images"] if not isinstance(image, dict)] == ["ambiguous_photo"] * (
        2 - len(taken)
    )
    assert [entry["image_id"] for entry in lists["annotations"]] == taken


def test_a_photo_that_is_not_in_the_folder_is_named_as_its_file(tmp_path):
    [image] = label_studio(tmp_path, task(0, image="/data/local-files/?d=a%2Bb.jpg"))["images"]
    assert image["file_name"] == "a+b.jpg"


def test_a_skipped_annotation_and_damaged_run_lengths(tmp_path):
    square = result("polygonlabels", {"points": [[0, 0], [50, 0], [50, 50]]})
    damaged = result("brushlabels", {"format": "rle", "rle": [0, 0, 1]})
    lists = label_studio(tmp_path, task(0, square, was_cancelled=True), task(1, damaged))
    skipped, photo = lists["images"]
    assert (skipped.image_id, skipped.reason, skipped.is_record) == ("0", "unlabeled_photo", False)
    assert photo["id"] == "1"
    [entry] = lists["annotations"]
    with pytest.raises(BadRecordError, match="truncated"):
        object_mask(entry["segmentation"], SIZE)
    assert json.dumps(entry)


def without(value, key):
    return {name: part for name, part in value.items() if name != key}


POLYGON = result("polygonlabels", {"points": [[0, 0], [50, 0], [50, 50]]})


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (without(task(1, POLYGON), "id"), "KeyError('id')"),
        (task(1, POLYGON) | {"annotations": None}, "TypeError"),
        (task(1, POLYGON) | {"annotations": ["text"]}, "AttributeError"),
        (task(1, without(POLYGON, "original_height")), "`original_height` must be a whole number"),
        (task(1, POLYGON | {"original_width": "40"}), "`original_width` must be a whole number"),
        (task(1, POLYGON, POLYGON | {"original_width": 7}), "all shapes must be of a photo of one size"),
        (task(1, POLYGON | {"value": {"points": [], "polygonlabels": [None]}}), "`polygonlabels` must be text"),
        (task(1, POLYGON | {"value": {"points": [], "polygonlabels": "a"}}), "`polygonlabels` must be a list"),
        ("text", "TypeError"),
    ],
)
def test_a_damaged_task_costs_its_photo_and_not_the_job(tmp_path, damaged, words):
    lists = label_studio(tmp_path, damaged, task(2, POLYGON))
    unread, photo = lists["images"]
    assert photo["id"] == "2" and unread.is_record and words in unread.detail
    assert [entry["image_id"] for entry in lists["annotations"]] == ["2"]


@pytest.mark.parametrize(
    "value",
    [
        {"points": [["10", 20], [50, 0], [50, 50]]},
        {"points": [[True, 20], [50, 0], [50, 50]]},
        {"points": 7},
        {"points": [[1], [2], [3]]},
    ],
)
def test_coordinates_that_are_no_numbers_cost_their_photo(tmp_path, value):
    [entry] = label_studio(tmp_path, task(1, result("polygonlabels", value)))["annotations"]
    with pytest.raises(BadRecordError, match="a shape that cannot be read"):
        object_mask(entry["segmentation"], SIZE)


def bitmask(mask):
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., 3] = 255 * mask
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"imageDataURL": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}


def test_a_bitmask_is_what_is_not_transparent(tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[1:5, 2:30] = mask[10, 10] = True
    lists = label_studio(
        tmp_path,
        task(1, result("bitmasklabels", bitmask(mask))),
        task(2, result("bitmasklabels", bitmask(mask[:5]))),
        task(3, result("bitmasklabels", {"imageDataURL": "data:image/png;base64,AAAA"})),
    )
    first, second, third = (entry["segmentation"] for entry in lists["annotations"])
    np.testing.assert_array_equal(object_mask(first, SIZE), mask)
    assert "a bitmask must have the photo's size" in second
    assert "UnidentifiedImageError" in third


TRIANGLE = {"points": [[0, 0], [50, 0], [50, 50]]}


def region(kind, value, region_id="r1", **labels):
    return result(kind, value) | {"id": region_id, "value": value | labels}


def test_labels_beside_the_shapes_name_their_classes(tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[:3] = True
    values = [
        TRIANGLE,
        {"x": 10, "y": 25, "width": 20, "height": 50, "rotation": 0},
        {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 0},
        {"format": "rle", "rle": pack_mask(mask)},
        bitmask(mask),
    ]
    results = []
    for number, (kind, value) in enumerate(
        zip(("polygon", "rectangle", "ellipse", "brush", "bitmask"), values, strict=True)
    ):
        results.append(region(kind, value, f"r{number}"))
        results.append(region("labels", value, f"r{number}", labels=["ball"]))
        # An answer about the region repeats its shape, too.
        results.append(region("choices", value, f"r{number}", choices=["sharp"]))
    separate = label_studio(tmp_path, task(1, *results))
    assert [image["id"] for image in separate["images"]] == ["1"]
    assert separate["categories"] == [{"id": 1, "name": "ball"}]
    areas = [int(object_mask(entry["segmentation"], SIZE).sum()) for entry in separate["annotations"]]
    together = [
        result(f"{kind}labels", value)
        for kind, value in zip(("polygon", "rectangle", "ellipse", "brush", "bitmask"), values, strict=True)
    ]
    expected = label_studio(tmp_path, task(1, *together))["annotations"]
    assert areas == [int(object_mask(entry["segmentation"], SIZE).sum()) for entry in expected]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([region("polygon", TRIANGLE)], "a region of the kind polygon is left out: it has no label"),
        ([region("polygonlabels", TRIANGLE, polygonlabels=[])], "polygonlabels is left out"),
        ([region("keypointlabels", {"x": 1, "y": 1, "width": 1}, keypointlabels=["a"])], "other kinds are not read"),
        (
            [region("keypoint", {"x": 1, "y": 1}), region("labels", {"x": 1, "y": 1}, labels=["a"])],
            "keypoint is left out: other kinds are not read",
        ),
        ([region("vectorlabels", {"vertices": []}, vectorlabels=["a"])], "vectorlabels is left out"),
    ],
)
def test_a_region_that_is_not_read_is_noticed(tmp_path, results, words):
    image, notice = label_studio(tmp_path, task(1, *results))["images"]
    assert image["id"] == "1"
    assert (notice.reason, notice.is_record) == ("unread_region", False) and words in notice.detail


def test_of_several_labels_the_first_is_taken_and_the_others_are_noticed(tmp_path):
    both = region("polygonlabels", TRIANGLE, polygonlabels=["a", "b"])
    lists = label_studio(tmp_path, task(1, both, region("labels", TRIANGLE, labels=["c"])))
    assert len(lists["annotations"]) == 1 and lists["categories"] == [{"id": 1, "name": "a"}]
    assert "the label 'a'; ['b', 'c'] of it are left out" in lists["images"][1].detail


def test_tasks_that_share_an_id_keep_their_objects_apart(tmp_path):
    other = task(1, result("rectanglelabels", {"x": 0, "y": 0, "width": 9, "height": 9}, "b"))
    lists = label_studio(tmp_path, task(1, POLYGON), other)
    assert [image["id"] for image in lists["images"]] == ["1", "1"]  # The second is skipped as `repeated_image_id`.
    assert [entry["category_id"] for entry in lists["annotations"]] == [1]


def test_an_export_that_is_no_list_is_refused_by_its_name(tmp_path):
    folder_forms.write_json(tmp_path / "export.json", {"annotations": []})
    with pytest.raises(ValueError, match=r"export.json fails with TypeError.*list of tasks"):
        list(tool_list(f"label_studio:{tmp_path}|export.json", "images"))
