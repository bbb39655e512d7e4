"""Data sets as users of labelling tools reported them, made here and converted by the command."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
import shutil
import struct
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.coco_example_gen import create_coco_tf_record, data_manifest, inspect
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.records.json_stream import stream_list
from maskformer_model.data import examples, panoptic_png

HEIGHT, WIDTH, NUM_PHOTOS = 12, 16, 3
CATEGORIES = [{"id": 1, "name": "ball", "isthing": 1}, {"id": 92, "name": "sky", "isthing": 0}]
SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


class DataSet:
    """Three photos with a ball in the sky, as a panoptic json with PNGs and as an instances json."""

    def __init__(self, root: pathlib.Path):
        self.root, self.photos, self.pngs = root, root / "photos", root / "pngs"
        self.photos.mkdir(parents=True)
        self.pngs.mkdir()
        ids = np.full((HEIGHT, WIDTH), 7, np.int32)
        ids[2:8, 2:8] = 9
        self.images, self.panoptic, self.objects = [], [], []
        for number in range(1, NUM_PHOTOS + 1):
            noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(noise).save(self.photos / f"{number}.jpg")
            (self.pngs / f"{number}.png").write_bytes(panoptic_png.encode_panoptic_png(ids))
            self.images.append({"id": number, "file_name": f"{number}.jpg", "height": HEIGHT, "width": WIDTH})
            segments = [
                {"id": 7, "category_id": 92, "iscrowd": 0, "area": HEIGHT * WIDTH - 36, "bbox": [0, 0, WIDTH, HEIGHT]},
                {"id": 9, "category_id": 1, "iscrowd": 0, "area": 36, "bbox": [2, 2, 6, 6]},
            ]
            self.panoptic.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
            box = {"bbox": [2, 2, 6, 6], "area": 36, "iscrowd": 0}
            self.objects.append({"id": number, "image_id": number, "category_id": 1, "segmentation": SQUARE, **box})
        self.segment, self.object = self.panoptic[0]["segments_info"][1], self.objects[0]

    def write(self, kind: str, categories=CATEGORIES, encoding="utf-8") -> pathlib.Path:
        annotations = self.panoptic if kind == "panoptic" else self.objects
        document = {"images": self.images, "annotations": annotations, "categories": categories}
        path = self.root / f"{kind}.json"
        path.write_text(json.dumps(document), encoding=encoding)
        return path

    def convert(self, kind: str, prefix="out/val", write=True, flags=(), **options):
        """Status, records by id, and reasons by id of what was kept aside and of what was noticed."""
        if write:
            self.write(kind, **options)
        files = [f"--{'object' if kind == 'instances' else kind}_annotations_file={self.root}/{kind}.json"]
        files += [f"--panoptic_masks_dir={self.pngs}"] if kind == "panoptic" else []
        status = create_coco_tf_record.main(
            [
                *(f"--image_dir={self.photos}", *files, f"--output_file_prefix={self.root}/{prefix}"),
                *("--num_shards=1", "--num_processes=0", "--max_kept_aside_share=0.9", *flags),
            ]
        )
        records, lists = {}, []
        for shard in tf.io.gfile.glob(f"{self.root}/{prefix}-*.tfrecord"):
            for serialized in tf.data.TFRecordDataset(shard).as_numpy_iterator():
                record = examples.decode_record(serialized)
                records[record.source_id] = record
        for name in ("kept_aside", "notices"):
            path = pathlib.Path(f"{self.root}/{prefix}.{name}.jsonl")
            lines = path.read_text().splitlines() if path.exists() else []
            lists.append({(line := json.loads(text))["image_id"]: line["reason"] for text in lines})
        return status, records, *lists


@pytest.fixture
def data(tmp_path):
    return DataSet(tmp_path / "data")


ALL_IDS = ["1", "2", "3"]


def nested(depth=3000):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def write_nested(data, key):
    """A json whose first object has a field that is nested more deeply than Python's own writer can go."""
    path = data.write("instances")
    text = path.read_text()
    path.write_text(text.replace(f'"{key}": ', f'"{key}": {"[" * 3000}{"]" * 3000}, "other": ', 1))


