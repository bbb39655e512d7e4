"""Exports of tools with a damaged field or file: good photos are written, bad ones are named, no traceback."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.coco_example_gen import inspect
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from maskformer_model.prediction.label_studio_rle import pack_mask
from tests.components.coco_example_gen import folder_forms
from tests.components.coco_example_gen.damages import DAMAGES, check_conversion, damage, fuzzed, places

NUM_PHOTOS = 3
WIDTH, HEIGHT = folder_forms.WIDTH, folder_forms.HEIGHT


def labelme_documents():
    """Three jsons: polygons in a group, a mask, a rectangle and a circle."""
    mask = folder_forms.base64_png(np.ones((8, 6), bool))
    square = {"label": "ball", "points": [[2, 2], [9, 2], [9, 9]], "group_id": 1, "shape_type": "polygon"}
    masked = {"label": "crate", "points": [[20, 20], [25, 27]], "group_id": None, "shape_type": "mask", "mask": mask}
    round_shape = {"label": "ball", "points": [[15, 15], [15, 19]], "group_id": None, "shape_type": "circle"}
    return {
        f"{number}.json": folder_forms.labelme_json(number, [square, masked, round_shape])
        for number in range(NUM_PHOTOS)
    }


def label_studio_documents():
    """One export with three tasks: a polygon, a brush stroke, an ellipse and a choice that is no shape."""
    brush = np.zeros((HEIGHT, WIDTH), bool)
    brush[4:9, 3:20] = True
    values = {
        "polygonlabels": {"points": [[50, 50], [75, 50], [75, 75]]},
        "brushlabels": {"format": "rle", "rle": pack_mask(brush)},
        "ellipselabels": {"x": 60, "y": 80, "radiusX": 9, "radiusY": 9, "rotation": 30},
    }
    sizes = {"original_width": WIDTH, "original_height": HEIGHT}
    shapes = [{"type": kind, "value": value | {kind: ["ball"]}} | sizes for kind, value in values.items()]
    shapes.append({"type": "choices", "value": {"choices": ["good"]}})
    annotation = {"id": 1, "result": shapes, "was_cancelled": False}
    return {
        "export.json": [
            {"id": number, "data": {"image": f"/data/{number}.jpg"}, "annotations": [annotation]}
            for number in range(NUM_PHOTOS)
        ]
    }


TOOLS = {"labelme": labelme_documents, "label_studio": label_studio_documents}
NOT_RECORDS = ("other_file", "unlabeled_photo")


def places_of(tool):
    """Every place of the jsons, without the bytes of the run lengths, which would be nearly all."""
    found = [(name, place) for name, document in TOOLS[tool]().items() for place in places(document)]
    return [(name, place) for name, place in found if "rle" not in place or place[-1] in ("rle", 0, 4)]


def write_documents(folder: pathlib.Path, documents) -> None:
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))


@pytest.fixture(scope="module", params=sorted(TOOLS))
def export(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    folder_forms.write_photos(root / "data", range(NUM_PHOTOS))
    write_documents(root / "data", TOOLS[request.param]())
    (root / "work").mkdir()
    [source] = {dataclass_without_part(part) for part in sources_of(str(root / "data"), IngestOptions()).values()}
    return request.param, root, source


def dataclass_without_part(source: SplitSource) -> SplitSource:
    """All photos of a source whose split is drawn."""
    return dataclasses.replace(source, part=(0.0, 1.0))


@fuzzed(40)
@given(data=st.data())
def test_a_damaged_field_of_a_tool_s_json_costs_its_photo_or_refuses_the_file(export, data):
    tool, root, source = export
    documents = TOOLS[tool]()
    for name, place in data.draw(st.lists(st.sampled_from(places_of(tool)), min_size=1, max_size=2)):
        try:
            damage(documents[name], place, data.draw(st.sampled_from(DAMAGES)))
        except (KeyError, IndexError, TypeError):
            continue  # The first damage has removed the place of the second.
    write_documents(root / "data", documents)
    num_photos = len(documents.get("export.json", documents))
    check_conversion(source, root, num_photos, NOT_RECORDS)
    sources_or_sentence(root / "data")


def sources_or_sentence(folder: pathlib.Path) -> None:
    """The folder is recognised, or refused in words."""
    try:
        sources_of(str(folder), IngestOptions())
    except (FileNotFoundError, ValueError) as error:
        assert str(error)


FILE_DAMAGES = {
    "gone": lambda content: None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a byte": lambda content: content[: len(content) // 3] + b"\xa5" + content[len(content) // 3 + 1 :],
    "a tail": lambda content: content + b"\x00\xff",
    "text": lambda content: "\u00b2: sky".encode(),
    "json": lambda content: b'{"0": null}',
    "other png": lambda content: folder_forms.png(np.full((3, 5), 200, np.uint8)),
    "rgb png": lambda content: folder_forms.png(np.full((HEIGHT, WIDTH, 3), 7, np.uint8)),
    "deep png": lambda content: folder_forms.png(np.full((HEIGHT, WIDTH), 70_000, np.int32)),
    "photo": lambda content: content.replace(b"\xff\xd8", b"\xff\xd9", 1),
}


@pytest.fixture(scope="module", params=sorted(folder_forms.LABEL_FORMS))
def labelled(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    folder_forms.LABEL_FORMS[request.param](root / "whole")
    (root / "work").mkdir()
    source = sources_of(str(root / "whole"), IngestOptions())["train"]
    names = sorted(str(path.relative_to(root / "whole")) for path in (root / "whole").rglob("*") if path.is_file())
    return root, source, names


@fuzzed(40)
@given(data=st.data())
def test_a_damaged_file_beside_label_pngs_costs_its_photo_or_is_refused(labelled, data):
    root, source, names = labelled
    shutil.rmtree(root / "data", ignore_errors=True)
    shutil.copytree(root / "whole", root / "data")
    name, change = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(sorted(FILE_DAMAGES)))
    path = root / "data" / name
    content = FILE_DAMAGES[change](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    here = moved(source, root)
    if not name.endswith("default.txt"):  # Another list of photos, whatever it holds, is another data set.
        check_conversion(here, root, len([stem for stem in stems_of(here) if here.takes(stem)]))
    assert inspect.main([str(root / "data"), "--page", ""]) in (0, 2)


def stems_of(source: SplitSource) -> list[str]:
    """The photos that the list names, or that are in the folder."""
    if source.list_file:
        return pathlib.Path(source.list_file).read_text().split()
    return [path.stem for path in pathlib.Path(source.photo_dirs[0]).iterdir() if path.suffix == ".jpg"]


def moved(source: SplitSource, root: pathlib.Path) -> SplitSource:
    """The same source in the folder with the damage."""

    def path(text: str) -> str:
        return text.replace(str(root / "whole"), str(root / "data"))

    fields = {name: path(getattr(source, name)) for name in ("label_dir", "category_file", "list_file", "object_dir")}
    return dataclasses.replace(source, photo_dirs=tuple(map(path, source.photo_dirs)), **fields)
