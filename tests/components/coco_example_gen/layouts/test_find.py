"""Folders that tools and people make are found as they are, read, and split; others get a short answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.coco_example_gen.kept_aside import KeptAside
from components.coco_example_gen.layouts.files import LOCAL
from components.coco_example_gen.layouts.find import UnknownLayoutError, find_data, notes_on
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.sources import sources_of
from tests.components.coco_example_gen import folder_forms

SPLITS = ("train", "eval")


def read(root, work_dir, **options):
    """By split: records by photo number, as {class name: mask}; and the sources."""
    sources = sources_of(str(root), IngestOptions(**options))
    found = {}
    for split, source in sources.items():
        (work_dir / split).mkdir(parents=True)
        plan = plan_split(SplitRequest(split=split, num_shards=1), source, str(work_dir / split))
        refs = list(read_references(plan.shards[0]))
        assert [entry for entry in (*plan.kept_aside, *refs) if isinstance(entry, KeptAside)] == []
        found[split] = {}
        for ref in refs:
            record, ids, _ = read_checked_record(ref, source, plan.categories)
            number = int(record.filename.rsplit("/")[-1].split(".")[0])
            found[split][number] = {plan.categories.names[s.class_index]: ids == s.id for s in record.segments}
    return found, sources


def assert_objects_are_right(found, numbers, names=folder_forms.NAMES):
    assert sorted(number for photos in found.values() for number in photos) == list(numbers)
    assert all(photos for photos in found.values())  # Neither side of a split is empty.
    for photos in found.values():
        for number, masks in photos.items():
            labels = folder_forms.class_map(number)
            assert masks.keys() == set(names)
            for name in names:
                np.testing.assert_array_equal(masks[name], labels == ["background", *folder_forms.NAMES].index(name))


@pytest.mark.parametrize("tool", folder_forms.COCO_FORMS)
def test_exports_of_coco_jsons_are_recognised_named_and_read(tmp_path, tool):
    folder_forms.COCO_FORMS[tool](tmp_path / "data")
    found, sources = read(tmp_path / "data", tmp_path / "work")
    assert_objects_are_right(found, range(6))
    assert {source.layout for source in sources.values()} == {"coco_instances"}
    assert tool in notes_on(sources)[0]


@pytest.mark.parametrize(
    "form",
    [
        folder_forms.cvat_subsets,
        folder_forms.label_studio_without_photos,
        folder_forms.labelme,
    ],
)
def test_other_exports_are_read_too(tmp_path, form):
    form(tmp_path / "data")
    assert_objects_are_right(read(tmp_path / "data", tmp_path / "work")[0], range(6))


def test_named_splits_are_kept_and_a_test_split_is_not_touched(tmp_path):
    folder_forms.roboflow(tmp_path / "data")
    found, sources = read(tmp_path / "data", tmp_path / "work")
    assert {split: sorted(photos) for split, photos in found.items()} == {"train": [0, 1, 2, 3], "eval": [4, 5]}
    assert len(notes_on(sources)) == 1


def test_a_split_is_drawn_by_a_hash_where_there_is_none_and_stays_when_photos_come(tmp_path):
    folder_forms.cvat(tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_default.json"
    path.write_text(json.dumps(folder_forms.coco(range(30))))
    sources = sources_of(str(tmp_path / "data"), IngestOptions())
    assert "no validation split" in notes_on(sources)[1] and "0.2" in notes_on(sources)[1]
    ids = [str(number) for number in range(1000)]
    in_eval = [image_id for image_id in ids if sources["eval"].takes(image_id)]
    assert 150 < len(in_eval) < 250
    assert not any(sources["train"].takes(image_id) for image_id in in_eval)
    path.write_text(json.dumps(folder_forms.coco(range(60))))
    more = sources_of(str(tmp_path / "data"), IngestOptions())
    assert [source.part for source in more.values()] == [(0.2, 1.0), (0.0, 0.2)]


def test_two_photos_are_one_for_each_side(tmp_path):
    folder_forms.write_photos(tmp_path / "data", range(2))
    folder_forms.write_json(tmp_path / "data" / "any name.json", folder_forms.coco(range(2)))
    found, _ = read(tmp_path / "data", tmp_path / "work")
    assert {len(photos) for photos in found.values()} == {1}


def test_an_eval_share_that_is_asked_for_is_taken(tmp_path):
    folder_forms.cvat(tmp_path / "data")
    options = IngestOptions(eval_share=0.5)
    sources = sources_of(str(tmp_path / "data"), options)
    assert {source.part for source in sources.values()} == {(0.0, 1.0)}


@pytest.mark.parametrize("form", folder_forms.LABEL_FORMS)
def test_label_pngs_with_a_list_of_names_are_semantic_or_with_things_panoptic(tmp_path, form):
    folder_forms.LABEL_FORMS[form](tmp_path / "data")
    found, sources = read(tmp_path / "data", tmp_path / "work")
    assert sources["train"].layout == "label_png"
    assert_objects_are_right(found, range(6), ("background", *folder_forms.NAMES))
    options = IngestOptions(things=("ball",))
    assert sources_of(str(tmp_path / "data"), options)["eval"].things == ("ball",)


def test_a_val_split_whose_photos_are_missing_is_said_and_not_drawn_anew(tmp_path):
    folder_forms.cvat_subsets(tmp_path)
    (tmp_path / "images" / "Validation").rename(tmp_path / "elsewhere.bak")
    with pytest.raises(UnknownLayoutError) as raised:
        find_data(str(tmp_path), ["train", "val"], LOCAL)
    assert "instances_Validation.json names photos such as '4.jpg', which are in none of" in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: None, "It is not a folder"),
        (lambda root: root.mkdir(), "It holds: nothing"),
        (lambda root: folder_forms.write_photos(root, range(2)), "Expected: a published layout"),
        (lambda root: folder_forms.write_json(root / "x.json", {"images": [], "annotations": []}), "has no annotation"),
        (lambda root: _boxes_alone(root), "boxes without masks"),
        (lambda root: _without_names(root), "no list of class names"),
        (lambda root: _two_jsons(root), "More than one json for one split: a/x.json, b/x.json"),
        (lambda root: _broken(root), "instances_default.json is not whole json"),
    ],
)
def test_a_folder_that_cannot_be_read_is_told_what_is_there_and_what_is_missing_in_a_few_lines(tmp_path, damage, words):
    damage(tmp_path / "data")
    with pytest.raises(UnknownLayoutError) as raised:
        find_data(str(tmp_path / "data"), ["train", "val"], LOCAL)
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) < 12


def test_things_of_a_layout_that_says_them_itself_are_refused(tmp_path):
    folder_forms.cvat(tmp_path)
    with pytest.raises(UnknownLayoutError, match="`things` is for the layout 'label_png'"):
        find_data(str(tmp_path), ["train"], LOCAL, things=["ball"])


def _boxes_alone(root):
    folder_forms.cvat(root)
    document = folder_forms.coco(range(6))
    for entry in document["annotations"]:
        del entry["segmentation"]
    folder_forms.write_json(root / "annotations" / "instances_default.json", document)


def _without_names(root):
    folder_forms.label_pngs(root)
    (root / "classes.txt").unlink()


def _two_jsons(root):
    for folder in ("a", "b"):
        folder_forms.write_photos(root / folder, range(2))
        folder_forms.write_json(root / folder / "x.json", folder_forms.coco(range(2)))


def _broken(root):
    folder_forms.cvat(root)
    path = root / "annotations" / "instances_default.json"
    path.write_text('{"images": [{"id": 1, "file_name": "0.jpg"')
