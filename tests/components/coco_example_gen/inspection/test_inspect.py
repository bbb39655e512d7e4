"""The page about a data folder: what it says of small folders, of real nuclei, and of damage."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from components.coco_example_gen import inspect
from components.coco_example_gen.inspection.stated_segments import stated_ranks
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from tests.components.coco_example_gen import folder_forms


def page_of(capsys, *arguments):
    assert inspect.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def rows_of(text, title):
    """The table under a title: cells by the first one."""
    section = text.split(f"\n{title}", 1)[1].split("\n\n")[0]
    rows = [re.split(r"\s{2,}", line) for line in section.splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_the_page_counts_photos_classes_and_segments(tmp_path, capsys):
    folder_forms.roboflow(tmp_path / "data")
    text = page_of(capsys, tmp_path / "data", "--page", tmp_path / "page.html", "--pictures", 3)
    assert "Layout: coco_instances (export of Roboflow)" in text
    photos = rows_of(text, "Photos")
    assert photos["photos"] == ["4", "2"]
    assert photos["segments (things / stuff)"] == ["8 / 0", "4 / 0"]
    # 120 of 1280 px are a ball.
    classes = rows_of(text, "Classes")
    assert classes["ball"] == ["0", "thing", "4", "4", "9.38 %", "2", "2", "9.38 %"]
    assert rows_of(text, "Query ceiling")["20"] == ["1.000", "1.000"]
    assert "Skipped records\n---------------\nnone" in text
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * 4 and "://" not in page
    assert f"Page with 4 pictures: {tmp_path / 'page.html'}" in text


def test_label_pngs_with_things_show_their_objects(tmp_path, capsys):
    folder_forms.label_pngs(tmp_path / "data")
    text = page_of(capsys, tmp_path / "data", "--things", "ball,crate", "--page", "")
    assert rows_of(text, "Photos")["segments (things / stuff)"] == ["8 / 4", "4 / 2"]
    assert rows_of(text, "Classes")["background"][1] == "stuff"


def test_polygons_of_a_class_that_is_stuff_are_one_segment(tmp_path, capsys):
    folder_forms.cvat(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_default.json"
    document = json.loads(path.read_text())
    for entry in document["annotations"]:
        entry["category_id"] = 2  # The ball's square and the crate's are two pieces of crate.
    path.write_text(json.dumps(document))
    text = page_of(capsys, tmp_path / "data", "--stuff", "crate", "--page", "")
    assert rows_of(text, "Photos")["segments (things / stuff)"] == ["0 / 5", "0 / 1"]
    assert rows_of(text, "Classes")["crate"][:4] == ["2", "stuff", "5", "5"]
    sources = sources_of(str(tmp_path / "data"), IngestOptions(stuff=("crate",)))
    assert stated_ranks(sources["train"], "panoptic").most_segments == 1


def test_too_few_photos_and_a_class_that_is_not_evaluated_are_said(tmp_path, capsys):
    folder_forms.cvat_subsets(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_Validation.json"
    document = json.loads(path.read_text())
    document["annotations"] = [entry for entry in document["annotations"] if entry["category_id"] == 1]
    path.write_text(json.dumps(document))
    text = page_of(capsys, tmp_path / "data", "--page", "")
    assert "Classes that no photo of eval has, so they are not evaluated: crate." in text
    assert "eval: scores on 2 photos, fewer than 30, can change by chance." in text


def test_skipped_records_and_odd_things_are_listed_with_their_reasons(tmp_path, capsys):
    folder_forms.roboflow(tmp_path / "data")
    shutil.copy(tmp_path / "data" / "train" / "0.jpg", tmp_path / "data" / "valid" / "4.jpg")
    (tmp_path / "data" / "train" / "1.jpg").unlink()
    for path in (tmp_path / "data").glob("*/_annotations.coco.json"):
        document = json.loads(path.read_text())
        document["categories"].append({"id": 7, "name": "ball"})
        path.write_text(json.dumps(document))
    text = page_of(capsys, tmp_path / "data", "--page", "")
    assert "Classes that share a name: ball." in text
    assert "1 photos are in both splits, so scores on them flatter: 0.jpg." in text
    assert rows_of(text, "Skipped records")["missing_photo"][:2] == ["train", "1"]


def test_masks_that_a_tool_marks_as_crowds_are_said(tmp_path, capsys):
    folder_forms.cvat(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_default.json"
    document = json.loads(path.read_text())
    for entry in document["annotations"][::2]:
        entry["iscrowd"] = 1
    path.write_text(json.dumps(document))
    text = page_of(capsys, tmp_path / "data", "--page", "")
    assert re.search(r"train: (\d) of \d+ objects are crowds, which are not learned", text)


def test_a_folder_that_cannot_be_read_ends_with_status_2_and_a_few_lines(tmp_path, capsys):
    assert inspect.main([str(tmp_path / "absent")]) == 2
    assert "It is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", [0.576, 0.818, 0.932, 0.987, 0.998]), ("eval", [0.557, 0.802, 0.928, 0.984, 0.993])],
)
def test_ceilings_of_real_nuclei_follow_from_the_json_alone(shared_dir, split, expected):
    options = IngestOptions(layout="coco_instances")
    ranks = stated_ranks(sources_of(str(shared_dir / "data" / "nuclei"), options)[split], "panoptic")
    assert [round(ranks.ceiling(count).all.pq, 3) for count in (20, 50, 100, 200, 300)] == expected


def test_real_label_pngs_are_sampled_and_need_no_more_queries_than_classes(shared_dir):
    ranks = stated_ranks(sources_of(str(shared_dir / "data" / "camvid"), IngestOptions())["train"], "panoptic")
    assert ranks.num_photos == 100
    assert ranks.queries_for(1.0) == 11
