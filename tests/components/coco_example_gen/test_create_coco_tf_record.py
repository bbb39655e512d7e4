"""The converter with tf-maskformer's flags: names, keys, values by hand, and every real photo back pixel by pixel."""

from __future__ import annotations

import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.coco_example_gen import create_coco_tf_record
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples, panoptic_png
from maskformer_model.scenes import data_set

NUM_SCENES = 5
OBJECT_KEYS = ["area", "bbox/xmax", "bbox/xmin", "bbox/ymax", "bbox/ymin", "class/label", "class/text", "is_crowd"]
PANOPTIC_KEYS = ["category_mask", "class_ids", "contiguous_mask", "instance_ids", "instance_mask"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scenes")
    data_set.write_data_set(directory, num_train=0, num_val=NUM_SCENES, size_px=48, seed=3)
    return directory


def convert(root, output_dir, *flags, split="val2017", kinds=("panoptic",)):
    """Runs the program in this process; returns its status and the Examples' features, file by file."""
    annotations = pathlib.Path(root) / "annotations"
    command = [f"--image_dir={root}/{split}", f"--output_file_prefix={output_dir}/val", "--num_processes=0"]
    names = {"panoptic": "panoptic", "instances": "object", "captions": "caption"}
    command += [f"--{names[kind]}_annotations_file={annotations}/{kind}_{split}.json" for kind in kinds]
    if "panoptic" in kinds:
        command.append(f"--panoptic_masks_dir={annotations}/panoptic_{split}")
    status = create_coco_tf_record.main([*command, *flags])
    files = sorted(output_dir.glob("val-*"))
    records = [list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()) for file in files]
    return status, [file.name for file in files], records


def _features(serialized):
    return tf.train.Example.FromString(serialized).features.feature


def _mask(feature):
    return np.asarray(Image.open(io.BytesIO(feature.bytes_list.value[0])))


def test_names_order_and_number_of_the_files_are_the_old_ones(data_dir, tmp_path):
    status, names, records = convert(data_dir, tmp_path, "--num_shards=3")
    assert status == 0
    assert names == [f"val-{index:05d}-of-00003.tfrecord" for index in range(3)]
    images = json.loads((data_dir / "annotations" / "panoptic_val2017.json").read_text())["images"]
    expected = [[image["file_name"] for image in images[index::3]] for index in range(3)]
    assert [[examples.decode_record(r).filename for r in shard] for shard in records] == expected
    assert CategoryTable.load(tmp_path / "categories.json").num_classes == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "categories.json",
        *names,
        "val.kept_aside.jsonl",
        "val.notices.jsonl",
    ]


def test_every_key_that_the_flags_ask_for_is_written(data_dir, tmp_path):
    _, _, [records] = convert(
        data_dir,
        tmp_path,
        *("--num_shards=1", "--include_masks=True", "--include_panoptic_masks"),
        kinds=("panoptic", "instances", "captions"),
    )
    keys = {key for record in records for key in _features(record)}
    assert {f"image/object/{name}" for name in (*OBJECT_KEYS, "mask")} <= keys
    assert {f"image/panoptic/{name}" for name in PANOPTIC_KEYS} <= keys
    scalars = {"encoded", "filename", "format", "height", "key/sha256", "source_id", "width"}
    assert {f"image/{name}" for name in scalars} | {"image/caption", "image/segmentation/class/encoded"} <= keys
    plain = convert(data_dir, tmp_path / "plain", "--num_shards=1", "--noinclude_masks")[2][0]
    assert not [key for record in plain for key in _features(record) if "/object/" in key or "_mask" in key]


