"""Tests of `pipeline.retraining.mixed_data`."""

import json
import os
import posixpath
import shutil
import tempfile

import pytest

from components.coco_example_gen.data_manifest import read_manifest
from components.coco_example_gen.layouts.split_source import PANOPTIC
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.reader import read_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.sources import sources_of
from components.panoptic_predictor.image_attributes import MAX_TEXT_BYTES
from pipeline.retraining.mixed_data import FIXED, OtherDataError, Source, build_mix, check_categories, pin_eval_photos
from tests.pipeline.span_folders import change_annotations, rename_a_class, seal, write_span


def source(folder, number):
    path = folder / f"span-{number}"
    return Source(f"span-{number}", str(path), read_manifest(str(path / "manifest.json")))


@pytest.fixture
def spans(drawn_spans, tmp_path):
    shutil.copytree(drawn_spans, tmp_path, dirs_exist_ok=True)
    return [source(tmp_path, number) for number in (1, 2, 3)]


def read(mix, split):
    return json.loads((mix / "annotations" / f"panoptic_{split}.json").read_text())


def folders(mix, split):
    return [image["file_name"].split("/")[0] for image in read(mix, split)["images"]]


def test_new_photos_are_all_learnt_from_and_history_is_the_wanted_share(spans, tmp_path):
    mix = tmp_path / "mix"
    counts = build_mix(str(mix), spans[2], spans[:2], spans[0], history_share=0.25)
    # 6 new photos are three quarters of 8.
    assert counts["train"]["span-3"] == 6
    assert counts["train"].get("span-1", 0) + counts["train"].get("span-2", 0) == 2
    assert counts["eval"] == {"fixed": 3, "new": 3}
    assert sorted(folders(mix, "train2017")).count("span-3") == 6
    assert json.loads((mix / "mix.json").read_text()) == counts


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.9, 12)])
def test_without_a_share_nothing_and_with_a_large_one_all_there_is_comes_from_history(spans, tmp_path, share, count):
    counts = build_mix(str(tmp_path / "mix"), spans[2], spans[:2], spans[0], history_share=share)
    assert sum(counts["train"].values()) - 6 == count


def test_the_same_draw_is_made_again_and_another_span_draws_others(spans, tmp_path):
    def drawn(new, name):
        history = [part for part in spans if part is not new]
        build_mix(str(tmp_path / name), new, history, spans[0], history_share=0.5)
        images = read(tmp_path / name, "train2017")["images"]
        return {image["file_name"] for image in images if not image["file_name"].startswith(new.name)}

    assert drawn(spans[2], "a") == drawn(spans[2], "b")
    assert {name for name in drawn(spans[1], "c") if name.startswith("span-1/")} != {
        name for name in drawn(spans[2], "a") if name.startswith("span-1/")
    }


def test_the_mix_is_a_data_set_that_the_ingestion_can_read(spans, tmp_path):
    mix = tmp_path / "mix"
    build_mix(str(mix), spans[1], spans[:1], spans[0], history_share=0.5)
    sources = sources_of(str(mix), IngestOptions())
    assert {part.truth for part in sources.values()} == {PANOPTIC}
    for split in ("train2017", "val2017"):
        document = read(mix, split)
        entries = {entry["image_id"]: entry for entry in document["annotations"]}
        assert len(entries) == len(document["images"])
        for image in document["images"]:
            assert (mix / split / image["file_name"]).is_file()
            png = entries[image["id"]]["file_name"]
            assert (mix / "annotations" / f"panoptic_{split}" / png).is_file()