OBJECT_FIELDS = [
    ({"iscrowd": None}, None),
    ({"area": None}, None),
    ({"bbox": [None] * 4}, None),
    ({"area": float("nan")}, None),
    ({"category_id": 1.0, "id": 1.0, "image_id": 1.0}, None),
    ({"image_id": "1"}, None),
    ({"iscrowd": False}, None),
    ({"bbox": ["2", "2", "6", "6"]}, "malformed_annotation"),
    ({"bbox": [2, 2, 6]}, "malformed_annotation"),
    ({"iscrowd": "0"}, "malformed_annotation"),
    ({"iscrowd": 2}, "malformed_annotation"),
    ({"category_id": [1]}, "malformed_annotation"),
    ({"category_id": True}, "malformed_annotation"),
    ({"category_id": "1"}, "malformed_annotation"),
    ({"category_id": 2**70}, "malformed_annotation"),
    ({"category_id": None}, "malformed_annotation"),
    ({"category_id": 5}, "unknown_category"),
    ({"segmentation": {"size": 192, "counts": [0, 192]}}, "rle_size_mismatch"),
    ({"segmentation": SQUARE[0]}, "malformed_polygon"),
    ({"segmentation": [[2, 2], [8, 2], [8, 8], [2, 8]]}, "malformed_polygon"),
    ({"segmentation": None}, "malformed_annotation"),
    # The polygon in percent of the photo; one of a set that was enlarged by two, with the old boxes or the old areas.
    ({"segmentation": [[12.5, 16.7, 50, 16.7, 50, 66.7, 12.5, 66.7]]}, "polygon_outside_image"),
    ({"segmentation": [[4, 4, 11, 4, 11, 11, 4, 11]]}, "bbox_mismatch"),
    ({"bbox": [1, 1, 3, 3], "area": 9}, "bbox_mismatch"),
    # The box and area of a mask whose speck on the right is not among the polygons; the box alone proves nothing.
    ({"bbox": [2, 2, 12, 6], "area": 38}, None),
    ({"bbox": [2, 2, 12, 6], "area": None}, "bbox_mismatch"),
    ({"bbox": [2, 2, 12, 6], "area": 72}, "bbox_mismatch"),
    ({"area": 144}, "area_mismatch"),
    ({"area": 0}, "area_mismatch"),
]


@pytest.mark.parametrize(("fields", "reason"), OBJECT_FIELDS, ids=[str(fields)[:60] for fields, _ in OBJECT_FIELDS])
def test_a_field_of_one_object_costs_its_photo_at_most(data, fields, reason):
    data.object.update(fields)
    status, records, kept_aside, _ = data.convert("instances")
    assert status == 0
    assert kept_aside == ({"1": reason} if reason else {})
    assert sorted(records) == [image_id for image_id in ALL_IDS if image_id not in kept_aside]
    assert [segment.iscrowd for record in records.values() for segment in record.segments] == [False] * len(records)


SEGMENT_FIELDS = [
    ({"id": 9.0, "category_id": 1.0}, None),
    ({"area": float("nan"), "bbox": None}, None),
    ({"iscrowd": "0"}, "malformed_annotation"),
    ({"id": True}, "malformed_annotation"),
    ({"id": 9.5}, "malformed_annotation"),
    ({"area": 9}, "area_mismatch"),
    ({"bbox": [1, 1, 3, 3]}, "bbox_mismatch"),
]


@pytest.mark.parametrize(("fields", "reason"), SEGMENT_FIELDS, ids=[str(fields)[:60] for fields, _ in SEGMENT_FIELDS])
def test_a_field_of_one_segment_costs_its_photo_at_most(data, fields, reason):
    data.segment.update(fields)
    status, records, kept_aside, _ = data.convert("panoptic")
    assert status == 0
    assert kept_aside == ({"1": reason} if reason else {})
    assert sorted(records) == [image_id for image_id in ALL_IDS if image_id not in kept_aside]


IMAGE_FIELDS = [
    ({"id": 1.0}, None),
    ({"id": "1"}, None),
    ({"height": float(HEIGHT), "width": float(WIDTH)}, None),
    ({"height": None, "width": None}, None),
    ({"file_name": 5}, "malformed_annotation"),
    ({"file_name": "a" * 300 + ".jpg"}, "unreadable_file"),
    ({"file_name": "half\ud83d.jpg"}, "missing_photo"),
    ({"height": 2**70}, "malformed_annotation"),
    ({"width": None}, "malformed_annotation"),
]


@pytest.mark.parametrize(("fields", "reason"), IMAGE_FIELDS, ids=[ascii(fields)[:60] for fields, _ in IMAGE_FIELDS])
def test_a_field_of_one_photo_costs_it_at_most(data, fields, reason):
    data.images[0].update(fields)
    status, records, kept_aside, _ = data.convert("panoptic")
    assert status == 0
    assert kept_aside == ({"1": reason} if reason else {})
    assert sorted(records) == [image_id for image_id in ALL_IDS if image_id not in kept_aside]


def test_an_id_of_more_than_64_bits_joins_photo_and_segments(data):
    data.images[0]["id"] = data.panoptic[0]["image_id"] = 2**70
    assert sorted(data.convert("panoptic")[1]) == [str(2**70), "2", "3"]


