"""Lists of class names with a damaged line or cell, and Mapillary Vistas' config: all photos are written, or a refusal.

A list of classes belongs to all photos, so a damaged one is refused in one line, or some numbers of the label PNGs lose
their meaning and cost the photos that have them.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from tests.components import layout_samples
from tests.components.coco_example_gen import folder_forms
from tests.components.coco_example_gen.damages import GONE, check_conversion, damaged, fuzzed

NUM_PHOTOS = 3
# By file: what is between the cells of a line, and the lines.
LISTS = {
    "classes.txt": ("", [["background"], ["ball"], ["crate"], ["Void"]]),
    "class_names.txt": (": ", [["0", "background"], ["1", "ball"], ["2", "crate"]]),
    "labels.txt": ("", [["__ignore__"], ["_background_"], ["ball"], ["crate"]]),
    "names.txt": (" ", [["0", "background"], ["1", "ball"], ["2", "crate"]]),
    "labelmap.txt": (
        ":",
        [
            ["# label", "color_rgb", "parts", "actions"],
            ["background", "0,0,0", "", ""],
            ["ball", "128,0,0", "", ""],
            ["crate", "0,128,0", "", ""],
        ],
    ),
    "label_colors.txt": (" ", [["0", "0", "0", "background"], ["128", "0", "0", "ball"], ["0", "128", "0", "crate"]]),
    "_classes.csv": (",", [["Pixel Value", "Class"], ["0", "background"], ["1", "ball"], ["2", "crate"]]),
    "class_dict.csv": (
        ",",
        [["name", "r", "g", "b"], ["background", "0", "0", "0"], ["ball", "128", "0", "0"], ["crate", "0", "128", "0"]],
    ),
    "classes.csv": (",", [["0", "background"], ["1", "ball"], ["2", "crate"]]),
}
CELL_DAMAGES = [
    *(GONE, "", " ", "0", "1", "-1", "-2", "1.0", "2.5", "nan", "65535", "65536", "9" * 30, "9" * 5000, "\u00b2"),
    *("\u0663", "1_0", "ball", "Void", "__ignore__", "text", "a" * 300, "../x", '"', "'", ":", ",", ",,,", "::::"),
    *("#", "[", "{", "[1", '{"0": null}', "\t", "\x00", "\ufeff", "\u2028", "a\nb", "a\r\nb", "b\u00e9", "be\u0301"),
    *("256,0,0", "0,0", "0,0,0,0", "#ff0000", "\U0001f600", "half\udc80", "\t\t"),
]
JSON_LISTS = (["background", "ball", "crate"], {"0": "background", "1": "ball", "2": "crate"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos and label PNGs, whose list of classes is still to be written."""
    root = tmp_path_factory.mktemp("lists")
    folder_forms.write_photos(root / "data" / "train", range(NUM_PHOTOS))
    for number in range(NUM_PHOTOS):
        folder_forms.write_png(root / "data" / "train_labels" / f"{number}.png", folder_forms.class_map(number))
    (root / "work").mkdir()
    return root


def convert_with(folder: pathlib.Path, name: str, content: bytes) -> None:
    """Converts with one list of classes, and checks what becomes of the photos."""
    path = folder / "data" / name
    path.write_bytes(content)
    try:
        source = sources_of(str(folder / "data"), IngestOptions())["train"]
        check_conversion(dataclasses.replace(source, part=(0.0, 1.0)), folder, NUM_PHOTOS, named=str(path))
    finally:
        path.unlink()


def damaged_lines(data, separator: str, whole_lines: list[list[str]]) -> bytes:
    """A list of classes in which a line or a cell, or two, are others."""
    lines = [list(line) for line in whole_lines]
    for _ in range(data.draw(st.integers(1, 2))):
        number = data.draw(st.sampled_from(range(len(lines))))
        cells = lines[number]
        if not cells or data.draw(st.booleans()):
            lines[number] = data.draw(st.sampled_from([[], *lines, *([text] for text in CELL_DAMAGES[1:])]))
            continue
        cell, value = data.draw(st.sampled_from(range(len(cells)))), data.draw(st.sampled_from(CELL_DAMAGES))
        lines[number] = [*cells[:cell], *([] if value is GONE else [value]), *cells[cell + 1 :]]
    return "\n".join(separator.join(cells) for cells in lines).encode("utf-8", "surrogateescape")


@fuzzed(50)
@given(data=st.data())
def test_a_damaged_line_of_a_list_of_classes_is_refused_in_a_line_or_costs_its_photos(folder, data):
    name = data.draw(st.sampled_from(sorted(LISTS)))
    separator, lines = LISTS[name]
    convert_with(folder, name, damaged_lines(data, separator, lines))


@fuzzed(25)
@given(data=st.data(), document=st.sampled_from(JSON_LISTS))
def test_a_damaged_field_of_a_json_list_of_classes_is_refused_in_a_line_or_costs_its_photos(folder, data, document):
    convert_with(folder, "id2label.json", json.dumps(damaged(data, document, 2)).encode())


@pytest.fixture(scope="module")
def ade20k(tmp_path_factory):
    """A folder, the source of its train photos, and the cells of its list of classes."""
    root = tmp_path_factory.mktemp("ade20k")
    layout_samples.write_ade20k_labels(root / "data", layout_samples.draw_samples(NUM_PHOTOS, 1))
    (root / "work").mkdir()
    source = sources_of(str(root / "data"), IngestOptions())["train"]
    lines = pathlib.Path(source.category_file).read_text().splitlines()
    return root, source, [line.split("\t") for line in lines]


@fuzzed(25)
@given(data=st.data())
def test_a_damaged_line_of_ade20k_s_classes_is_refused_in_a_line_or_costs_its_photos(ade20k, data):
    root, source, lines = ade20k
    pathlib.Path(source.category_file).write_bytes(damaged_lines(data, "\t", lines))
    check_conversion(source, root, NUM_PHOTOS, named=source.category_file)


@pytest.fixture(scope="module", params=["vistas_v2.0", "vistas_v1.2_labels"])
def vistas(request, tmp_path_factory):
    """A folder, the source of its train photos, and the text of its config."""
    root = tmp_path_factory.mktemp("vistas")
    version = request.param.split("_")[1]
    layout_samples.write_vistas_labels(root / "data", layout_samples.draw_samples(NUM_PHOTOS, 1), version)
    (root / "work").mkdir()
    source = sources_of(str(root / "data"), IngestOptions(layout=request.param))["train"]
    return root, source, pathlib.Path(source.category_file).read_text()


@fuzzed(25)
@given(data=st.data())
def test_a_damaged_field_of_vistas_config_is_refused_in_a_line_or_costs_its_photos(vistas, data):
    root, source, config = vistas
    pathlib.Path(source.category_file).write_text(json.dumps(damaged(data, json.loads(config), 2)))
    check_conversion(source, root, NUM_PHOTOS, named=source.category_file)
