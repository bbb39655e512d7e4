"""Label PNGs of a list of classes: numbers or colours, void, connected regions, objects of a second PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.class_names import ClassName
from components.coco_example_gen.records.class_png import ClassPngs, read_class_png
from components.coco_example_gen.records.reader import read_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.sources import sources_of
from tests.components.coco_example_gen import folder_forms
from tests.components.coco_example_gen.folder_forms import png

SKY, CAT, VOID = ClassName(0, "sky", (10, 0, 0)), ClassName(1, "cat", (0, 20, 0)), ClassName(2, "Void", (0, 0, 30))
CLASSES = (SKY, CAT, VOID)
# A cat in two parts, one of them connected at a corner alone; 255 is void by custom.
LABELS = np.array([[0, 1, 0, 0, 1], [0, 0, 1, 0, 1], [2, 2, 0, 255, 0]], np.uint8)


def read(pixels, *, objects=None, things=(), classes=CLASSES):
    pngs = ClassPngs(png(pixels), None if objects is None else png(objects))
    ids, entries = read_class_png(pngs, classes, set(things))
    return ids.tolist(), {entry["id"]: entry["category_id"] for entry in entries}


def test_a_class_is_one_segment_and_void_and_255_are_none():
    ids, category_of = read(LABELS)
    assert ids == [[1, 2, 1, 1, 2], [1, 1, 2, 1, 2], [0, 0, 1, 0, 1]]
    assert category_of == {1: 0, 2: 1}


def test_connected_regions_of_a_thing_are_objects_and_corners_connect():
    ids, category_of = read(LABELS, things=[1])
    assert ids == [[1, 2, 1, 1, 3], [1, 1, 2, 1, 3], [0, 0, 1, 0, 1]]
    assert category_of == {1: 0, 2: 1, 3: 1}


def test_a_second_png_tells_touching_objects_apart():
    objects = np.array([[0, 7, 0, 0, 9], [0, 0, 8, 0, 9], [0, 0, 0, 255, 0]], np.uint8)
    ids, category_of = read(LABELS, objects=objects, things=[1])
    assert ids == [[1, 2, 1, 1, 4], [1, 1, 3, 1, 4], [0, 0, 1, 0, 1]]
    assert category_of == {1: 0, 2: 1, 3: 1, 4: 1}


def test_colours_say_the_class_and_white_outlines_are_void():
    colors = np.array([(10, 0, 0), (0, 20, 0), (0, 0, 30), (224, 224, 192), (0, 0, 0)], np.uint8)
    ids, category_of = read(colors[[[0, 1, 2, 3, 4]]])
    assert (ids, category_of) == ([[1, 2, 0, 0, 0]], {1: 0, 2: 1})


def test_a_palette_in_another_order_is_read_by_its_colours():
    image = Image.fromarray(np.array([[5, 6]], np.uint8), mode="P")
    image.putpalette([0] * 15 + [0, 20, 0, 10, 0, 0])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    ids, entries = read_class_png(ClassPngs(buffer.getvalue()), CLASSES, set())
    assert ids.tolist() == [[2, 1]]
    assert [entry["category_id"] for entry in entries] == [0, 1]


@pytest.mark.parametrize(
    ("pixels", "classes", "reason"),
    [
        (np.full((2, 2), 9, np.uint8), CLASSES, "unknown_label"),
        (np.full((2, 2, 3), 9, np.uint8), CLASSES, "unknown_label"),
        (np.full((2, 2, 3), 9, np.uint8), (ClassName(0, "sky"),), "unsuitable_label_png"),
    ],
)
def test_numbers_and_colours_without_a_meaning_keep_the_record_aside(pixels, classes, reason):
    with pytest.raises(BadRecordError) as raised:
        read(pixels, classes=classes)
    assert raised.value.reason == reason


def test_a_damaged_png_and_objects_of_another_size_keep_the_record_aside():
    whole = png(LABELS)
    with pytest.raises(BadRecordError, match="damaged_label_png"):
        read_class_png(ClassPngs(whole[: len(whole) // 2]), CLASSES, set())
    with pytest.raises(BadRecordError, match="size_mismatch"):
        read(LABELS, objects=LABELS[:2], things=[1])


def test_a_photo_that_is_all_void_has_no_segment():
    assert read(np.full((2, 2), 2, np.uint8)) == ([[0, 0], [0, 0]], {})


def planned(root, split="train"):
    """Photos by id with the reasons of those that are skipped, and what was noticed."""
    source = sources_of(str(root), IngestOptions())[split]
    work_dir = root.parent / "work"
    work_dir.mkdir(exist_ok=True)
    plan = plan_split(SplitRequest(split=split, num_shards=1), source, str(work_dir))
    found = {entry.image_id: entry.reason for entry in plan.kept_aside}
    for ref in read_references(plan.shards[0]):
        found[ref.image_id] = read_record(ref, source, plan.categories).filename
    return found, [(notice.file_name, notice.reason) for notice in plan.notices]


def test_upper_case_endings_are_read_and_other_files_and_double_photos_are_counted(tmp_path):
    root = tmp_path / "data"
    folder_forms.label_pngs(root)
    (root / "train" / "0.jpg").rename(root / "train" / "0.JPG")
    (root / "train_labels" / "1.png").rename(root / "train_labels" / "1.PNG")
    (root / "train" / "2.gif").write_bytes(b"GIF89a")
    folder_forms.write_photo(root / "train" / "3.png", 5)
    found, notices = planned(root)
    assert found == {"0": "0.JPG", "1": "1.jpg", "2": "2.jpg", "3": "ambiguous_photo"}
    assert notices == [("2.gif", "other_file")]


def test_photos_of_a_list_may_have_blanks_in_their_names_and_a_word_behind_them(tmp_path):
    root = tmp_path / "data"
    folder_forms.cvat_masks(root)
    for folder, ending in (("JPEGImages", "jpg"), ("SegmentationClass", "png"), ("SegmentationObject", "png")):
        (root / folder / f"0.{ending}").rename(root / folder / f"my photo.{ending}")
    (root / "ImageSets" / "Segmentation" / "default.txt").unlink()
    for split, lines in (("train", "my photo\n1 -1\n2  1\n"), ("val", "3\n")):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)
    assert planned(root)[0] == {"my photo": "my photo.jpg", "1": "1.jpg", "2": "2.jpg"}
    (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(ValueError, match=r"train.txt: .*utf-8"):
        planned(root)
