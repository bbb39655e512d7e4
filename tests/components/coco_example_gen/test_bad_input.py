"""Bad input, case by case: each is kept aside under its name or taken by rule, and the other photos go on."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.coco_example_gen.conversion.tf_record_encoder import MaskOptions, TfRecordEncoder
from components.coco_example_gen.kept_aside import BadRecordError, KeptAside
from components.coco_example_gen.layouts.published import find_sources
from components.coco_example_gen.records.instance_masks import object_mask, paint_objects
from components.coco_example_gen.records.photo_check import check_photo
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split, read_references
from components.coco_example_gen.records.references import ImageRef
from maskformer_model.coco_schema import ObjectEntry
from maskformer_model.config import ParserConfig
from maskformer_model.data import examples
from maskformer_model.data.input_pipeline import load_example
from maskformer_model.data.panoptic_png import decode_panoptic_png, encode_panoptic_png

HEIGHT, WIDTH = 6, 8
SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]
CATEGORIES = [{"id": 1, "name": "ball", "isthing": 1}, {"id": 92, "name": "sky", "isthing": 0}]


def image_file(mode="RGB", size=(HEIGHT, WIDTH), kind="PNG", **options):
    buffer = io.BytesIO()
    Image.new(mode, size[::-1]).save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_of_size(width, height, bit_depth=8, color_type=2):
    """A PNG whose header claims a size that its few pixels do not have."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def rotated_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6  # Viewers turn it by 90 degrees.
    return image_file(kind="JPEG", size=(WIDTH, HEIGHT), exif=exif)


class Case:
    """A data set of two photos in COCO's panoptic layout with instances beside; the first is there to be damaged."""

    def __init__(self, root):
        self.root = root
        ids = np.full((HEIGHT, WIDTH), 7, np.int32)
        ids[1:5, 1:5] = 9
        self.ids = ids
        self.photo, self.png = root / "val2017" / "a.jpg", root / "annotations" / "panoptic_val2017" / "a.png"
        self.png.parent.mkdir(parents=True)
        self.photo.parent.mkdir()
        self.images, self.annotations, self.objects = [], [], []
        for number, name in enumerate("ab"):
            (self.photo.parent / f"{name}.jpg").write_bytes(image_file(kind="JPEG"))
            (self.png.parent / f"{name}.png").write_bytes(encode_panoptic_png(ids))
            self.images.append({"id": number, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH})
            segments = [{"id": 7, "category_id": 92, "iscrowd": 0}, {"id": 9, "category_id": 1, "iscrowd": 0}]
            self.annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
            self.objects.append({"id": number, "image_id": number, "category_id": 1, "segmentation": SQUARE})
        self.image, self.annotation, self.object = self.images[0], self.annotations[0], self.objects[0]
        self.segments = self.annotation["segments_info"]

    def read(self, layout):
        """Records of the photos by id, and reasons by id of those kept aside."""
        name, entries = {
            "coco_panoptic": ("panoptic", self.annotations),
            "coco_instances": ("instances", self.objects),
        }[layout]
        document = {"images": self.images, "annotations": entries, "categories": CATEGORIES}
        (self.root / "annotations" / f"{name}_val2017.json").write_text(json.dumps(document))
        source = find_sources(str(self.root), ["val"], os.path.exists, layout)["val"]
        work_dir = self.root / "work"
        work_dir.mkdir()
        plan = plan_split(SplitRequest(split="eval", num_shards=1), source, str(work_dir))
        self.notices = {entry.image_id: entry.reason for entry in plan.notices}
        records, reasons = {}, {entry.image_id: entry.reason for entry in plan.kept_aside}
        for ref in read_references(plan.shards[0]):
            try:
                if isinstance(ref, KeptAside):
                    raise BadRecordError(ref.reason, ref.detail)
                records[ref.image_id], _, notices = read_checked_record(ref, source, plan.categories)
                for notice in notices:
                    self.notices[ref.image_id] = notice.reason
            except BadRecordError as error:
                assert error.detail
                reasons[ref.image_id] = error.reason
        return records, reasons


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_form(case, mode):
    """The panoptic PNG in another form of PNG."""
    image = Image.open(io.BytesIO(case.png.read_bytes()))
    buffer = io.BytesIO()
    (Image.fromarray(case.ids.astype(np.uint16)) if mode == "I;16" else image.convert(mode)).save(buffer, format="PNG")
    case.png.write_bytes(buffer.getvalue())


