"""Reading COCO's panoptic layout: what is taken, each reason to keep a record aside, shards, hashes. No TFX here."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.coco_example_gen import data_manifest, manifest
from components.coco_example_gen.conversion.conversion_step import ConvertShards, convert_shard, read_report
from components.coco_example_gen.data_manifest import build_manifest, input_digest
from components.coco_example_gen.kept_aside import BadRecordError, KeptAside, TooManyKeptAsideError, check_share
from components.coco_example_gen.layouts.published import find_sources
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.records.photo_check import check_photo
from components.coco_example_gen.records.reader import read_checked_record, read_record
from components.coco_example_gen.records.reference_files import SplitRequest, num_shards, plan_split, read_references
from maskformer_model.data import examples, panoptic_png
from maskformer_model.scenes import data_set

SPLIT = "val2017"
NUM_SCENES = 6


@pytest.fixture(scope="module")
def pristine_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scenes")
    data_set.write_data_set(directory, num_train=2, num_val=NUM_SCENES, size_px=48, seed=3)
    return directory


@pytest.fixture
def data_dir(pristine_dir, tmp_path):
    return shutil.copytree(pristine_dir, tmp_path / "data")


class _Split:
    """One split of a data set on disk, with the means to damage its first photo's record."""

    def __init__(self, data_dir):
        self.source = find_sources(str(data_dir), ["val"], os.path.exists)["val"]
        self.work_dir = data_dir.with_name("work")
        self.document = json.loads((data_dir / "annotations" / f"panoptic_{SPLIT}.json").read_text())
        self.image = min(self.document["images"], key=lambda image: image["file_name"])
        [self.annotation] = [a for a in self.document["annotations"] if a["image_id"] == self.image["id"]]
        self.photo = data_dir / SPLIT / self.image["file_name"]
        self.png = data_dir / "annotations" / f"panoptic_{SPLIT}" / self.annotation["file_name"]

    def save(self):
        with open(self.source.panoptic_file, "w") as file:
            json.dump(self.document, file)

    def paint(self, change):
        ids = panoptic_png.decode_panoptic_png(self.png.read_bytes()).copy()
        self.png.write_bytes(panoptic_png.encode_panoptic_png(change(ids)))

    def plan(self, **request):
        """The plan of the split, in one shard unless told otherwise."""
        self.work_dir.mkdir(exist_ok=True)
        return plan_split(SplitRequest(**{"split": "eval", "num_shards": 1} | request), self.source, str(self.work_dir))

    def read(self):
        """Records by file name, and the reasons of those kept aside by file name."""
        plan = self.plan()
        records, reasons = {}, {entry.file_name: entry.reason for entry in plan.kept_aside}
        for ref in read_references(plan.shards[0]):
            if isinstance(ref, KeptAside):
                reasons[ref.file_name] = ref.reason
                continue
            try:
                records[ref.file_name] = read_record(ref, self.source, plan.categories)
            except BadRecordError as error:
                reasons[ref.file_name] = error.reason
        return records, reasons


def _painted_over(ids):
    return np.where(ids == ids.max(), 0, ids)


def _new_id(ids):
    ids[0, 0] = 77
    return ids


def _jpeg(height_px, width_px, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (width_px, height_px), 100 if mode == "L" else None).save(buffer, format="JPEG")
    return buffer.getvalue()


def _with_transparency(png_bytes):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png_bytes)).convert("RGBA").save(buffer, format="PNG")
    return buffer.getvalue()


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


