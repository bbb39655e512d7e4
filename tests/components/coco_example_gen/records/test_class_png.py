"""Label PNGs of a list of classes: numbers or colours, void, connected regions, objects of a second PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.coco_example_gen.kept_aside import BadRecordError
from components.coco_example_gen.records.class_names import ClassName
from components.coco_example_gen.records.class_png import ClassPngs, read_class_png
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