PANOPTIC_CASES = [
    ("missing image", "missing_photo", lambda c: c.photo.unlink()),
    ("missing PNG", "missing_panoptic_png", lambda c: c.png.unlink()),
    ("truncated JPEG", "damaged_photo", lambda c: half(c.photo)),
    ("not an image", "not_an_image", lambda c: c.photo.write_bytes(b"<html>")),
    ("empty image file", "not_an_image", lambda c: c.photo.write_bytes(b"")),
    ("a folder in place of the image", "missing_photo", lambda c: (c.photo.unlink(), c.photo.mkdir())),
    ("truncated PNG", "damaged_panoptic_png", lambda c: half(c.png)),
    ("no PNG at all", "damaged_panoptic_png", lambda c: c.png.write_bytes(b"GIF89a")),
    ("16-bit panoptic PNG", "unsuitable_panoptic_png", lambda c: as_form(c, "I;16")),
    ("palette panoptic PNG", "unsuitable_panoptic_png", lambda c: as_form(c, "P")),
    ("grayscale panoptic PNG", "unsuitable_panoptic_png", lambda c: as_form(c, "L")),
    ("panoptic PNG with alpha", "unsuitable_panoptic_png", lambda c: as_form(c, "RGBA")),
    ("photo of another size", "size_mismatch", lambda c: c.photo.write_bytes(image_file(size=(5, 5)))),
    ("PNG of another size", "size_mismatch", lambda c: c.png.write_bytes(encode_panoptic_png(c.ids[1:]))),
    ("size of the turned photo", "exif_rotated", lambda c: c.photo.write_bytes(rotated_jpeg())),
    ("segment not in PNG", "segment_not_in_png", lambda c: c.segments.append({"id": 5, "category_id": 1})),
    ("zero-area segment", "segment_not_in_png", lambda c: c.segments.append({"id": 5, "category_id": 1, "area": 0})),
    ("segment not in json", "segment_not_in_json", lambda c: c.segments.pop()),
    ("duplicate segment id", "repeated_segment_id", lambda c: c.segments.append(c.segments[0])),
    ("segment id of void", "malformed_annotation", lambda c: c.segments.append({"id": 0, "category_id": 1})),
    ("segment id of 25 bits", "malformed_annotation", lambda c: c.segments.append({"id": 2**24, "category_id": 1})),
    ("duplicate annotation", "repeated_annotation", lambda c: c.annotations.append(c.annotation)),
    ("unknown category", "unknown_category", lambda c: c.segments[0].update(category_id=4711)),
    ("no annotation", "missing_annotation", lambda c: c.annotations.remove(c.annotation)),
    ("height of zero", "malformed_annotation", lambda c: c.image.update(height=0)),
    ("file_name is a number", "malformed_annotation", lambda c: c.image.update(file_name=5)),
    ("path that climbs", "bad_file_name", lambda c: c.image.update(file_name="../annotations/a.jpg")),
    ("path that climbs late", "bad_file_name", lambda c: c.image.update(file_name="x/../../../etc/passwd")),
    ("absolute path", "bad_file_name", lambda c: c.image.update(file_name="/etc/passwd")),
    ("PNG's path that climbs", "bad_file_name", lambda c: c.annotation.update(file_name="../../val2017/a.png")),
    ("PNG's absolute path", "bad_file_name", lambda c: c.annotation.update(file_name=str(c.png))),
]


def _set(**values):
    return lambda case: case.object.update(**values)


def _rle(size=(HEIGHT, WIDTH), counts=(0, HEIGHT * WIDTH)):
    return {"size": list(size), "counts": counts if isinstance(counts, str) else list(counts)}


INSTANCE_CASES = [
    ("polygon outside the image", "polygon_outside_image", _set(segmentation=[[20, 20, 25, 20, 25, 25]])),
    ("polygon far outside", "polygon_outside_image", _set(segmentation=[[1e12, 0, 1e13, 0, 0, 1e12]])),
    ("no polygon", "empty_polygon", _set(segmentation=[])),
    ("empty polygon", "empty_polygon", _set(segmentation=[[]])),
    ("polygon of two points", "malformed_polygon", _set(segmentation=[[1, 1, 2, 2]])),
    ("half a point", "malformed_polygon", _set(segmentation=[[1, 1, 2, 2, 3, 3, 4]])),
    ("polygon of NaN", "malformed_polygon", _set(segmentation=[["1", 1, 2, 2, 3, 3]])),
    ("RLE of the wrong size", "rle_size_mismatch", _set(segmentation=_rle(size=(9, 9), counts=[0, 81]))),
    ("RLE that does not add up", "rle_size_mismatch", _set(segmentation=_rle(counts=[0, 4711]))),
    ("compressed RLE, too long", "rle_size_mismatch", _set(segmentation=_rle(counts="0PPPPP1"))),
    ("compressed RLE, cut off", "malformed_annotation", _set(segmentation=_rle(counts="0P"))),
    ("compressed RLE, other letters", "malformed_annotation", _set(segmentation=_rle(counts="0\u00e9"))),
    ("RLE of letters", "malformed_annotation", _set(segmentation=_rle(counts=["a"]))),
    ("RLE of negative runs", "malformed_annotation", _set(segmentation=_rle(counts=[-1, 49]))),
    ("no segmentation", "malformed_annotation", lambda c: c.object.pop("segmentation")),
    ("segmentation is text", "malformed_annotation", _set(segmentation="1,1,2,2")),
    ("unknown category", "unknown_category", _set(category_id=4711)),
    ("duplicate id", "repeated_segment_id", lambda c: c.objects.append(c.object)),
    ("hidden object", "hidden_segment", lambda c: c.objects.append(c.object | {"id": 77})),
]
CASES = [("coco_panoptic", *case) for case in PANOPTIC_CASES] + [("coco_instances", *case) for case in INSTANCE_CASES]