def test_the_newest_annotations_of_a_photo_replace_older_ones(tmp_path):
    write_span(tmp_path, 1)
    write_span(tmp_path, 2, seed=1, num_train=4)  # The same scenes, as far as they go.
    change_annotations(tmp_path / "span-2", lambda document: document["annotations"][0].update(note="corrected"))
    first, second = source(tmp_path, 1), source(tmp_path, 2)
    counts = build_mix(str(tmp_path / "mix"), second, [first], first, history_share=0.9)
    assert counts["train"] == {"span-2": 4, "span-1": 2}
    assert counts["eval"] == {"fixed": 3}
    assert "corrected" in {entry.get("note") for entry in read(tmp_path / "mix", "train2017")["annotations"]}


def test_what_is_judged_on_is_never_learnt_from(spans, tmp_path):
    photo = next((tmp_path / "span-1" / "val2017").iterdir())
    target = sorted((tmp_path / "span-2" / "train2017").iterdir())[0]
    target.write_bytes(photo.read_bytes())
    seal(tmp_path / "span-2")
    counts = build_mix(str(tmp_path / "mix"), source(tmp_path, 2), [], spans[0], history_share=0.5)
    assert counts["train"] == {"span-2": 5}


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_photos_may_share_a_png_and_no_file_of_a_span_is_written(spans, tmp_path):
    def share(document):
        first, second, *_ = document["annotations"]
        second.update(file_name=first["file_name"], segments_info=first["segments_info"])

    change_annotations(tmp_path / "span-2", share)
    second, before = source(tmp_path, 2), files_of(tmp_path / "span-2")
    build_mix(str(tmp_path / "mix"), second, [spans[0]], second, history_share=0.5)
    assert files_of(tmp_path / "span-2") == before
    shared = [entry["file_name"] for entry in read(tmp_path / "mix", "train2017")["annotations"]]
    assert len(set(shared)) == len(shared) - 1


@pytest.mark.parametrize("name", ["cam1/a.jpg", "site 1/cam1/a.jpg", f"{'0' * 60}.jpg"])
def test_photos_in_folders_and_with_long_names_are_in_the_slice_that_the_gate_judges(spans, tmp_path, name):
    def rename(document):
        image = document["images"][0]
        place = tmp_path / "span-1" / "val2017"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / image["file_name"]).rename(place / name)
        image["file_name"] = name

    change_annotations(tmp_path / "span-1", rename, ["val2017"])
    first = source(tmp_path, 1)
    counts = build_mix(str(tmp_path / "mix"), spans[1], [], first, history_share=0)
    names = [image["file_name"] for image in read(tmp_path / "mix", "val2017")["images"]]
    assert {posixpath.dirname(each) for each in names} == {"fixed", "new"}
    assert max(len(each.encode()) for each in names) <= MAX_TEXT_BYTES
    assert counts["eval"] == {"fixed": 3, "new": 3}
    assert all((tmp_path / "mix" / "val2017" / each).is_file() for each in names)


def test_two_sources_of_one_name_are_refused_before_a_file_is_written(spans, tmp_path):
    other = Source("span-2", spans[0].path, spans[0].manifest)
    before = files_of(tmp_path / "span-1") | files_of(tmp_path / "span-2")
    with pytest.raises(FileExistsError):
        build_mix(str(tmp_path / "mix"), spans[1], [other], spans[2], history_share=0.9)
    assert files_of(tmp_path / "span-1") | files_of(tmp_path / "span-2") == before
    assert not (tmp_path / "mix").exists()


def test_a_record_that_cannot_be_used_or_leaves_the_folder_is_left_out(drawn_spans, tmp_path):
    shutil.copytree(drawn_spans / "span-1", tmp_path / "span-1")

    def spoil(document):
        document["images"][0]["file_name"] = "../../secret.jpg"
        del document["images"][1]["id"]
        document["annotations"] = [entry for entry in document["annotations"] if entry["image_id"] != 27]

    change_annotations(tmp_path / "span-1", spoil, ["train2017"])
    counts = build_mix(str(tmp_path / "mix"), source(tmp_path, 1), [], source(tmp_path, 1), history_share=0)
    assert counts["train"] == {"span-1": 3}