DAMAGES = {
    "missing_photo": lambda split: split.photo.unlink(),
    "not_an_image": lambda split: split.photo.write_bytes(b"<html>404</html>"),
    "damaged_photo": lambda split: _cut(split.photo),
    "size_mismatch": lambda split: split.photo.write_bytes(_jpeg(8, 9)),
    "missing_panoptic_png": lambda split: split.png.unlink(),
    "damaged_panoptic_png": lambda split: _cut(split.png),
    "segment_not_in_png": lambda split: split.paint(_painted_over),
    "segment_not_in_json": lambda split: split.paint(_new_id),
    "unknown_category": lambda split: split.annotation["segments_info"][0].update(category_id=4711),
    "repeated_segment_id": lambda split: split.annotation["segments_info"].append(split.annotation["segments_info"][0]),
    "bad_file_name": lambda split: split.annotation.update(file_name="../../outside.png"),
    "missing_annotation": lambda split: split.document["annotations"].remove(split.annotation),
    "repeated_annotation": lambda split: split.document["annotations"].append(split.annotation),
    "malformed_annotation": lambda split: split.image.update(height="tall"),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_record_is_kept_aside_with_its_reason_and_the_rest_goes_on(data_dir, reason):
    split = _Split(data_dir)
    DAMAGES[reason](split)
    split.save()
    records, reasons = split.read()
    assert reasons == {split.image["file_name"]: reason}
    assert len(records) == NUM_SCENES - 1


@pytest.mark.parametrize(
    ("reason", "damage"),
    [
        ("damaged_photo", lambda split: split.photo.write_bytes(b"\xff\xd8\xff\xe0")),
        ("not_an_image", lambda split: split.photo.write_bytes(b"")),
        ("unsuitable_panoptic_png", lambda split: split.png.write_bytes(_with_transparency(split.png.read_bytes()))),
        ("size_mismatch", lambda split: split.paint(lambda ids: ids[1:])),
        ("malformed_annotation", lambda split: split.annotation["segments_info"][0].pop("id")),
        ("malformed_annotation", lambda split: split.annotation.update(segments_info=None)),
    ],
)
def test_other_damages_of_the_same_kinds_are_recognised(data_dir, reason, damage):
    split = _Split(data_dir)
    damage(split)
    split.save()
    assert split.read()[1] == {split.image["file_name"]: reason}


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "a/../../outside.jpg", "..", ".", "a\\b.jpg"])
def test_no_file_name_leads_out_of_the_data_folder(data_dir, name):
    (data_dir / "outside.jpg").write_bytes(_jpeg(48, 48))
    split = _Split(data_dir)
    split.image["file_name"] = name
    split.save()
    assert split.read()[1] == {name: "bad_file_name"}


def test_segments_of_a_photo_that_is_not_listed_cost_no_record(data_dir):
    split = _Split(data_dir)
    split.document["images"].remove(split.image)
    split.save()
    records, reasons = split.read()
    assert len(records) == NUM_SCENES - 1
    assert reasons == {}
    [notice] = split.plan().notices
    assert (notice.reason, notice.file_name) == ("orphaned_annotation", split.annotation["file_name"])


def test_a_record_holds_the_files_as_they_are_and_what_the_png_shows(data_dir):
    split = _Split(data_dir)
    # A map of 4 x 6: void in the first column, a grass segment, and a crate of 2 x 2 in the lower right corner.
    segment_ids = np.full((4, 6), 70000, np.int32)
    segment_ids[:, 0] = 0
    segment_ids[2:, 4:] = 9
    split.png.write_bytes(panoptic_png.encode_panoptic_png(segment_ids))
    split.photo.write_bytes(_jpeg(4, 6, mode="L"))
    split.image.update(height=4, width=6)
    split.annotation["segments_info"] = [
        {"id": 70000, "category_id": 100, "iscrowd": 0, "area": 16, "bbox": [1, 0, 5, 4]},
        {"id": 9, "category_id": 3, "iscrowd": 1},
    ]
    split.save()
    record = split.read()[0][split.image["file_name"]]
    assert (record.image_encoded, record.panoptic_png) == (split.photo.read_bytes(), split.png.read_bytes())
    assert (record.source_id, record.height_px, record.width_px) == (str(split.image["id"]), 4, 6)
    assert record.image_format == "jpeg"
    assert record.brightness == pytest.approx(100 / 255, abs=0.004)
    assert record.captions
    grass, crate = record.segments
    assert (grass.id, grass.category_id, grass.class_index, grass.isthing, grass.iscrowd) == (
        70000,
        100,
        2,
        False,
        False,
    )
    assert (grass.area_px, grass.bbox_px) == (16, (1, 0, 5, 4))
    assert (crate.id, crate.class_index, crate.isthing, crate.iscrowd) == (9, 3, True, True)
    assert (crate.area_px, crate.bbox_px) == (4, (4, 2, 2, 2))