@pytest.mark.parametrize(("layout", "what", "reason", "damage"), CASES, ids=[f"{c[0][5:]}: {c[1]}" for c in CASES])
def test_a_bad_record_is_kept_aside_by_its_name_and_the_other_photo_goes_on(tmp_path, layout, what, reason, damage):
    case = Case(tmp_path)
    damage(case)
    records, reasons = case.read(layout)
    assert reasons == {"0": reason}, what
    assert list(records) == ["1"]


TAKEN = {
    "CMYK JPEG": lambda c: c.photo.write_bytes(image_file("CMYK", kind="JPEG")),
    "grayscale JPEG": lambda c: c.photo.write_bytes(image_file("L", kind="JPEG")),
    "16-bit PNG": lambda c: c.photo.write_bytes(image_file("I;16")),
    "palette PNG": lambda c: c.photo.write_bytes(image_file("P")),
    "PNG with alpha": lambda c: c.photo.write_bytes(image_file("RGBA")),
    "turned by EXIF, size as stored": lambda c: (
        c.photo.write_bytes(rotated_jpeg()),
        c.png.write_bytes(encode_panoptic_png(c.ids.T)),
        c.image.update(height=WIDTH, width=HEIGHT),
    ),
}


@pytest.mark.parametrize("what", TAKEN)
def test_unusual_photos_that_decode_are_taken(tmp_path, what):
    case = Case(tmp_path)
    TAKEN[what](case)
    records, reasons = case.read("coco_panoptic")
    assert not reasons
    rgb = load_example(
        tf.constant(examples.encode_example(records["0"]).SerializeToString()),
        parser=ParserConfig(min_sizes_px=(HEIGHT,), max_size_px=100, output_size=(0, 0)),
        kind="panoptic",
    )["image"]
    assert rgb.shape[2] == 3


def test_of_two_photos_with_one_id_the_first_is_taken(tmp_path):
    case = Case(tmp_path)
    case.images.append(case.image | {"file_name": "c.jpg"})
    records, reasons = case.read("coco_panoptic")
    assert reasons == {"0": "repeated_image_id"}
    assert records["0"].filename == "a.jpg"


def test_segments_of_a_photo_that_is_not_listed_cost_themselves_alone(tmp_path):
    case = Case(tmp_path)
    case.annotations.append(case.annotation | {"image_id": 99})
    records, reasons = case.read("coco_panoptic")
    assert (sorted(records), reasons) == (["0", "1"], {})
    assert case.notices == {"99": "orphaned_annotation"}


def test_a_photo_of_20000_by_20000_pixels_is_refused_before_it_is_decoded(tmp_path):
    huge = 20_000, 20_000
    case = Case(tmp_path)
    case.image.update(height=huge[0], width=huge[1])
    case.photo.write_bytes(png_of_size(*huge))
    case.png.write_bytes(png_of_size(*huge))
    assert case.read("coco_panoptic")[1] == {"0": "too_large"}
    with pytest.raises(BadRecordError, match="too_large"):
        check_photo(png_of_size(*huge), None)
    # The json may also be right about the photo, and the PNG lie.
    with pytest.raises(BadRecordError, match="size_mismatch"):
        check_photo(png_of_size(*huge), (HEIGHT, WIDTH))


def test_no_segments_are_a_record_without_targets(tmp_path):
    case = Case(tmp_path)
    case.segments.clear()
    case.png.write_bytes(encode_panoptic_png(np.zeros_like(case.ids)))
    records, reasons = case.read("coco_panoptic")
    assert not reasons and records["0"].segments == ()
    objects_records, reasons = _without_objects(tmp_path / "objects")
    assert not reasons and objects_records["0"].segments == ()