def test_masks_boxes_and_lists_have_their_hand_computed_values(tmp_path):
    # 4 x 6 px: void in column 0, grass (id 100, stuff, third class), a crate (id 3) of 2 x 2, a crowd of balls below.
    ids = np.full((4, 6), 70000, np.int32)
    ids[:, 0], ids[2:, 4:], ids[3, 1:3] = 0, 9, 300
    (tmp_path / "photos").mkdir()
    (tmp_path / "pngs").mkdir()
    Image.new("RGB", (6, 4), (10, 20, 30)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "pngs" / "a.png").write_bytes(panoptic_png.encode_panoptic_png(ids))
    images = [{"id": 5, "file_name": "a.png", "height": 4, "width": 6}]
    segments = [(70000, 100, 0), (300, 1, 1), (9, 3, 0)]
    entries = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments]
    panoptic = {"images": images, "categories": list(data_set.CATEGORIES)}
    panoptic["annotations"] = [{"image_id": 5, "file_name": "a.png", "segments_info": entries}]
    square = {"id": 1, "image_id": 5, "category_id": 3, "area": 4, "iscrowd": 0, "bbox": [4, 2, 2, 2]}
    square["segmentation"] = [[4, 2, 6, 2, 6, 4, 4, 4]]
    outside = square | {"id": 2, "bbox": [5, 2, 2, 2]}
    objects = {"images": images, "annotations": [square, outside], "categories": [{"id": 3, "name": "crate"}]}
    for name, document in (("panoptic", panoptic), ("objects", objects)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    status = create_coco_tf_record.main(
        [
            *(f"--image_dir={tmp_path}/photos", f"--panoptic_annotations_file={tmp_path}/panoptic.json"),
            *(f"--panoptic_masks_dir={tmp_path}/pngs", f"--object_annotations_file={tmp_path}/objects.json"),
            *(
                "--include_masks",
                "--include_panoptic_masks",
                "--panoptic_skip_crowd",
                "--num_shards=1",
                "--skip_objects_outside",
            ),
            *("--num_processes=0", f"--output_file_prefix={tmp_path}/out/val"),
        ]
    )
    assert status == 0
    [record] = tf.data.TFRecordDataset(f"{tmp_path}/out/val-00000-of-00001.tfrecord").as_numpy_iterator()
    feature = _features(record)
    kept = np.where(ids == 300, 0, ids)
    semantic = np.select([kept == 70000, kept == 9], [10, 1])
    np.testing.assert_array_equal(_mask(feature["image/segmentation/class/encoded"]), semantic)
    category = np.select([kept == 70000, kept == 9], [100, 3])
    np.testing.assert_array_equal(_mask(feature["image/panoptic/category_mask"]), category)
    contiguous = np.select([kept == 70000, kept == 9], [3, 4])
    np.testing.assert_array_equal(_mask(feature["image/panoptic/contiguous_mask"]), contiguous)
    # The crate is the json's third segment, also where the crowd before it is left out.
    np.testing.assert_array_equal(_mask(feature["image/panoptic/instance_mask"]), np.where(kept == 9, 3, 0))
    assert list(feature["image/panoptic/class_ids"].int64_list.value) == [3, 4]
    assert list(feature["image/panoptic/instance_ids"].int64_list.value) == [0, 3]
    # The second box leaves the photo and is left out, which is counted.
    notices = [json.loads(line) for line in (tmp_path / "out" / "val.notices.jsonl").read_text().splitlines()]
    assert [notice["reason"] for notice in notices] == ["box_leaves_photo", "object_left_out"]
    assert notices[1]["detail"].startswith("object 2: its `bbox` leaves the photo of (4, 6) px")
    edges = {name: list(feature[f"image/object/bbox/{name}"].float_list.value) for name in ("xmin", "ymax")}
    assert edges == {"xmin": [pytest.approx(4 / 6)], "ymax": [1.0]}
    assert list(feature["image/object/class/text"].bytes_list.value) == [b"crate"]
    np.testing.assert_array_equal(_mask(feature["image/object/mask"]), ids == 9)
    assert [segment.id for segment in examples.decode_record(record).segments] == [70000, 9]


def test_without_a_panoptic_json_the_objects_are_the_truth_and_without_any_there_is_none(data_dir, tmp_path):
    _, _, [records] = convert(data_dir, tmp_path / "a", "--num_shards=1", kinds=("instances",))
    segments = [s for record in records for s in examples.decode_record(record).segments]
    assert segments and all(segment.isthing for segment in segments)
    _, _, [records] = convert(data_dir, tmp_path / "b", "--num_shards=1", kinds=("captions",))
    decoded = [examples.decode_record(record) for record in records]
    assert [record.segments for record in decoded] == [()] * NUM_SCENES
    assert all(record.captions for record in decoded)


def test_a_photo_must_be_in_exactly_one_of_several_folders(data_dir, tmp_path):
    first, *_ = sorted((data_dir / "val2017").iterdir())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / first.name).write_bytes(first.read_bytes())
    flags = ("--num_shards=1", f"--image_dir={tmp_path}/more", "--max_kept_aside_share=0.3")
    status, _, [records] = convert(data_dir, tmp_path / "out", *flags)
    assert (status, len(records)) == (0, NUM_SCENES - 1)
    [line] = (tmp_path / "out" / "val.kept_aside.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "ambiguous_photo"


def test_too_many_bad_records_leave_the_list_and_no_record_file(data_dir, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    document = data_dir / "annotations" / "panoptic_val2017.json"
    status = create_coco_tf_record.main(
        [
            *(f"--image_dir={tmp_path}/empty", f"--panoptic_annotations_file={document}", "--num_processes=0"),
            *(f"--panoptic_masks_dir={tmp_path}/empty", f"--output_file_prefix={tmp_path}/out/val", "--num_shards=1"),
        ]
    )
    assert status == 1
    assert "5 missing_photo" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("val-*"))
    assert len((tmp_path / "out" / "val.kept_aside.jsonl").read_text().splitlines()) == NUM_SCENES


def test_record_files_of_another_number_of_shards_are_not_mixed_with_new_ones(data_dir, tmp_path, capsys):
    (tmp_path / "val-00000-of-00009.tfrecord").touch()
    assert convert(data_dir, tmp_path, "--num_shards=1")[0] == 1
    assert "another number of shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--image_dir"),
        (["--image_dir=a"], "one of the json files"),
        (["--image_dir=a", "--panoptic_annotations_file=b"], "--panoptic_masks_dir must be given together"),
        (["--image_dir=a", "--caption_annotations_file=b", "--include_masks"], "needs --object_annotations_file"),
        (["--image_dir=a", "--caption_annotations_file=b", "--include_masks=maybe"], "must be true or false"),
        (["--image_dir=a", "--caption_annotations_file=b", "--num_shards=0"], "--num_shards must be positive"),
    ],
)
def test_a_wrong_command_is_answered_with_what_is_wrong(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        create_coco_tf_record.parse_args(flags)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_arguments_after_two_dashes_are_beams():
    args = create_coco_tf_record.parse_args(
        ["--image_dir=a", "--image_dir=b", "--image_info_file=c", "--", "--runner=FlinkRunner", "--flink_master=x:1"]
    )
    assert args.beam_args == ["--runner=FlinkRunner", "--flink_master=x:1"]
    assert (args.image_dir, args.num_shards, args.output_file_prefix) == (["a", "b"], 32, "/tmp/train")


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from components.coco_example_gen import create_coco_tf_record as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'apache_beam', 'numpy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
    assert "--panoptic_skip_crowd" in output


@pytest.mark.slow
def test_worker_processes_and_the_portable_runner_write_the_same_bytes(data_dir, tmp_path):
    written = {}
    runners = {
        "one process": (),
        "two processes": ("--num_processes=2",),
        "portable": ("--", "--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"),
    }
    for name, flags in runners.items():
        output_dir = tmp_path / name.replace(" ", "_")
        assert convert(data_dir, output_dir, "--num_shards=3", *flags)[0] == 0
        written[name] = [path.read_bytes() for path in sorted(output_dir.glob("val-*"))]
    assert len(written["one process"]) == 3
    assert written["two processes"] == written["portable"] == written["one process"]


def test_all_160_real_photos_come_back_pixel_by_pixel(shared_dir, tmp_path):
    root = shared_dir / "data" / "coco_panoptic"
    seen = 0
    for split in ("train2017", "val2017"):
        kinds = ("panoptic", "instances")
        flags = ("--num_shards=4", "--include_masks=False", "--max_kept_aside_share=0")
        status, _, shards = convert(root, tmp_path / split, *flags, split=split, kinds=kinds)
        assert status == 0
        for record in (examples.decode_record(record) for shard in shards for record in shard):
            photo = root / split / record.filename
            png = root / "annotations" / f"panoptic_{split}" / photo.with_suffix(".png").name
            np.testing.assert_array_equal(_rgb(io.BytesIO(record.image_encoded)), _rgb(photo))
            rgb = np.asarray(Image.open(png)).astype(np.int64)
            ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
            np.testing.assert_array_equal(ids, rgb @ [1, 256, 65536])
            assert {segment.id for segment in record.segments} == set(np.unique(ids).tolist()) - {0}
            seen += 1
    assert seen == 160


def _rgb(file):
    return np.asarray(Image.open(file).convert("RGB"))
