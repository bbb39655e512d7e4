"""Generated scenes: what they must hold to stand in for COCO, and that their three jsons and PNGs tell one story."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.data.panoptic_png import decode_panoptic_png, segment_extents
from maskformer_model.scenes import data_set, drawing

NUM_TRAIN, NUM_VAL = 40, 8
_SPLITS = ("train2017", "val2017")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("generated")
    data_set.write_data_set(directory, num_train=NUM_TRAIN, num_val=NUM_VAL, size_px=64, seed=7)
    return directory


def _load(data_dir, kind, split):
    return json.loads((data_dir / "annotations" / f"{kind}_{split}.json").read_text(encoding="utf-8"))


def _maps(data_dir, split):
    for entry in _load(data_dir, "panoptic", split)["annotations"]:
        png = data_dir / "annotations" / f"panoptic_{split}" / entry["file_name"]
        yield entry, decode_panoptic_png(png.read_bytes())


def _digest(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("split", _SPLITS)
def test_ids_areas_and_boxes_of_the_json_are_those_of_the_png(data_dir, split):
    for entry, segment_ids in _maps(data_dir, split):
        measured = {
            i: (a, list(b)) for i, a, b in zip(*(x.tolist() for x in segment_extents(segment_ids)), strict=True)
        }
        assert {s["id"]: (s["area"], s["bbox"]) for s in entry["segments_info"]} == measured


@pytest.mark.parametrize("split", _SPLITS)
def test_photos_are_as_large_as_the_json_says_and_one_is_gray(data_dir, split):
    modes = []
    for image in _load(data_dir, "panoptic", split)["images"]:
        with Image.open(data_dir / split / image["file_name"]) as photo:
            assert (photo.format, photo.height, photo.width) == ("JPEG", image["height"], image["width"])
            modes.append(photo.mode)
    assert modes.count("L") == 1
    assert modes.count("RGB") == len(modes) - 1


def test_the_data_has_what_real_data_trips_over(data_dir):
    segments, void_shares, shapes = [], [], set()
    for entry, segment_ids in _maps(data_dir, "train2017"):
        segments += entry["segments_info"]
        void_shares.append(float((segment_ids == 0).mean()))
        shapes.add(segment_ids.shape)
    assert len(shapes) == 3
    assert 0.02 < np.mean(void_shares) < 0.12
    assert 0.0 in void_shares
    assert any(segment["iscrowd"] for segment in segments)
    assert max(segment["id"] for segment in segments) > 2**16
    assert min(segment["area"] for segment in segments if not segment["iscrowd"]) < 60
    category_ids = [category["id"] for category in data_set.CATEGORIES]
    assert {segment["category_id"] for segment in segments} == set(category_ids)
    assert category_ids != sorted(category_ids)
    isthing = CategoryTable.from_coco(data_set.CATEGORIES).isthing.tolist()
    assert isthing not in (sorted(isthing), sorted(isthing, reverse=True))


def test_ids_are_unique_and_a_stuff_class_is_one_segment(data_dir):
    isthing = {category["id"]: category["isthing"] for category in data_set.CATEGORIES}
    for entry, _ in _maps(data_dir, "train2017"):
        ids = [segment["id"] for segment in entry["segments_info"]]
        stuff = [s["category_id"] for s in entry["segments_info"] if not isthing[s["category_id"]]]
        assert len(set(ids)) == len(ids)
        assert len(set(stuff)) == len(stuff)


@pytest.mark.parametrize("split", _SPLITS)
def test_outlines_and_run_lengths_give_back_the_pixels_of_the_png(data_dir, split):
    from pycocotools import mask as coco_mask

    instances = _load(data_dir, "instances", split)
    assert len({entry["id"] for entry in instances["annotations"]}) == len(instances["annotations"])
    by_image = {entry["image_id"]: (entry, segment_ids) for entry, segment_ids in _maps(data_dir, split)}
    kinds = set()
    for instance in instances["annotations"]:
        entry, segment_ids = by_image[instance["image_id"]]
        shape = instance["segmentation"]
        encoded = coco_mask.frPyObjects(shape, *segment_ids.shape)
        mask = coco_mask.decode(coco_mask.merge(encoded) if isinstance(shape, list) else encoded).astype(bool)
        [segment_id] = set(segment_ids[mask].tolist())
        [segment] = [s for s in entry["segments_info"] if s["id"] == segment_id]
        assert all(instance[key] == segment[key] for key in ("category_id", "iscrowd", "area", "bbox"))
        assert mask.sum() == segment["area"]
        assert not instance["iscrowd"] or isinstance(shape, dict)
        kinds.add(type(shape))
    assert kinds == {list, dict}


@pytest.mark.parametrize("split", _SPLITS)
def test_every_thing_has_an_instance_and_every_photo_a_caption(data_dir, split):
    isthing = {category["id"]: category["isthing"] for category in data_set.CATEGORIES}
    panoptic = _load(data_dir, "panoptic", split)
    things = sum(isthing[s["category_id"]] for entry in panoptic["annotations"] for s in entry["segments_info"])
    assert len(_load(data_dir, "instances", split)["annotations"]) == things
    captioned = {entry["image_id"] for entry in _load(data_dir, "captions", split)["annotations"]}
    assert captioned == {image["id"] for image in panoptic["images"]}


def test_the_same_seed_writes_the_same_bytes_and_more_train_scenes_change_no_other(data_dir, tmp_path):
    data_set.write_data_set(tmp_path / "fewer", num_train=2, num_val=2, size_px=64, seed=7)
    data_set.write_data_set(tmp_path / "other", num_train=2, num_val=2, size_px=64, seed=8)
    fewer, other, all_files = (_digest(path) for path in (tmp_path / "fewer", tmp_path / "other", data_dir))
    pictures = [name for name in fewer if not name.endswith(".json")]
    assert len(pictures) == 8
    assert all(fewer[name] == all_files[name] for name in pictures)
    assert not any(fewer[name] == other[name] for name in pictures)


def test_two_processes_write_the_same_bytes(data_dir, tmp_path):
    data_set.write_data_set(tmp_path, num_train=NUM_TRAIN, num_val=NUM_VAL, size_px=64, seed=7, num_processes=2)
    assert _digest(tmp_path) == _digest(data_dir)


@pytest.mark.parametrize("arguments", [{"num_train": -1, "num_val": 1}, {"num_train": 1, "num_val": 1, "size_px": 8}])
def test_impossible_requests_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="Received"):
        data_set.write_data_set(tmp_path, **arguments)


@pytest.mark.parametrize("seed", range(8))
def test_every_segment_has_a_pixel_and_every_thing_stays_recognisable(seed):
    scene = drawing.draw_scene(np.random.default_rng(seed), 72, 96)
    areas = np.bincount(scene.segment_map.ravel(), minlength=len(scene.segments) + 1)[1:]
    assert scene.photo.shape == (72, 96, 3)
    assert len(areas) == len(scene.segments)
    for area, segment in zip(areas, scene.segments, strict=True):
        assert area >= (10 if segment.name in drawing.THING_NAMES else 1)


def test_a_photo_shows_its_map():
    scene = drawing.draw_scene(np.random.default_rng(3), 96, 96)
    for index in range(1, len(scene.segments) + 1):
        inside = scene.segment_map == index
        others = scene.photo[~inside].mean(axis=0)
        assert np.abs(scene.photo[inside].mean(axis=0) - others).sum() > 10


def test_a_frame_too_small_for_a_scene_is_refused():
    with pytest.raises(ValueError, match="at least 16 x 16 px. Received: 15 x 40"):
        drawing.draw_scene(np.random.default_rng(0), 15, 40)


def test_outlines_run_with_the_clock_around_parts_and_against_it_around_holes():
    mask = np.ones((3, 4), dtype=bool)
    mask[1, 1:3] = False
    areas = sorted(data_set._signed_area(outline) for outline in data_set._outlines(mask))
    assert areas == [-2.0, 12.0]
    assert data_set._outlines(np.eye(2, dtype=bool)) == [
        [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0],
        [1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 2.0],
    ]