def _without_objects(root):
    case = Case(root)
    case.objects.remove(case.object)
    return case.read("coco_instances")


def test_300_segments_are_a_record_and_the_largest_become_targets(tmp_path):
    case = Case(tmp_path)
    # Two pixels each, and a last row that makes one larger than the others.
    ids = np.arange(1, 301, dtype=np.int32).reshape(15, 20).repeat(2, axis=0)
    ids = np.concatenate([ids, np.full((1, 20), 300, np.int32)])
    case.image.update(height=31, width=20)
    case.photo.write_bytes(image_file(size=(31, 20)))
    case.png.write_bytes(encode_panoptic_png(ids))
    case.annotation["segments_info"] = [{"id": k, "category_id": 1, "iscrowd": 0} for k in range(1, 301)]
    records, reasons = case.read("coco_panoptic")
    assert not reasons and len(records["0"].segments) == 300
    loaded = load_example(
        tf.constant(examples.encode_example(records["0"]).SerializeToString()),
        parser=ParserConfig(min_sizes_px=(20,), max_size_px=31, output_size=(0, 0), max_targets=100),
        kind="panoptic",
    )
    assert loaded["segment_classes"].shape == (100,)
    assert (loaded["segment_map"].numpy()[ids == 300] > 0).all()
    # An 8-bit mask of tf-maskformer's cannot tell them apart.
    encode = TfRecordEncoder(MaskOptions(include_panoptic_masks=True), {}, True)
    with pytest.raises(BadRecordError, match="too_many_segments"):
        ref = ImageRef(image_id="0", file_name="a.jpg", size_px=None)
        encode(records["0"], ref, decode_panoptic_png(records["0"].panoptic_png))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_json_that_is_cut_off_in_the_middle_stops_the_job(tmp_path, share):
    case = Case(tmp_path)
    case.read("coco_panoptic")
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    source = find_sources(str(tmp_path), ["val"], os.path.exists)["val"]
    with pytest.raises(ValueError, match="must be whole json") as caught:
        plan_split(SplitRequest(split="eval"), source, str(tmp_path / "work"))
    assert str(path) in str(caught.value)


def test_polygons_that_reach_over_the_edge_are_cut_there():
    mask = object_mask([[-3, -3, 4, -3, 4, 4, -3, 4]], (HEIGHT, WIDTH))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:4, :4] = True
    np.testing.assert_array_equal(mask, expected)


def test_compressed_run_lengths_are_those_of_pycocotools():
    from pycocotools import mask as coco_mask

    generator = np.random.default_rng(0)
    for size in ((1, 1), (5, 7), (40, 60), (301, 203)):
        mask = (generator.random(size) < 0.3).astype(np.uint8)
        mask[0, 0] = 1
        encoded = coco_mask.encode(np.asfortranarray(mask))
        segmentation = {"size": list(size), "counts": encoded["counts"].decode()}
        np.testing.assert_array_equal(object_mask(segmentation, size), mask.astype(bool))


def square(object_id, category_id, left, right, iscrowd=False):
    """An object that covers the columns from `left` up to `right` of two rows."""
    corners = [[left, 0, right, 0, right, 2, left, 2]]
    return ObjectEntry(object_id, category_id, iscrowd, None, None, [[float(value) for value in corners[0]]])


def test_the_objects_of_a_stuff_class_are_one_segment_below_all_others():
    wall, ball = 7, 1
    objects = [square(1, wall, 0, 2), square(2, ball, 1, 5), square(3, wall, 4, 6, iscrowd=True)]
    painted = paint_objects(objects, (2, 8), stuff={wall})
    assert painted.ids.tolist() == [[1, 2, 2, 2, 2, 1, 0, 0]] * 2
    assert painted.segments_info == [
        {"id": 1, "category_id": wall, "iscrowd": 0},
        {"id": 2, "category_id": ball, "iscrowd": 0},
    ]
    assert painted.notices == []
    # Nothing of the wall is left to see: the photo has none, and the record stays.
    painted = paint_objects([square(1, wall, 2, 3), square(2, ball, 1, 5)], (2, 8), stuff={wall})
    assert [entry["category_id"] for entry in painted.segments_info] == [ball]
    assert [notice.detail for notice in painted.notices] == ["others cover all of object 1"]
    with pytest.raises(BadRecordError, match="other objects cover all"):
        paint_objects([square(1, wall, 2, 3), square(2, ball, 1, 5), square(3, ball, 1, 5)], (2, 8))


def test_no_objects_are_an_empty_map():
    painted = paint_objects([], (2, 3))
    assert (painted.ids.tolist(), painted.segments_info) == ([[0, 0, 0], [0, 0, 0]], [])