def test_an_object_that_is_nested_3000_deep_costs_its_photo(data):
    write_nested(data, "segmentation")
    status, records, kept_aside, _ = data.convert("instances", write=False)
    assert (status, sorted(records), kept_aside) == (0, ["2", "3"], {"1": "malformed_annotation"})


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def circle(path):
    path.unlink()
    path.symlink_to(path.name)


def replace(path, change):
    path.write_bytes(change(path.read_bytes()))


def large_jpeg():
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT * 8, WIDTH * 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def cut_and_closed(jpeg):
    return jpeg[: len(jpeg) * 2 // 3] + b"\xff\xd9"


def zeros_in_the_middle(jpeg):
    start = len(jpeg) * 2 // 3
    return jpeg[:start] + bytes(64) + jpeg[start + 64 :]


def other_size_in_the_header(jpeg):
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", HEIGHT, WIDTH) + jpeg[at + 4 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (pipe, "unreadable_file"),
        (circle, "unreadable_file"),
        (lambda path: (path.unlink(), path.symlink_to("gone.jpg")), "unreadable_file"),
        (lambda path: replace(path, lambda _: other_size_in_the_header(large_jpeg())), "damaged_photo"),
    ],
    ids=["pipe", "circle of links", "link to nothing", "header of another size"],
)
def test_a_photo_that_cannot_be_read_costs_itself(data, damage, reason, capsys):
    damage(data.photos / "1.jpg")
    status, records, kept_aside, _ = data.convert("panoptic")
    assert (status, sorted(records), kept_aside) == (0, ["2", "3"], {"1": reason})
    # Neither the hashes before a run nor the page before a training wait for it or end with it.
    source = SplitSource(layout="here", truth="panoptic", photo_dirs=(str(data.photos),))
    assert sorted(data_manifest.build_manifest(str(data.root), [source])) == [f"photos/{n}.jpg" for n in (1, 2, 3)]
    for split in ("train", "val"):
        shutil.copytree(data.photos, data.root / "page" / split, symlinks=True, copy_function=link_or_copy)
        shutil.copy(data.write("instances"), data.root / "page" / split / "_annotations.coco.json")
    assert inspect.main([str(data.root / "page"), "--page", ""]) == 0
    assert re.search(rf"{reason} +(train|val|eval) +1 ", capsys.readouterr().out)


def link_or_copy(source, target):
    """Copies a photo, and makes a pipe of a pipe."""
    os.mkfifo(target) if pathlib.Path(source).is_fifo() else shutil.copy(source, target)


@pytest.mark.parametrize("change", [cut_and_closed, zeros_in_the_middle])
def test_a_jpeg_whose_data_are_not_whole_is_found(data, change):
    image = {"id": 4, "file_name": "4.jpg", "height": HEIGHT * 8, "width": WIDTH * 8}
    data.images.append(image)
    (data.photos / "4.jpg").write_bytes(large_jpeg())
    data.objects.append(data.object | {"id": 4, "image_id": 4})
    assert sorted(data.convert("instances")[1]) == [*ALL_IDS, "4"]
    (data.photos / "4.jpg").write_bytes(change(large_jpeg()))
    assert data.convert("instances", prefix="damaged/val")[2] == {"4": "damaged_photo"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_read(data, encoding):
    assert sorted(data.convert("panoptic", encoding=encoding)[1]) == ALL_IDS


def test_a_name_is_found_in_either_form_of_its_accents(data):
    name = unicodedata.normalize("NFD", "Straße-äö.jpg")
    (data.photos / "1.jpg").rename(data.photos / name)
    data.images[0]["file_name"] = unicodedata.normalize("NFC", name)
    assert sorted(data.convert("panoptic")[1]) == ALL_IDS


@pytest.mark.parametrize("color", [None, [0, 113, 188, 255], "#0071bc", "blue", [1], 5])
def test_a_colour_is_optional(data, color):
    categories = [CATEGORIES[0] | {"color": color}, CATEGORIES[1]]
    assert sorted(data.convert("panoptic", categories=categories)[1]) == ALL_IDS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"isthing": "0"}, "category 'sky': `isthing` must be the number 0 or 1. Received: '0'"),
        ({"isthing": None}, "category 'sky' has no `isthing`"),
        ({"name": None}, "category None: `name` must be text. Received: None"),
        ({"name": 7}, "`name` must be text. Received: 7"),
        ({"id": True}, "`id` must be a whole number"),
        ({"id": "92"}, "`id` must be a whole number"),
    ],
)
def test_a_category_that_says_less_than_it_must_refuses_the_file_in_a_line(data, changes, words, capsys):
    assert data.convert("panoptic", categories=[CATEGORIES[0], CATEGORIES[1] | changes])[0] == 1
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_orphans_specks_and_stray_polygons_cost_themselves_alone(data):
    data.objects += [data.object | {"id": 50 + k, "image_id": 50 + k} for k in range(9)]
    data.objects.append(
        data.objects[1] | {"id": 40, "segmentation": [[3, 9, 3.1, 9, 3.1, 9.1]], "bbox": None, "area": None}
    )
    data.objects[2]["segmentation"] = [*SQUARE, [11, 11, 12, 12]]
    status, records, kept_aside, notices = data.convert("instances")
    assert (status, sorted(records), kept_aside) == (0, ALL_IDS, {})
    assert notices.pop("2") == "object_without_pixels"
    assert notices.pop("3") == "stray_polygon"
    assert set(notices.values()) == {"orphaned_annotation"} and len(notices) == 9
    assert [segment.area_px for record in records.values() for segment in record.segments] == [36, 36, 36]


