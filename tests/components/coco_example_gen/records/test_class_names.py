"""Lists of class names in every form that tools write."""

from __future__ import annotations

import pytest

from components.coco_example_gen.records.class_names import (
    ClassName,
    category_entries,
    read_class_names,
    voc_color,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sky\nroad\n", [(0, "sky", None), (1, "road", None)]),
        ("\ufeffsky\r\n\r\nfire truck\r\n", [(0, "sky", None), (1, "fire truck", None)]),
        ("__ignore__\n_background_\ncat\n", [(-1, "__ignore__", None), (0, "_background_", None), (1, "cat", None)]),
        ("0: sky\n5: road\n", [(0, "sky", None), (5, "road", None)]),
        ("1 sky\n2 traffic light\n", [(1, "sky", None), (2, "traffic light", None)]),
        ("Pixel Value, Class\n0, background\n7, cat\n", [(0, "background", None), (7, "cat", None)]),
        ("name,r,g,b\nAnimal,64,128,64\n", [(0, "Animal", (64, 128, 64))]),
        ("64 128 64\tAnimal\n192 0 128\tArchway\n", [(0, "Animal", (64, 128, 64)), (1, "Archway", (192, 0, 128))]),
        (
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n",
            [(0, "background", (0, 0, 0)), (1, "cat", (1, 2, 3))],
        ),
        ("background:::\ncat:::\n", [(0, "background", (0, 0, 0)), (1, "cat", (128, 0, 0))]),
        ('["sky", "road"]', [(0, "sky", None), (1, "road", None)]),
        ('{"0": "sky", "9": "road"}', [(0, "sky", None), (9, "road", None)]),
    ],
)
def test_every_form_of_a_list_is_read(text, expected):
    assert [(c.number, c.name, c.color) for c in read_class_names(text.encode())] == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must name a class"),
        (b"sky\nsky\n", "each name once"),
        (b"1: sky\n1: road\n", "each number once"),
        (b"a:1,1,1::\nb:1,1,1::\n", "each color once"),
        (b"a:300,1,1::\n", "0..255"),
        (b"99999: sky\n", "0..65535"),
        (b"\xff\xfe", "UTF-8"),
        ("Pixel Value, Class\n\u00b2, sky\n".encode(), "must be a whole number. Received: '\u00b2'"),
        (b"Pixel Value, Class\n1_0, sky\n", "must be a whole number. Received: '1_0'"),
        (b"Pixel Value, Class\n1\n", "must have 2 cells"),
        (b"name,r,g,b\nsky,1,2\n", "must have 4 cells"),
        (b"name,r,g,b\nsky,1,2,x\n", "must be three numbers"),
        (b'name,r,g,b\n"' + b"a" * 200_000 + b'",1,2,3\n', "must be csv below its head"),
        (b'{"0": null}', "must be text. Received: None"),
        (b'["sky", 7]', "must be text. Received: 7"),
        (b'{"sky": 0}', "must be a whole number. Received: 'sky'"),
        (b'{"1.5": "sky"}', "must be a whole number. Received: '1.5'"),
        (b'{"0": "sky"', "must be json"),
        (b"[" * 100_000, "must be json"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(content, words):
    with pytest.raises(ValueError, match=words):
        read_class_names(content)


def test_void_is_no_category_and_things_are_those_that_are_named():
    classes = (ClassName(0, "background"), ClassName(1, "cat"), ClassName(2, "Void"), ClassName(3, "sky", (1, 2, 3)))
    assert category_entries(classes, ("cat",), has_objects=False) == [
        {"id": 0, "name": "background", "isthing": 0},
        {"id": 1, "name": "cat", "isthing": 1},
        {"id": 3, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
    ]
    of_objects = category_entries(classes, (), has_objects=True)
    assert {entry["name"]: entry["isthing"] for entry in of_objects} == {"background": 0, "cat": 1, "sky": 1}
    with pytest.raises(ValueError, match="`things` must be of the classes"):
        category_entries(classes, ("dog",), has_objects=False)


def test_the_palette_of_voc():
    # As the devkit paints aeroplane, person and the outlines.
    assert (voc_color(0), voc_color(1), voc_color(15), voc_color(255)) == (
        (0, 0, 0), (128, 0, 0), (192, 128, 128), (224, 224, 192),
    )  # fmt: skip


def test_digits_of_other_scripts_are_part_of_a_name():
    # `\d` would take them for the number of a class.
    assert [entry.number for entry in read_class_names("\u0661: sky\n\u0662: sea\n".encode())] == [0, 1]
