"""Folders that tools and people make are found as they are, read, and split; others get a short answer."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from components.coco_example_gen.kept_aside import KeptAside
from components.coco_example_gen.layouts.files import LOCAL
from components.coco_example_gen.layouts.find import UnknownLayoutError, find_data, notes_on
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.categories_file import read_categories
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.records.tool_lists import tool_list
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


def drawn_from(tmp_path, num_photos, **options):
    """Returns the sources of an export of so many photos, and the numbers of those that are evaluated."""
    path = tmp_path / "data" / "annotations" / "instances_default.json"
    path.write_text(json.dumps(folder_forms.coco(range(num_photos))))
    sources = sources_of(str(tmp_path / "data"), IngestOptions(**options))
    evaluated = {number for number in range(num_photos) if sources["eval"].takes(str(number))}
    assert all(sources["train"].takes(str(number)) != (number in evaluated) for number in range(num_photos))
    return sources, evaluated


def test_a_split_is_drawn_by_a_hash_where_there_is_none_in_exactly_the_share_that_is_asked_for(tmp_path):
    folder_forms.cvat(tmp_path / "data")
    sources, evaluated = drawn_from(tmp_path, 40)
    assert len(evaluated) == 8  # A fifth; a border at 0.2 of the hashes gives 3.
    assert "no validation split" in notes_on(sources)[1] and "0.2" in notes_on(sources)[1]
    for num_photos, share, expected in ((40, 0.1, 4), (30, 0.5, 15), (6, 0.01, 1), (6, 0.99, 5)):
        assert len(drawn_from(tmp_path, num_photos, eval_share=share)[1]) == expected


def test_most_photos_stay_on_their_side_when_others_come_and_all_do_above_a_thousand(tmp_path):
    folder_forms.cvat(tmp_path / "data")
    before, after = drawn_from(tmp_path, 50)[1], drawn_from(tmp_path, 60)[1]
    # The border moves, so photos of the first 50 change sides in one direction only.
    assert len(before) == 10 and len(after) == 12
    both = after & set(range(50))
    assert both <= before or before <= both
    sources, before = drawn_from(tmp_path, 1000)
    assert [source.part for source in sources.values()] == [(0.2, 1.0), (0.0, 0.2)]
    assert drawn_from(tmp_path, 1100)[1] & set(range(1000)) == before
    # A border at 0.002 might leave no photo of so many.
    assert len(drawn_from(tmp_path, 1100, eval_share=0.002)[1]) == 2


def test_two_photos_are_one_for_each_side(tmp_path):
    folder_forms.write_photos(tmp_path / "data", range(2))
    folder_forms.write_json(tmp_path / "data" / "any name.json", folder_forms.coco(range(2)))
    found, _ = read(tmp_path / "data", tmp_path / "work")
    assert {len(photos) for photos in found.values()} == {1}


def test_an_eval_share_that_is_asked_for_replaces_the_validation_photos(tmp_path):
    folder_forms.cvat_subsets(tmp_path / "data")
    sources = sources_of(str(tmp_path / "data"), IngestOptions(eval_share=0.5))
    assert [[source.takes(str(number)) for number in range(4)].count(True) for source in sources.values()] == [2, 2]
    assert {source.object_file for source in sources.values()} == {sources["train"].object_file}
    assert notes_on(sources, 0.5)[1] == "A share of 0.5 of the train photos is kept for evaluation (--eval_share)."


def test_only_single_objects_can_be_said_to_be_stuff(tmp_path):
    folder_forms.cvat(tmp_path / "objects")
    options = IngestOptions(stuff=("crate",))
    assert sources_of(str(tmp_path / "objects"), options)["eval"].stuff == ("crate",)
    folder_forms.label_pngs(tmp_path / "labels")
    with pytest.raises(UnknownLayoutError, match="`stuff` is for annotations of single objects.*`things` instead"):
        sources_of(str(tmp_path / "labels"), options)
    with pytest.raises(ValueError, match=r"`stuff` must be of the classes \['ball', 'crate'\]. Received: \['wall'\]"):
        read_categories(sources_of(str(tmp_path / "objects"), IngestOptions(stuff=("wall",)))["train"])


@pytest.mark.parametrize("form", folder_forms.LABEL_FORMS)
def test_label_pngs_with_a_list_of_names_are_semantic_or_with_things_panoptic(tmp_path, form):
    folder_forms.LABEL_FORMS[form](tmp_path / "data")
    found, sources = read(tmp_path / "data", tmp_path / "work")
    assert sources["train"].layout == "label_png"
    assert_objects_are_right(found, range(6), ("background", *folder_forms.NAMES))
    options = IngestOptions(things=("ball",))
    assert sources_of(str(tmp_path / "data"), options)["eval"].things == ("ball",)


def test_a_val_split_whose_photos_are_missing_is_said_and_not_drawn_anew(tmp_path):
    folder_forms.cvat_subsets(tmp_path / "data")
    (tmp_path / "data" / "images" / "Validation").rename(tmp_path / "elsewhere")
    with pytest.raises(UnknownLayoutError) as raised:
        find_data(str(tmp_path / "data"), ["train", "val"], LOCAL)
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


def write_labelme(root, *folders):
    """A labelme photo in each folder; the numbers of the photos go up."""
    for number, folder in enumerate(folders):
        folder_forms.write_photo(root / folder / f"{number}.jpg", number)
        folder_forms.write_json(root / folder / f"{number}.json", folder_forms.labelme_json(number, []))


def photos_of(source):
    return sorted(image["id"] for image in tool_list(source.image_file, "images"))


def test_labelme_jsons_in_folders_below_that_of_their_split_are_all_read(tmp_path):
    write_labelme(tmp_path, "train/left", "train/right.v2", "val/left")
    sources = sources_of(str(tmp_path), IngestOptions())
    found = {split: photos_of(source) for split, source in sources.items()}
    assert found == {"train": ["train/left/0", "train/right.v2/1"], "eval": ["val/left/2"]}


def test_labelme_jsons_in_folders_that_name_no_split_are_all_read(tmp_path):
    write_labelme(tmp_path, ".", "left", "right.v2")
    source = sources_of(str(tmp_path), IngestOptions())["train"]
    assert photos_of(source) == ["0", "left/1", "right.v2/2"]
    assert len({part for s in sources_of(str(tmp_path), IngestOptions()).values() for part in s.part}) == 3


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ((".", "val"), "labelme's jsons lie in val and outside of it. Move those outside into a folder `train`."),
        (("left", "test"), "labelme's jsons lie in test and outside of it."),
        (("train1", "train2"), "More than one folder of labelme's jsons for one split: train1, train2."),
    ],
)
def test_labelme_folders_that_may_share_or_lose_photos_are_refused(tmp_path, folders, words):
    write_labelme(tmp_path, *folders)
    with pytest.raises(UnknownLayoutError, match=re.escape(words)):
        sources_of(str(tmp_path), IngestOptions())


def test_two_exports_of_label_studio_for_one_split_are_refused(tmp_path):
    for name in ("project-1", "project-2"):
        folder_forms.write_json(tmp_path / f"{name}.json", [{"id": 1, "data": {"image": "0.jpg"}, "annotations": []}])
    with pytest.raises(
        UnknownLayoutError, match=r"More than one export of Label Studio for one split: project-1\.json, "
    ):
        sources_of(str(tmp_path), IngestOptions())


def test_two_data_sets_in_voc_s_form_and_two_lists_for_one_split_are_refused(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        folder_forms.cvat_masks(tmp_path / year)
    with pytest.raises(UnknownLayoutError, match=r"More than one data set in VOC's form: VOC2007, VOC2012\. Name one"):
        sources_of(str(tmp_path), IngestOptions())
    lists = tmp_path / "VOC2007" / "ImageSets" / "Segmentation"
    for name in ("train.txt", "train_aug.txt"):
        (lists / name).write_text("0\n")
    with pytest.raises(
        UnknownLayoutError, match=r"More than one list of photos.*: train\.txt, train_aug\.txt\. Keep one"
    ):
        sources_of(str(tmp_path / "VOC2007"), IngestOptions())


@pytest.mark.parametrize("form", [folder_forms.roboflow, folder_forms.cvat, folder_forms.label_pngs])
def test_an_export_in_a_folder_with_a_dot_in_its_name_is_found(tmp_path, form):
    form(tmp_path / "data" / "balls.v3i.export")
    found, _ = read(tmp_path / "data", tmp_path / "work")
    assert sum(map(len, found.values())) >= 6


@pytest.mark.parametrize(
    ("json_name", "folder"),
    [
        ("annotations/{}.json", "{}/images"),
        ("{}.json", "{}/images"),
        ("annotations/instances_{}2017.json", "images/{}"),
        ("annotations/annotations_{}.json", "images/{}"),
        ("annotations/{}_coco.json", "{}"),
    ],
)
def test_splits_that_number_their_photos_alike_have_their_own(tmp_path, json_name, folder):
    for split in ("train", "val", "test"):
        folder_forms.write_photos(tmp_path / folder.format(split), range(6))
        folder_forms.write_json(tmp_path / json_name.format(split), folder_forms.coco(range(6)))
    sources = sources_of(str(tmp_path), IngestOptions())
    expected = {"train": folder.format("train"), "eval": folder.format("val")}
    assert {split: source.photo_dirs for split, source in sources.items()} == {
        split: (str(tmp_path / place),) for split, place in expected.items()
    }


def test_photos_that_their_folders_alone_tell_apart_are_kept_aside_where_these_are_not_there(tmp_path):
    document = folder_forms.coco(range(3))
    for image, name in zip(document["images"], ("left/0.jpg", "C:\\right\\0.jpg", "left/2.jpg"), strict=True):
        image["file_name"] = name
    folder_forms.write_photos(tmp_path / "images", range(3))
    folder_forms.write_json(tmp_path / "result.json", document)
    source = sources_of(str(tmp_path), IngestOptions())["train"]
    plan = plan_split(SplitRequest(split="train"), dataclasses.replace(source, part=(0.0, 1.0)), str(tmp_path))
    assert [ref.file_name for ref in read_references(plan.shards[0])] == ["left/2.jpg"]
    assert [(photo.image_id, photo.reason) for photo in plan.kept_aside] == [
        ("0", "ambiguous_photo"),
        ("1", "ambiguous_photo"),
    ]
    assert "called 0.jpg without their folders" in plan.kept_aside[0].detail and plan.num_records == 3