def test_a_photo_without_segments_is_a_record(data_dir):
    split = _Split(data_dir)
    split.paint(np.zeros_like)
    split.annotation["segments_info"] = []
    split.save()
    records, reasons = split.read()
    assert not reasons
    assert records[split.image["file_name"]].segments == ()


def test_captions_may_be_absent(data_dir):
    split = _Split(data_dir)
    os.remove(split.source.caption_file)
    assert {record.captions for record in split.read()[0].values()} == {()}


def test_the_first_photos_by_file_name_are_taken(data_dir):
    split = _Split(data_dir)
    split.document["images"].reverse()
    split.save()
    names = sorted(image["file_name"] for image in split.document["images"])
    plan = split.plan(max_images=2)
    assert [ref.file_name for ref in read_references(plan.shards[0])] == names[:2]
    assert not plan.kept_aside  # The other photos' segments are there by intention.
    assert split.plan(max_images=0).num_records == NUM_SCENES


def test_a_photo_with_too_many_pixels_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr("components.coco_example_gen.records.photo_check.MAX_PHOTO_PIXELS", 71)
    assert check_photo(_jpeg(7, 10), (7, 10)).image_format == "jpeg"
    with pytest.raises(BadRecordError, match="too_large.*8 x 9 px"):
        check_photo(_jpeg(8, 9), (8, 9))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"categories": [', "must be whole json.*after 0 entries"),
        (
            '{"categories": [{"id": 1, "name": "a"}], "images": [{"id": 1}, {"id"',
            "ends or breaks after 1 entries",
        ),
        ("<html>", "must be whole json"),
        ("[]", "must have the list `categories`"),
        ('{"categories": [{"id": 1, "name": "a", "isthing": 1}], "annotations": []}', "must have the list `images`"),
    ],
)
def test_an_annotation_file_that_cannot_be_read_is_an_error_that_names_it(data_dir, content, message):
    split = _Split(data_dir)
    with open(split.source.panoptic_file, "w") as file:
        file.write(content)
    with pytest.raises(ValueError, match=message) as caught:
        split.read()
    assert split.source.panoptic_file in str(caught.value)


def _kept_aside(number, reason="missing_photo"):
    return KeptAside(split="eval", image_id=str(number), file_name=f"{number}.jpg", reason=reason, detail="gone")


def test_the_share_that_is_borne_is_borne_and_one_more_is_not():
    bad = [_kept_aside(1), _kept_aside(2, "unknown_category"), _kept_aside(3)]
    check_share("eval", bad[:2], 40, 0.05, "/list")
    check_share("eval", [], 1, 0.0, "/list")
    with pytest.raises(TooManyKeptAsideError) as caught:
        check_share("eval", bad, 40, 0.05, "/runs/list.jsonl")
    message = str(caught.value)
    for part in ("'eval'", "5.0%", "3 of 40", "2 missing_photo, 1 unknown_category", "/runs/list.jsonl"):
        assert part in message


def test_a_split_without_any_record_is_too_few():
    with pytest.raises(TooManyKeptAsideError, match="2 of 2"):
        check_share("eval", [_kept_aside(1), _kept_aside(2)], 2, 1.0, "/list")
    with pytest.raises(TooManyKeptAsideError, match="0 of 0"):
        check_share("eval", [], 0, 1.0, "/list")


def test_a_bad_record_survives_the_way_between_worker_processes():
    error = pickle.loads(pickle.dumps(BadRecordError("missing_photo", "gone")))
    assert (error.reason, error.detail) == ("missing_photo", "gone")


def _read_split(output_dir):
    shards = sorted((output_dir / "Split-eval").iterdir())
    records = [[examples.decode_record(r) for r in tf.data.TFRecordDataset(str(s)).as_numpy_iterator()] for s in shards]
    return [shard.name for shard in shards], records


