"""Four data sets in their published layouts: found, read, and equal where they show the same scenes."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.coco_example_gen.conversion.conversion_step import convert_shard
from components.coco_example_gen.kept_aside import BadRecordError, KeptAside
from components.coco_example_gen.layouts.published import UnknownLayoutError, find_sources
from components.coco_example_gen.records.label_png import read_label_png
from components.coco_example_gen.records.reader import read_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ParserConfig
from maskformer_model.data import examples, preprocessing
from maskformer_model.data.input_pipeline import load_example
from maskformer_model.data.panoptic_png import decode_panoptic_png
from tests.components import layout_samples
from tests.components.layout_samples import CITYSCAPES_LABEL, CLASS_OF, isthing

SAMPLES = layout_samples.draw_samples(2, 3)
LABEL_WRITERS = {
    "ade20k": layout_samples.write_ade20k_labels,
    "ade20k_full": lambda root, samples: layout_samples.write_official_labels(root, samples, "ade20k_full"),
    "coco_stuff_10k": lambda root, samples: layout_samples.write_official_labels(root, samples, "coco_stuff_10k"),
    "cityscapes": layout_samples.write_cityscapes_labels,
    "vistas_v2.0": layout_samples.write_vistas_labels,
    "vistas_v1.2": lambda root, samples: layout_samples.write_vistas_labels(root, samples, "v1.2"),
}


def read(root, work_dir, split="val", layout="auto"):
    """The layout that was found, its categories and its records in order; nothing may be kept aside."""
    work_dir.mkdir(exist_ok=True)
    source = find_sources(str(root), [split], os.path.exists, layout)[split]
    plan = plan_split(SplitRequest(split=split, num_shards=1), source, str(work_dir))
    refs = list(read_references(plan.shards[0]))
    assert [entry for entry in (*plan.kept_aside, *refs) if isinstance(entry, KeptAside)] == []
    return source.layout, plan.categories, [read_record(ref, source, plan.categories) for ref in refs]


def pixels(record):
    return preprocessing.decode_image(tf.constant(record.image_encoded)).numpy()


@pytest.mark.parametrize("layout", layout_samples.PANOPTIC_WRITERS)
def test_panoptic_layouts_are_recognised_and_give_the_same_photos_and_segments(tmp_path, layout):
    layout_samples.PANOPTIC_WRITERS[layout](tmp_path / "data", SAMPLES)
    found, categories, records = read(tmp_path / "data", tmp_path / "work")
    assert found == layout
    assert categories.names == tuple(CLASS_OF)
    for record, sample in zip(records, SAMPLES["val"], strict=True):
        np.testing.assert_array_equal(pixels(record), sample.rgb)
        np.testing.assert_array_equal(decode_panoptic_png(record.panoptic_png), sample.segment_map)
        expected = {k: (CLASS_OF[name], isthing(name), crowd) for k, (name, crowd) in sample.segments.items()}
        assert {s.id: (s.class_index, s.isthing, s.iscrowd) for s in record.segments} == expected


def test_the_older_vistas_and_coco_with_pngs_beside_the_photos_are_recognised(tmp_path):
    layout_samples.write_vistas_panoptic(tmp_path / "vistas", SAMPLES, "v1.2")
    assert read(tmp_path / "vistas", tmp_path / "work")[0] == "vistas_v1.2_panoptic"
    layout_samples.write_coco(tmp_path / "coco", SAMPLES)
    for split in ("train2017", "val2017"):
        (tmp_path / "coco" / "annotations" / f"panoptic_{split}").rename(tmp_path / "coco" / f"panoptic_{split}")
    layout, _, records = read(tmp_path / "coco", tmp_path / "work")
    assert (layout, len(records)) == ("coco_panoptic", 3)


def test_ade20k_labels_make_one_segment_per_category(tmp_path):
    layout_samples.write_ade20k_labels(tmp_path / "data", SAMPLES)
    layout, categories, records = read(tmp_path / "data", tmp_path / "work")
    assert (layout, categories.names) == ("ade20k", tuple(CLASS_OF))
    assert categories.category_ids.tolist() == list(range(7))  # As in the panoptic json.
    for record, sample in zip(records, SAMPLES["val"], strict=True):
        labels = layout_samples.semantic_map(sample)
        np.testing.assert_array_equal(decode_panoptic_png(record.panoptic_png), labels)
        assert {s.class_index for s in record.segments} == {CLASS_OF[name] for name, _ in sample.segments.values()}
        assert not any(s.isthing or s.iscrowd for s in record.segments)


@pytest.mark.parametrize(
    ("layout", "num_classes", "first", "last", "last_id"),
    [
        ("ade20k_full", 847, "wall", "adding machine, totalizer, totaliser", 846),
        ("coco_stuff_10k", 171, "person", "wood", 182),
    ],
)
def test_what_the_official_preparation_writes_has_the_official_classes(
    tmp_path, layout, num_classes, first, last, last_id
):
    LABEL_WRITERS[layout](tmp_path / "data", SAMPLES)
    found, categories, records = read(tmp_path / "data", tmp_path / "work")
    assert (found, categories.num_classes) == (layout, num_classes)
    assert (categories.names[0], categories.names[-1]) == (first, last)
    assert categories.category_ids[-1] == last_id
    assert not categories.isthing.any()
    for record, sample in zip(records, SAMPLES["val"], strict=True):
        labels = layout_samples.semantic_map(sample)
        # The drawn scenes' seven categories stand for the last seven; a segment's id is its class index + 1.
        expected = np.where(labels > 0, labels + num_classes - 7, 0)
        np.testing.assert_array_equal(decode_panoptic_png(record.panoptic_png), expected)
        assert {s.class_index + 1 for s in record.segments} == set(np.unique(expected)) - {0}
        assert not any(s.isthing or s.iscrowd for s in record.segments)


@pytest.mark.parametrize(
    ("layout", "label", "expected"), [("ade20k_full", 847, "0 to 846, and 65535"), ("coco_stuff_10k", 171, "0 to 170")]
)
def test_a_number_beyond_the_classes_is_no_label(layout, label, expected):
    categories = CategoryTable.from_coco([{"id": n, "name": str(n), "isthing": 0} for n in range(label)])
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 2), label, np.uint16)).save(buffer, "TIFF" if layout == "ade20k_full" else "PNG")
    with pytest.raises(BadRecordError, match=expected):
        read_label_png(buffer.getvalue(), layout, categories, b"")


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_tiff_is_a_bad_record(damage):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(buffer, "TIFF")
    whole, categories = buffer.getvalue(), CategoryTable.from_coco([{"id": 0, "name": "wall"}])
    random = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole)
        if damage == "cut":
            content = content[: random.integers(0, len(whole))]
        else:
            for place in random.integers(0, len(whole), 5):
                content[place] = random.integers(0, 256)
        try:
            read_label_png(bytes(content), "ade20k_full", categories, b"")
        except BadRecordError:
            continue


def test_cityscapes_instance_ids_are_its_panoptic_ids(tmp_path):
    layout_samples.write_cityscapes_labels(tmp_path / "data", SAMPLES)
    layout, categories, records = read(tmp_path / "data", tmp_path / "work")
    assert (layout, categories.num_classes) == ("cityscapes", 19)
    assert categories.isthing.sum() == 8
    for record, sample in zip(records, SAMPLES["val"], strict=True):
        ids = layout_samples.cityscapes_ids(sample).astype(np.int32)
        np.testing.assert_array_equal(decode_panoptic_png(record.panoptic_png), np.where(ids == 3, 0, ids))
        expected = {
            (CITYSCAPES_LABEL[name], isthing(name), crowd and isthing(name)) for name, crowd in sample.segments.values()
        }
        assert {(s.category_id, s.isthing, s.iscrowd) for s in record.segments} == expected


@pytest.mark.parametrize("version", ["v1.2", "v2.0"])
def test_vistas_labels_with_instances_are_things(tmp_path, version):
    layout_samples.write_vistas_labels(tmp_path / "data", SAMPLES, version)
    layout, categories, records = read(tmp_path / "data", tmp_path / "work")
    assert (layout, categories.names) == (f"vistas_{version}", tuple(CLASS_OF))
    for record, sample in zip(records, SAMPLES["val"], strict=True):
        ids = decode_panoptic_png(record.panoptic_png)
        # Every sample's segment is one of ours, whatever its number.
        for k, (name, _) in sample.segments.items():
            [found] = set(ids[sample.segment_map == k].tolist())
            [segment] = [s for s in record.segments if s.id == found]
            assert (segment.class_index, segment.isthing) == (CLASS_OF[name], isthing(name))
        np.testing.assert_array_equal(ids == 0, sample.segment_map == 0)


@pytest.mark.parametrize(
    ("writer", "layout"),
    [
        (layout_samples.write_cityscapes_labels, "cityscapes_labels"),
        (layout_samples.write_vistas_labels, "vistas_v2.0_labels"),
        (LABEL_WRITERS["vistas_v1.2"], "vistas_v1.2_labels"),
    ],
)
def test_labels_without_instances_are_regions_and_those_of_things_are_crowds(tmp_path, writer, layout):
    writer(tmp_path / "data", SAMPLES)
    with_instances = layout.removesuffix("_labels")
    found, _, records = read(tmp_path / "data", tmp_path / "work", layout=layout)
    _, _, instances = read(tmp_path / "data", tmp_path / "work", layout=with_instances)
    assert found == layout
    for record, other in zip(records, instances, strict=True):
        classes = [s.class_index for s in record.segments]
        assert len(set(classes)) == len(classes)
        assert set(classes) == {s.class_index for s in other.segments}
        assert all(s.iscrowd == s.isthing for s in record.segments)
        assert sum(s.area_px for s in record.segments) == sum(s.area_px for s in other.segments)


def test_plain_instances_are_drawn_with_the_smaller_on_top_and_crowds_below(tmp_path):
    # Three objects in a photo of 6 x 8: a crowd as uncompressed run lengths over all, a square of 4 x 4 as a polygon,
    # and in it a square of 2 x 2 as compressed run lengths.
    from pycocotools import mask as coco_mask

    (tmp_path / "data" / "val2017").mkdir(parents=True)
    (tmp_path / "data" / "annotations").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "data" / "val2017" / "a.png")
    small = np.zeros((6, 8), np.uint8)
    small[2:4, 2:4] = 1
    compressed = coco_mask.encode(np.asfortranarray(small))
    compressed["counts"] = compressed["counts"].decode()
    objects = [
        {"id": 11, "category_id": 3, "segmentation": compressed, "iscrowd": 0},
        {"id": 12, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]], "iscrowd": 0},
        {"id": 13, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [0, 48]}, "iscrowd": 1},
    ]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "annotations": [entry | {"image_id": 1} for entry in objects],
        "categories": [{"id": 1, "name": "ball"}, {"id": 3, "name": "crate"}],
    }
    (tmp_path / "data" / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    layout, _, [record] = read(tmp_path / "data", tmp_path / "work")
    assert layout == "coco_instances"
    expected = np.full((6, 8), 3)
    expected[1:5, 1:5] = 2
    expected[2:4, 2:4] = 1
    np.testing.assert_array_equal(decode_panoptic_png(record.panoptic_png), expected)
    assert [(s.id, s.category_id, s.iscrowd, s.area_px) for s in record.segments] == [
        (1, 3, False, 4),
        (2, 1, False, 12),
        (3, 1, True, 32),
    ]


def test_real_instances_without_pngs_agree_with_the_panoptic_pngs(shared_dir, tmp_path):
    root = shared_dir / "data" / "coco_panoptic"
    _, _, panoptic = read(root, tmp_path / "work", layout="coco_panoptic")
    _, categories, plain = read(root, tmp_path / "work", layout="coco_instances")
    assert categories.isthing.all()
    differing = total = 0
    for whole, things in zip(panoptic, plain, strict=True):
        assert whole.source_id == things.source_id
        is_thing = np.isin(decode_panoptic_png(whole.panoptic_png), [s.id for s in whole.segments if s.isthing])
        differing += int((is_thing != (decode_panoptic_png(things.panoptic_png) > 0)).sum())
        total += is_thing.size
        assert sorted(s.category_id for s in things.segments) == sorted(
            s.category_id for s in whole.segments if s.isthing
        )
    # These instances were cut out of the same PNGs.
    assert differing == 0 and total > 10_000_000


@pytest.mark.parametrize("writer", [*layout_samples.PANOPTIC_WRITERS.values(), *LABEL_WRITERS.values()])
def test_what_is_written_is_what_the_input_pipeline_reads(tmp_path, writer):
    """The contract between writer and reader, for every layout: the Example of each record parses to its content."""
    writer(tmp_path / "data", SAMPLES)
    _, _, records = read(tmp_path / "data", tmp_path / "work")
    source = find_sources(str(tmp_path / "data"), ["val"], os.path.exists)["val"]
    plan = plan_split(SplitRequest(split="eval", num_shards=1), source, str(tmp_path / "work"))
    (tmp_path / "out" / "Split-eval").mkdir(parents=True)
    convert_shard(plan.shards[0], plan.categories, str(tmp_path / "out"), str(tmp_path / "work"))
    [path] = (tmp_path / "out" / "Split-eval").iterdir()
    serialized = list(tf.data.TFRecordDataset(str(path)))
    parser = ParserConfig(min_sizes_px=(40,), max_size_px=48, output_size=(0, 0), keep_crowd=True)
    for record, example in zip(records, serialized, strict=True):
        decoded = examples.decode_record(example.numpy())
        # Brightness is stored as float32.
        assert decoded.segments == record.segments and decoded.channel_sums == record.channel_sums
        assert (decoded.image_encoded, decoded.panoptic_png) == (record.image_encoded, record.panoptic_png)
        parsed = examples.parse_example(example)
        assert parsed["image/segment/id"].numpy().tolist() == [s.id for s in record.segments]
        assert parsed["image/channel_sum"].numpy().tolist() == pixels(record).reshape(-1, 3).sum(axis=0).tolist()
        loaded = load_example(example, parser=parser, kind="panoptic")
        np.testing.assert_array_equal(loaded["image"], pixels(record))
        ids = decode_panoptic_png(record.panoptic_png)
        for number, segment in enumerate(record.segments, 1):
            np.testing.assert_array_equal(loaded["segment_map"].numpy() == number, ids == segment.id)
        assert loaded["segment_classes"].numpy().tolist() == [s.class_index for s in record.segments]


def test_a_layout_that_is_named_is_taken_even_where_another_would_be_found(tmp_path):
    layout_samples.write_cityscapes_panoptic(tmp_path / "data", SAMPLES)
    layout_samples.write_cityscapes_labels(tmp_path / "data", SAMPLES)
    assert read(tmp_path / "data", tmp_path / "work")[0] == "cityscapes_panoptic"
    assert read(tmp_path / "data", tmp_path / "work", layout="cityscapes")[0] == "cityscapes"
    with pytest.raises(UnknownLayoutError, match="objectInfo150.txt"):
        find_sources(str(tmp_path / "data"), ["val"], os.path.exists, "ade20k")