def test_objects_that_the_converter_leaves_out_are_counted(data):
    # Half a pixel below the photo: cut at its edge.
    data.object |= {"segmentation": [[2, 2, 8, 2, 8, 12.5, 2, 12.5]], "bbox": [2, 2, 6, 10.5], "area": 63}
    data.objects[1] |= {"segmentation": None, "bbox": [2, 2, 0, 6]}
    data.objects[2] |= {"segmentation": [[3, 9, 3.1, 9, 3.1, 9.1]], "bbox": None, "area": None}
    data.write("instances")

    def noticed(*flags):
        files = f"--object_annotations_file={data.root}/instances.json"
        assert data.convert("panoptic", flags=[files, *flags])[0] == 0
        lines = (data.root / "out" / "val.notices.jsonl").read_text().splitlines()
        return [(json.loads(line)["image_id"], json.loads(line)["reason"]) for line in lines]

    left_out = [("2", "object_left_out"), ("3", "object_left_out")]
    assert noticed() == [("1", "box_leaves_photo"), *left_out]
    assert noticed("--skip_objects_outside") == [("1", "box_leaves_photo"), ("1", "object_left_out"), *left_out]


def test_own_ids_of_stuff_are_converted_and_only_8_bit_masks_refuse_them(data, capsys):
    for annotation in data.panoptic:
        for segment in annotation["segments_info"]:
            segment["category_id"] = {92: 1, 1: 0}[segment["category_id"]]
    categories = [{"id": 0, "name": "ball", "isthing": 1}, {"id": 1, "name": "sky", "isthing": 0}]
    assert sorted(data.convert("panoptic", categories=categories)[1]) == ALL_IDS
    masks = f"--panoptic_masks_dir={data.pngs}", "--include_panoptic_masks", f"--image_dir={data.photos}"
    files = f"--panoptic_annotations_file={data.root}/panoptic.json", f"--output_file_prefix={data.root}/masks/val"
    assert create_coco_tf_record.main([*masks, *files, "--num_shards=1", "--num_processes=0"]) == 1
    assert "Leave the flag out" in capsys.readouterr().err


def test_a_folder_has_one_list_of_categories(data, capsys):
    ball, cube = {"id": 1, "name": "ball"}, {"id": 2, "name": "cube"}
    data.convert("instances", prefix="out/train", categories=[ball, cube])
    _, records, _, _ = data.convert("instances", categories=[cube, ball])
    # The ball is class 0 in both, as `categories.json` says.
    assert [s.class_index for record in records.values() for s in record.segments] == [0, 0, 0]
    before = (data.root / "out" / "categories.json").read_text()
    assert [entry["name"] for entry in json.loads(before)] == ["ball", "cube"]
    assert data.convert("instances", prefix="out/test", categories=[ball | {"name": "disc"}, cube])[0] == 1
    assert "only in the folder: ball (id 1, thing); only in the json: disc" in capsys.readouterr().err
    assert (data.root / "out" / "categories.json").read_text() == before


def test_numbers_and_texts_that_no_json_has_are_read_from_where_the_fast_parser_stops(tmp_path):
    path = tmp_path / "a.json"
    odd = '{"a": NaN, "b": -Infinity, "s": "NaN \\ude00 \\\\ud83d"}'
    path.write_text(f'{{"images": [{{"a": 1}}, {odd}, {{"a": {2**80}}}]}}')
    expected = [{"a": 1}, {"a": None, "b": None, "s": "NaN \ufffd \\ud83d"}, {"a": 2**80}]
    assert list(stream_list(str(path), "images")) == expected
    path.write_text('{"images": [{"a": 1}, {"a": NaN')
    with pytest.raises(ValueError, match="ends or breaks after 1 entries"):
        list(stream_list(str(path), "images"))