def _output_dirs(tmp_path):
    for name in ("out/Split-eval", "work"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    return tmp_path / "out", tmp_path / "work"


def test_photos_are_dealt_out_to_shards_and_references_alone_travel(tmp_path, data_dir):
    split = _Split(data_dir)
    _cut(split.photo)
    plan = split.plan(num_shards=4)
    plans = plan.shards
    # Two photos of 48 x 48 take about 3 kB each; what travels says where they are.
    assert all(len(pickle.dumps(shard)) < 1500 for shard in plans)
    output_dir, work_dir = _output_dirs(tmp_path)
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        pipeline | ConvertShards(plans, plan.categories, str(output_dir), str(work_dir))
    names, shards = _read_split(output_dir)
    assert names == [f"data_tfrecord-{index:05d}-of-00004" for index in range(4)]
    photos = sorted(image["file_name"] for image in split.document["images"])
    expected = [[photos[place] for place in places if place] for places in ([0, 4], [1, 5], [2], [3])]
    assert [[record.filename for record in shard] for shard in shards] == expected
    [entry] = [entry for shard in plans for entry in read_report(shard, str(work_dir))]
    assert (entry.split, entry.file_name, entry.reason) == ("eval", split.image["file_name"], "damaged_photo")
    assert not list(work_dir.glob("unfinished*"))


@pytest.mark.parametrize(("num_images", "wanted", "count"), [(0, 0, 1), (1, 9, 1), (256, 0, 1), (257, 0, 2), (9, 4, 4)])
def test_the_number_of_shards_follows_the_photos(num_images, wanted, count):
    assert num_shards(num_images, wanted) == count


def test_a_shard_appears_whole_or_not_at_all_and_a_retry_writes_it_again(tmp_path, data_dir, monkeypatch):
    split = _Split(data_dir)
    split_plan = split.plan()
    [plan] = split_plan.shards
    output_dir, work_dir = _output_dirs(tmp_path)

    def break_at_the_third(ref, source, categories, seen=[]):  # noqa: B006
        seen.append(ref)
        if len(seen) == 3:
            raise OSError("the disk is gone")
        return read_checked_record(ref, source, categories)

    with monkeypatch.context() as patch:
        patch.setattr("components.coco_example_gen.conversion.conversion_step.read_checked_record", break_at_the_third)
        with pytest.raises(OSError, match="the disk is gone"):
            convert_shard(plan, split_plan.categories, str(output_dir), str(work_dir))
    assert not list((output_dir / "Split-eval").iterdir())
    for _ in range(2):
        convert_shard(plan, split_plan.categories, str(output_dir), str(work_dir))
        [name], [records] = _read_split(output_dir)
        assert (name, len(records)) == ("data_tfrecord-00000-of-00001", NUM_SCENES)


def test_the_manifest_knows_every_file_by_its_content(data_dir):
    split = _Split(data_dir)
    hashes = build_manifest(str(data_dir), [split.source])
    assert len(hashes) == 2 + 2 * NUM_SCENES  # Panoptic and captions json; photos and PNGs.
    name = os.path.relpath(split.photo, data_dir)
    assert hashes[name] == hashlib.sha256(split.photo.read_bytes()).hexdigest()


def test_the_digest_is_a_function_of_the_content_alone(data_dir, tmp_path):
    def digest(directory):
        return input_digest(str(directory), find_sources(str(directory), ["val"], os.path.exists).values())

    before = digest(data_dir)
    copy = shutil.copytree(data_dir, tmp_path / "copy", copy_function=shutil.copyfile)
    assert digest(copy) == before
    for path in (_Split(data_dir).photo, _Split(data_dir).png):
        content, stat = path.read_bytes(), path.stat()
        # One changed bit in the middle, under the same size and time.
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert digest(data_dir) != before
        path.write_bytes(content)
        assert digest(data_dir) == before
    path = _Split(data_dir).photo
    path.rename(path.with_name("renamed.jpg"))
    assert digest(data_dir) != before


def test_a_manifest_is_written_whole_and_says_what_has_changed(data_dir, capsys):
    assert manifest.main(["write", str(data_dir)]) == 0
    digest = capsys.readouterr().out.strip()
    files = data_manifest.read_manifest(str(data_dir / data_manifest.MANIFEST_FILE))
    assert data_manifest.manifest_digest(files) == digest
    assert manifest.main(["check", str(data_dir)]) == 0
    split = _Split(data_dir)
    split.photo.write_bytes(b"changed")
    split.png.unlink()
    capsys.readouterr()
    assert manifest.main(["check", str(data_dir)]) == 1
    png, photo = (os.path.relpath(path, data_dir) for path in (split.png, split.photo))
    assert capsys.readouterr().out.splitlines() == [f"gone: {png}", f"changed: {photo}"]
    path = data_dir / data_manifest.MANIFEST_FILE
    path.write_text(path.read_text().replace(digest, "0" * 64))
    with pytest.raises(ValueError, match="digest must be that of its files"):
        data_manifest.read_manifest(str(path))


def test_a_manifest_that_is_trusted_has_the_same_digest_and_no_photo_is_opened(data_dir):
    sources = [_Split(data_dir).source]
    path = data_dir / data_manifest.MANIFEST_FILE
    digest = data_manifest.write_manifest(str(path), build_manifest(str(data_dir), sources))
    assert digest == input_digest(str(data_dir), sources)
    _Split(data_dir).photo.write_bytes(b"changed")
    assert data_manifest.stated_digest(str(data_dir), sources) == digest


def test_a_manifest_that_cannot_be_trusted_is_refused(data_dir):
    sources = [_Split(data_dir).source]
    with pytest.raises(FileNotFoundError, match="`trust_manifest` needs what `manifest write"):
        data_manifest.stated_digest(str(data_dir), sources)
    path = data_dir / data_manifest.MANIFEST_FILE
    data_manifest.write_manifest(str(path), build_manifest(str(data_dir), sources))
    whole = path.read_text()
    photo = os.path.relpath(_Split(data_dir).photo, data_dir)
    for content, rule in (
        (whole.replace(photo, f"other/{photo}"), "digest must be that of its files"),
        (whole[: len(whole) // 2], "must be json with `digest` and `files`"),
        ("{}", "digest must be that of its files"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=rule):
            data_manifest.stated_digest(str(data_dir), sources)
    path.write_text(whole)
    with open(sources[0].panoptic_file, "a") as file:
        file.write(" ")
    with pytest.raises(ValueError, match=r"older than the data: write it again.*panoptic_val2017\.json"):
        data_manifest.stated_digest(str(data_dir), sources)


def test_options_say_which_folder_and_how_many_photos_a_split_takes():
    options = IngestOptions(max_train_images=8, max_eval_images=5)
    assert [options.folder(split) for split in ("train", "eval")] == ["train", "val"]
    assert [options.max_images(split) for split in ("train", "eval")] == [8, 5]
    overfit = IngestOptions(max_train_images=8, evaluate_on_train=True)
    assert [overfit.folder(split) for split in ("train", "eval")] == ["train", "train"]
    assert [overfit.max_images(split) for split in ("train", "eval")] == [8, 8]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_train_images", -1), ("max_eval_images", -1), ("num_shards", -1), ("max_kept_aside_share", 1.5)),
        *(("eval_share", -0.1), ("layout", "voc")),
    ],
)
def test_options_that_break_their_rule_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {value!r}"):
        IngestOptions(**{name: value})


def test_every_real_photo_of_the_validation_split_is_taken(shared_dir, tmp_path):
    source = find_sources(str(shared_dir / "data" / "coco_panoptic"), ["val"], os.path.exists)["val"]
    plan = plan_split(SplitRequest(split="eval", num_shards=1), source, str(tmp_path))
    assert plan.num_records == 60
    assert plan.categories.num_classes == 133
    with open(source.panoptic_file) as file:
        annotations = {str(entry["image_id"]): entry for entry in json.load(file)["annotations"]}
    for ref in read_references(plan.shards[0]):
        record = read_record(ref, source, plan.categories)
        written = examples.decode_record(examples.encode_example(record).SerializeToString())
        assert written.image_encoded == record.image_encoded
        expected = {
            (s["id"], s["category_id"], s["area"], *s["bbox"]) for s in annotations[ref.image_id]["segments_info"]
        }
        assert {(s.id, s.category_id, s.area_px, *s.bbox_px) for s in written.segments} == expected
        assert 0 < written.brightness < 1