def named_segments(path, split):
    """Name and area of every segment of a folder, by the class indices that its Examples have."""
    part = sources_of(str(path), IngestOptions())[split]
    with tempfile.TemporaryDirectory() as work_dir:
        plan = plan_split(SplitRequest(split=split, num_shards=1), part, work_dir)
        records = [read_record(ref, part, plan.categories) for ref in read_references(plan.shards[0])]
    names = plan.categories.names
    return names, sorted((names[s.class_index], s.area_px) for record in records for s in record.segments)


def test_a_span_that_lists_its_classes_in_another_order_keeps_their_meaning_in_the_mix(spans, tmp_path):
    order, first = named_segments(spans[0].path, "train")
    expected = named_segments(spans[1].path, "train")[1]
    change_annotations(tmp_path / "span-2", lambda document: document["categories"].reverse())
    assert named_segments(spans[1].path, "train") == (order[::-1], expected)
    new = source(tmp_path, 2)
    check_categories(new.path, spans[0].path)
    counts = build_mix(str(tmp_path / "mix"), new, spans[:1], spans[0], history_share=0.5)
    assert counts["train"] == {"span-2": 6, "span-1": 6}
    # The order in which every model has learnt, and each segment of both spans with its own name.
    assert named_segments(tmp_path / "mix", "train") == (order, sorted(first + expected))


def test_a_span_that_numbers_the_same_names_otherwise_is_refused(spans, tmp_path):
    def renumber(document):
        for category in document["categories"]:
            category["id"] += 1000

    change_annotations(tmp_path / "span-2", renumber)
    with pytest.raises(OtherDataError, match=r"its classes in panoptic_val2017.json are others.*ball \(id 1001, thing"):
        check_categories(spans[1].path, spans[0].path)


def test_a_pipe_in_the_place_of_a_photo_is_left_out_and_nothing_waits_for_it(drawn_spans, tmp_path):
    shutil.copytree(drawn_spans / "span-1", tmp_path / "span-1")
    for split in ("train2017", "val2017"):
        photo = sorted((tmp_path / "span-1" / split).iterdir())[0]
        photo.unlink()
        os.mkfifo(photo)
    seal(tmp_path / "span-1")
    span = source(tmp_path, 1)
    pin_eval_photos(str(tmp_path / "fixed"), span)
    fixed = Source(FIXED, str(tmp_path / "fixed"), read_manifest(str(tmp_path / "fixed" / "manifest.json")))
    counts = build_mix(str(tmp_path / "mix"), span, [], fixed, history_share=0)
    assert counts == {"train": {"span-1": 5}, "eval": {"fixed": 2}}


def test_other_classes_are_refused_by_name(spans, tmp_path):
    check_categories(spans[1].path, spans[0].path)
    change_annotations(tmp_path / "span-2", rename_a_class)
    with pytest.raises(OtherDataError, match=r"only before: ball \(id 1, thing\); only now: globe"):
        check_categories(spans[1].path, spans[0].path)


def test_pinned_photos_stay_when_the_span_goes(spans, tmp_path):
    pinned = tmp_path / "fixed"
    pin_eval_photos(str(pinned), spans[0])
    for photo in (tmp_path / "span-1" / "val2017").iterdir():
        photo.write_bytes(b"other")
    fixed = Source(FIXED, str(pinned), read_manifest(str(pinned / "manifest.json")))
    counts = build_mix(str(tmp_path / "mix"), spans[1], [], fixed, history_share=0)
    assert counts["eval"] == {"fixed": 3, "new": 3}
    photos = (tmp_path / "mix" / "val2017" / "fixed").iterdir()
    assert all(photo.read_bytes()[:2] == b"\xff\xd8" for photo in photos)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(OtherDataError, match="not in COCO's panoptic layout"):
        build_mix(
            str(tmp_path / "mix"), Source("a", str(tmp_path), {}), [], Source("b", str(tmp_path), {}), history_share=0
        )
