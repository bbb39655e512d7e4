"""Runs every handed-over data set of `shared/cases/data` against what its script's docstring says is right.

Each folder there has a script that makes a data set with one fault that users of labelling tools have reported.
"""

from __future__ import annotations

import json
import pathlib
import runpy
import sys
from collections import Counter

import pytest
import tensorflow as tf

from components.coco_example_gen import create_coco_tf_record, inspect
from components.coco_example_gen.conversion.conversion_step import convert_shard, read_report
from components.coco_example_gen.layouts.find import notes_on
from components.coco_example_gen.options import SPLITS, IngestOptions
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split
from components.coco_example_gen.sources import sources_of
from components.panoptic_evaluator import evaluate
from maskformer_model.data import examples
from maskformer_model.data.input_pipeline import open_records
from tests.components.brightness_model import CATEGORIES, save_model

# Most scripts draw 20 photos of 48 x 64 px, each with a ball of 20 x 20 px in the sky.
BALL, SKY = ("ball", 400, False), ("sky", 48 * 64 - 400, False)


@pytest.fixture(scope="module")
def made(shared_dir, tmp_path_factory):
    """Makes a case's data set, once, and returns its folder; takes the case's name and its script's arguments."""
    folders: dict[str, pathlib.Path] = {}

    def make(case: str, *arguments: str) -> pathlib.Path:
        if case not in folders:
            folders[case] = tmp_path_factory.mktemp("case") / case
            script = str(shared_dir / "cases" / "data" / case / "make_case.py")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", [script, str(folders[case]), *arguments])
                runpy.run_path(script)
        return folders[case]

    return make


def convert(folder, json_name, output, *flags, split="val2017", prefix="val"):
    """Runs the converter; its status."""
    kind = "panoptic" if json_name.startswith("panoptic") else "object"
    files = [f"--{kind}_annotations_file={folder}/annotations/{json_name}.json", f"--image_dir={folder}/{split}"]
    files += [f"--panoptic_masks_dir={folder}/annotations/panoptic_{split}"] if kind == "panoptic" else []
    places = [f"--output_file_prefix={output}/{prefix}", "--num_shards=1", "--num_processes=0"]
    return create_coco_tf_record.main([*files, *places, *flags])


def records_of(output, prefix="val"):
    [path] = output.glob(f"{prefix}-*.tfrecord")
    return [examples.decode_record(one) for one in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def entries_of(output, name):
    return [json.loads(line) for line in (output / f"val.{name}.jsonl").read_text().splitlines()]


def truth_of(record, names):
    """A record's segments: name, pixels, and if it is a crowd."""
    return sorted((names[s.class_index], s.area_px, s.iscrowd) for s in record.segments)


def score(folder, truth, prediction, *flags):
    """Runs the evaluation; its status and its numbers, or None."""
    output = folder / "numbers.json"
    output.unlink(missing_ok=True)
    files = [f"--gt_json_file={folder}/annotations/{truth}.json", f"--output={output}", "--num_workers=1"]
    status = evaluate.main([*files, f"--pred_json_file={folder}/annotations/{prediction}.json", *flags])
    return status, json.loads(output.read_text()) if output.exists() else None


def test_every_handed_over_case_has_a_test(shared_dir):
    cases = [path.parent.name for path in (shared_dir / "cases" / "data").glob("*/make_case.py")]
    text = pathlib.Path(__file__).read_text(encoding="utf-8")
    assert cases
    assert [case for case in cases if f'"{case}"' not in text] == []


# Case, json, and of its photos: why one is kept aside, what the reason's words say, and what is noticed how often.
CONVERSIONS = [
    ("01-category-colours", "instances_null", "", "", {}),
    ("01-category-colours", "instances_rgba", "", "", {}),
    ("01-category-colours", "instances_hex", "", "", {}),
    ("04-null-fields-of-one-object", "instances_iscrowd_null", "", "", {}),
    ("04-null-fields-of-one-object", "instances_bbox_nulls", "", "", {}),
    ("04-null-fields-of-one-object", "instances_bbox_text", "malformed_annotation", "`bbox` must be four numbers", {}),
    ("04-null-fields-of-one-object", "instances_area_null", "", "", {}),
    ("04-null-fields-of-one-object", "instances_category_list", "malformed_annotation", "Received: [1]", {}),
    ("04-null-fields-of-one-object", "instances_rle_size", "rle_size_mismatch", "of 3072 px", {}),
    ("07-broken-exif", "panoptic_png", "size_mismatch", "(48, 64) px, expected were (64, 48)", {}),
    ("07-broken-exif", "panoptic_text", "size_mismatch", "(48, 64) px, expected were (64, 48)", {}),
    ("09-nan-in-json", "panoptic_val2017", "", "", {}),
    ("15-ids-are-floats", "panoptic_a", "", "", {}),
    ("15-ids-are-floats", "panoptic_b", "", "", {}),
    ("15-ids-are-floats", "panoptic_c", "", "", {}),
    ("18-trimmed-images", "instances_val2017", "", "", {"orphaned_annotation": 480}),
    ("21-own-ids-of-stuff", "panoptic_val2017", "", "", {}),
    ("22-flat-polygon", "instances_val2017", "malformed_polygon", "must be a list of polygons", {}),
    ("22-flat-polygon", "instances_pairs", "malformed_polygon", "points, each in a list of its own", {}),
    ("23-byte-order-mark", "panoptic_val2017", "", "", {}),
    ("23-byte-order-mark", "panoptic_utf16", "", "", {}),
    ("25-names-decomposed", "panoptic_val2017", "", "", {}),
    ("29-one-speck-among-good-polygons", "instances_val2017", "", "", {"stray_polygon": 1}),
    ("29-one-speck-among-good-polygons", "instances_all", "", "", {"object_without_pixels": 20}),
    ("31-half-a-surrogate", "panoptic_name", "missing_photo", "not found", {}),
]


@pytest.mark.parametrize(
    ("case", "json_name", "reason", "words", "noticed"), CONVERSIONS, ids=[f"{row[0]}-{row[1]}" for row in CONVERSIONS]
)
def test_a_fault_costs_its_photo_at_most(made, tmp_path, case, json_name, reason, words, noticed):
    assert convert(made(case), json_name, tmp_path) == 0
    kept_aside = entries_of(tmp_path, "kept_aside")
    assert [(entry["image_id"], entry["reason"]) for entry in kept_aside] == ([("1", reason)] if reason else [])
    assert all(words in entry["detail"] for entry in kept_aside)
    assert Counter(entry["reason"] for entry in entries_of(tmp_path, "notices")) == noticed
    records = records_of(tmp_path)
    assert {record.source_id for record in records} == {str(n) for n in range(2 if reason else 1, 21)}
    names = [entry["name"] for entry in json.loads((tmp_path / "categories.json").read_text())]
    truth = [BALL, SKY] if json_name.startswith("panoptic") else [BALL]
    assert [truth_of(record, names) for record in records] == [truth] * len(records)


REFUSALS = [
    ("05-iscrowd-is-text", "panoptic_val2017", "`iscrowd` must be the number 0 or 1. Received: '0'"),
    ("05-iscrowd-is-text", "panoptic_isthing", "`isthing` must be the number 0 or 1. Received: '1'"),
    ("17-isthing-is-missing", "panoptic_val2017", "category 'ball' has no `isthing`"),
    ("32-area-of-another-size", "panoptic_val2017", "`area` is 668 in the json and 2672 px counted in the pixels"),
]


@pytest.mark.parametrize(("case", "json_name", "words"), REFUSALS, ids=[f"{row[0]}-{row[1]}" for row in REFUSALS])
def test_a_fault_of_every_photo_or_of_a_category_is_refused_in_a_line(made, tmp_path, capsys, case, json_name, words):
    assert convert(made(case), json_name, tmp_path) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert not list(tmp_path.glob("*.tfrecord"))


@pytest.mark.parametrize(("case", "json_name", "words"), REFUSALS, ids=[f"{row[0]}-{row[1]}" for row in REFUSALS])
def test_the_evaluation_refuses_them_too(made, capsys, case, json_name, words):
    folder = made(case)
    pngs = f"{folder}/annotations/panoptic_val2017"
    assert score(folder, json_name, json_name, f"--gt_folder={pngs}", f"--pred_folder={pngs}") == (2, None)
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_splits_of_another_order_end_with_one_list_of_classes(made, tmp_path):
    folder = made("02-splits-with-other-order")
    for split in ("train", "val"):
        assert convert(folder, f"instances_{split}2017", tmp_path, split=f"{split}2017", prefix=split) == 0
    names = [entry["name"] for entry in json.loads((tmp_path / "categories.json").read_text())]
    assert names == ["ball", "cube"]
    for split in ("train", "val"):
        assert [truth_of(record, names) for record in records_of(tmp_path, split)] == [[BALL]] * 20


def test_own_ids_of_stuff_are_refused_only_where_8_bit_masks_are_asked_for(made, tmp_path, capsys):
    folder = made("21-own-ids-of-stuff")
    assert convert(folder, "panoptic_val2017", tmp_path, "--include_panoptic_masks") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "Leave the flag out" in line


def test_a_caption_that_ends_in_half_an_emoji_costs_nothing(made, tmp_path):
    folder = made("31-half-a-surrogate")
    captions = f"--caption_annotations_file={folder}/annotations/captions_val2017.json"
    assert convert(folder, "panoptic_val2017", tmp_path, captions) == 0
    assert (entries_of(tmp_path, "kept_aside"), len(records_of(tmp_path))) == ([], 20)


def ingest(folder, output):
    """Converts both splits as the pipeline does; by split, records with their classes' names. None is skipped."""
    sources, found = sources_of(str(folder), IngestOptions()), {}
    for split in SPLITS:
        plan = plan_split(SplitRequest(split=split), sources[split], str(output))
        (output / f"Split-{split}").mkdir()
        for shard in plan.shards:
            convert_shard(shard, plan.categories, str(output), str(output))
            assert [*plan.kept_aside, *read_report(shard, str(output))] == []
        records = open_records([str(output / shard.path) for shard in plan.shards])[1].as_numpy_iterator()
        found[split] = [examples.decode_record(one) for one in records], plan.categories
    return found, sources


def test_appledouble_files_are_no_photos(made, tmp_path):
    found, _ = ingest(made("10-appledouble-files"), tmp_path)
    for records, table in found.values():
        assert [truth_of(record, table.names) for record in records] == [[BALL, SKY]] * 20


def test_a_root_category_and_a_class_of_one_name_are_told_apart(made, tmp_path, capsys):
    folder = made("16-roboflow-root-category")
    found, _ = ingest(folder, tmp_path)
    debris = "debris <1%> & 'x', a/b"
    for split, num_photos in (("train", 24), ("eval", 8)):
        records, table = found[split]
        assert [(c.id, c.name) for c in table.categories] == [(0, "cells"), (1, "cells"), (2, debris)]
        truth = [(1, 400), (2, 324)]
        assert [[(s.class_index, s.area_px) for s in r.segments] for r in records] == [truth] * num_photos
    assert inspect.main([str(folder), "--page", ""]) == 0
    page = capsys.readouterr().out
    assert "Classes that share a name: cells." in page
    assert "Classes that no photo has: cells (id 0)." in page


def test_pq_leaves_the_class_out_that_never_occurs(made, tmp_path):
    records, table = ingest(made("16-roboflow-root-category"), tmp_path)[0]["eval"]
    pngs = tmp_path / "annotations" / "truth"
    pngs.mkdir(parents=True)
    document = {"images": [], "annotations": [], "categories": table.to_coco()}
    for record in records:
        (pngs / f"{record.source_id}.png").write_bytes(record.panoptic_png)
        segments = [{"id": s.id, "category_id": s.category_id, "area": s.area_px} for s in record.segments]
        named = {"image_id": record.source_id, "file_name": f"{record.source_id}.png", "segments_info": segments}
        document["images"].append({"id": record.source_id, "height": 48, "width": 64})
        document["annotations"].append(named)
    (tmp_path / "annotations" / "truth.json").write_text(json.dumps(document))
    status, numbers = score(tmp_path, "truth", "truth")
    assert (status, numbers["summary"]["All"]) == (0, {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2})


@pytest.mark.parametrize(
    ("export", "tool", "num_photos"), [("roboflow", "Roboflow", (20, 20)), ("cvat", "CVAT or Datumaro", (16, 4))]
)
def test_untouched_exports_are_read(made, tmp_path, export, tool, num_photos):
    found, sources = ingest(made("34-exporters-layouts") / export, tmp_path)
    assert {source.tool for source in sources.values()} == {tool}
    assert tuple(len(found[split][0]) for split in ("train", "eval")) == num_photos
    for records, table in found.values():
        assert [truth_of(record, table.names) for record in records] == [[BALL]] * len(records)
    # CVAT's export has one split: what is kept for evaluation is said.
    assert any("0.2 of its photos is kept for evaluation" in note for note in notes_on(sources)) == (export == "cvat")


ONE = {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2}


@pytest.mark.parametrize("json_name", ["panoptic_val2017", "panoptic_utf16"])
def test_a_byte_order_mark_is_read_by_the_evaluation(made, json_name):
    folder = made("23-byte-order-mark")
    pngs = f"{folder}/annotations/panoptic_val2017"
    status, numbers = score(folder, json_name, json_name, f"--gt_folder={pngs}", f"--pred_folder={pngs}")
    assert (status, numbers["summary"]["All"]) == (0, ONE)


def test_text_and_number_ids_meet_and_padded_ones_are_told(made, capsys):
    folder = made("26-text-and-number-ids")
    status, numbers = score(folder, "panoptic_val2017", "predictions")
    assert (status, numbers["summary"]["All"]) == (0, ONE)
    assert score(folder, "panoptic_val2017", "padded") == (2, None)
    assert "'1' in the truth, '000000000001' in the prediction" in capsys.readouterr().err


@pytest.mark.parametrize("prediction", ["none", "ball"])
def test_a_truth_with_nothing_to_find_has_no_classes_and_no_false_positives(made, prediction):
    status, numbers = score(made("27-nothing-to-find"), "truth", prediction)
    assert (status, numbers["summary"]["All"]) == (0, {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 0})
    assert [(row["tp"], row["fp"], row["fn"]) for row in numbers["per_category"].values()] == [(0, 0, 0)] * 2


@pytest.mark.parametrize("prediction", ["same", "shifted"])
@pytest.mark.parametrize(
    ("areas", "words"),
    [("pixels", "`area` is 668 in the json and 2672"), ("json", "must not make its IoU larger than 1")],
)
def test_areas_of_another_size_give_no_score(made, capsys, prediction, areas, words):
    folder = made("32-area-of-another-size")
    assert score(folder, "panoptic_val2017", prediction, f"--areas={areas}") == (2, None)
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert "668" in line


def test_a_shifted_ball_of_iou_below_one_half_is_no_match(made, capsys):
    folder = made("32-area-of-another-size")
    assert score(folder, "good", "same")[1]["summary"]["All"] == ONE
    # The shifted prediction has kept the boxes of the truth.
    assert score(folder, "good", "shifted") == (2, None)
    assert "`bbox` is [4, 4, 20, 20] in the json and [12, 4, 20, 20] around the pixels" in capsys.readouterr().err
    document = json.loads((folder / "annotations" / "shifted.json").read_text())
    for annotation in document["annotations"]:
        for segment in annotation["segments_info"]:
            del segment["bbox"]
    (folder / "annotations" / "boxless.json").write_text(json.dumps(document))
    status, numbers = score(folder, "good", "boxless", f"--pred_folder={folder}/annotations/shifted")
    ball, sky = numbers["per_category"]["1"], numbers["per_category"]["92"]
    assert (status, ball["tp"], ball["fp"], ball["fn"], ball["pq"]) == (0, 0, 20, 20, 0.0)
    # The shifted ball takes 160 px of the sky's 2672 and gives as many back: IoU 2512 / 2832.
    assert (sky["tp"], sky["iou"]) == (20, pytest.approx(20 * 2512 / 2832))


@pytest.fixture(scope="module")
def ground_model(tmp_path_factory):
    """A model that says ground of all pixels of the case's photos, whose mean is 160."""
    return save_model(tmp_path_factory.mktemp("model") / "saved", threshold=200)


@pytest.mark.parametrize("variant", ["sub", "beside", "absolute", "noimages"])
def test_photos_in_folders_are_predicted_below_the_output_folder_alone(made, ground_model, tmp_path, capsys, variant):
    table = tmp_path / "categories.json"
    table.write_text(json.dumps(CATEGORIES.to_coco()))
    folder, output = made("14-photos-in-folders", str(table)), tmp_path / "numbers.json"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    flags = [f"--data={folder / variant}", f"--predictions={tmp_path}/out", "--num_workers=1", f"--output={output}"]
    status = evaluate.main([f"--model={ground_model}", *flags])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    if variant in ("sub", "beside"):
        assert (status, json.loads(output.read_text())["summary"]["Stuff"]["pq"]) == (0, 1.0)
        assert (tmp_path / "out/predictions" / ("cam1/0001.png" if variant == "sub" else "0001.png")).exists()
    else:
        [line] = capsys.readouterr().err.splitlines()
        assert (status, output.exists()) == (2, False)
        assert ("`file_name`" if variant == "absolute" else "`images`") in line
