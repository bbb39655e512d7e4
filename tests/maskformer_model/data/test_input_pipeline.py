"""Record files to batches: what a batch holds, in which order, and that a seed decides all of it."""

from __future__ import annotations

import dataclasses
import io

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from hypothesis.extra import numpy as numpy_strategies
from PIL import Image

from maskformer_model import experiments
from maskformer_model.config import DataConfig, ParserConfig
from maskformer_model.data import input_pipeline
from maskformer_model.data.examples import ExampleRecord, SegmentRecord, encode_example
from maskformer_model.data.panoptic_png import encode_panoptic_png

PARSER = ParserConfig(output_size=(8, 8), min_sizes_px=(8,), max_size_px=8, max_targets=4)


def _record(segment_ids, image=None, *, source_id="1", classes=None, crowds=(), stuff=()):
    """A record whose segments are the ids of the map, in ascending order; a map without ids has none."""
    segment_ids = np.asarray(segment_ids, np.int32)
    height_px, width_px = segment_ids.shape
    if image is None:
        image = np.stack([segment_ids % 256] * 3, axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    ids = [int(i) for i in np.unique(segment_ids) if i]
    segments = tuple(
        SegmentRecord(
            id=segment_id,
            category_id=1000 + segment_id,
            class_index=classes[index] if classes else index,
            isthing=segment_id not in stuff,
            iscrowd=segment_id in crowds,
            area_px=int((segment_ids == segment_id).sum()),
            bbox_px=(0, 0, 1, 1),
        )
        for index, segment_id in enumerate(ids)
    )
    return ExampleRecord(
        source_id=source_id,
        filename=f"{source_id}.png",
        image_encoded=buffer.getvalue(),
        image_format="png",
        height_px=height_px,
        width_px=width_px,
        panoptic_png=encode_panoptic_png(segment_ids),
        segments=segments,
        brightness=0.5,
    )


def _write(path, records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(encode_example(record).SerializeToString())
    return str(path)


def _batches(path, parser=PARSER, *, take=None, training=False, batch_size=2, cache=False, buffer=100, **options):
    data_config = DataConfig(
        parser=parser,
        global_batch_size=batch_size,
        drop_remainder=training,
        cache=cache,
        shuffle_buffer_size=buffer,
    )
    data = input_pipeline.make_dataset(path, data_config, training=training, **options)
    return list((data if take is None else data.take(take)).as_numpy_iterator())


@pytest.fixture(scope="module")
def numbered_files(tmp_path_factory):
    """12 records of 8x8 px in 3 files; record n has the id n, source id n, and a left half of 1 and right half of 2."""
    folder = tmp_path_factory.mktemp("numbered")
    halves = np.repeat([[1] * 4 + [2] * 4], 8, axis=0)
    records = [
        _record(halves, np.full([8, 8, 3], 10 * n, np.uint8), source_id=str(n), classes=[n, n + 1]) for n in range(12)
    ]
    for shard in range(3):
        _write(folder / f"data-{shard}", records[4 * shard : 4 * shard + 4])
    return str(folder / "data-*")


def _ids(batches):
    return [int(image_id) for batch in batches for image_id in batch["image_id"]]


def test_a_batch_has_the_documented_shapes_and_types(numbered_files):
    batch = _batches(numbered_files)[0]
    expected = {
        "image": ((2, 8, 8, 3), np.uint8),
        "valid_size_px": ((2, 2), np.int32),
        "segment_map": ((2, 8, 8), np.uint8),
        "segment_classes": ((2, 4), np.int32),
    }
    assert {name: (batch[name].shape, batch[name].dtype) for name in expected} == expected
    assert set(batch) == {*expected, "image_id"}


def test_training_shapes_are_static(numbered_files):
    data_config = DataConfig(parser=PARSER, global_batch_size=3)
    spec = input_pipeline.make_dataset(numbered_files, data_config, training=True).element_spec
    assert [spec[name].shape for name in ("image", "segment_map", "segment_classes", "valid_size_px")] == [
        (3, 8, 8, 3),
        (3, 8, 8),
        (3, 4),
        (3, 2),
    ]


def test_photo_map_and_classes_belong_together_and_are_padded(tmp_path):
    # 2 x 4 px become 4 x 8 by the rule "longest edge 8"; ids are sorted, so 7 is target 1 and 300 target 2.
    path = _write(tmp_path / "data", [_record([[0, 7, 7, 300], [0, 7, 7, 300]], classes=[5, 3])])
    (batch,) = _batches(path)
    row = [0, 0, 1, 1, 1, 1, 2, 2]
    np.testing.assert_array_equal(batch["segment_map"][0], [row] * 4 + [[0] * 8] * 4)
    np.testing.assert_array_equal(batch["segment_classes"][0], [5, 3, -1, -1])
    np.testing.assert_array_equal(batch["valid_size_px"][0], [4, 8])
    assert batch["image"][0, 0, 0].tolist() == [0, 0, 0]
    assert batch["image"][0, 3, 7].tolist() == [300 - 256] * 3
    assert (batch["image"][0, 4:] == 128).all()


def test_output_size_zero_pads_to_the_largest_of_the_batch(tmp_path):
    parser = dataclasses.replace(PARSER, output_size=(0, 0))
    path = _write(tmp_path / "data", [_record([[1, 1], [1, 2]]), _record([[1] * 4] * 8), _record([[0] * 4] * 2)])
    first, last = _batches(path, parser)
    assert first["image"].shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(first["valid_size_px"], [[8, 8], [8, 4]])
    np.testing.assert_array_equal(first["segment_classes"], [[0, 1, -1, -1], [0, -1, -1, -1]])
    assert last["image"].shape == (1, 4, 8, 3)
    np.testing.assert_array_equal(last["segment_classes"], [[-1] * 4])
    assert not last["segment_map"].any()


def test_crowds_and_surplus_segments_become_void(tmp_path):
    ids = np.repeat(np.array([[1, 1, 2, 2, 3, 3, 3, 4]]), 8, axis=0)
    path = _write(tmp_path / "data", [_record(ids, crowds=(3,))])
    (batch,) = _batches(path, max_targets=2)
    # 3 is a crowd, 4 the smallest of the rest.
    np.testing.assert_array_equal(batch["segment_map"][0], [[1, 1, 2, 2, 0, 0, 0, 0]] * 8)
    np.testing.assert_array_equal(batch["segment_classes"], [[0, 1]])
    (batch,) = _batches(path, dataclasses.replace(PARSER, keep_crowd=True))
    np.testing.assert_array_equal(batch["segment_classes"], [[0, 1, 2, 3]])


def test_semantic_batches_join_a_class_and_instance_batches_leave_stuff_out(tmp_path):
    ids = np.repeat(np.array([[1, 1, 2, 2, 3, 3, 4, 4]]), 8, axis=0)
    path = _write(tmp_path / "data", [_record(ids, classes=[6, 2, 6, 2], stuff=(2, 4))])
    (batch,) = _batches(path, kind="semantic")
    np.testing.assert_array_equal(batch["segment_map"][0, 0], [1, 1, 2, 2, 1, 1, 2, 2])
    np.testing.assert_array_equal(batch["segment_classes"], [[6, 2, -1, -1]])
    (batch,) = _batches(path, kind="instance")
    np.testing.assert_array_equal(batch["segment_map"][0, 0], [1, 1, 0, 0, 2, 2, 0, 0])
    np.testing.assert_array_equal(batch["segment_classes"], [[6, 6, -1, -1]])


def test_targets_that_a_crop_empties_stay_only_where_panoptic_asks_for_them(tmp_path):
    # 64 one-pixel segments of 64 classes; a crop of 4 x 4 keeps 16 of them.
    ids = np.arange(1, 65).reshape(8, 8)
    path = _write(tmp_path / "data", [_record(ids)])
    parser = ParserConfig(
        augmentation="semantic",
        output_size=(4, 4),
        crop_size_px=(4, 4),
        min_sizes_px=(8,),
        max_size_px=8,
        max_targets=64,
        keep_emptied_targets=True,
    )
    (batch,) = _batches(path, parser, training=True, batch_size=1, take=1)
    assert (batch["segment_classes"] >= 0).sum() == 64
    assert len(np.unique(batch["segment_map"])) == 16
    dropping = dataclasses.replace(parser, keep_emptied_targets=False)
    (dropped,) = _batches(path, dropping, training=True, batch_size=1, take=1)
    (semantic,) = _batches(path, parser, training=True, batch_size=1, take=1, kind="semantic")
    np.testing.assert_array_equal(dropped["segment_classes"], semantic["segment_classes"])
    assert (semantic["segment_classes"] >= 0).sum() == 16
    np.testing.assert_array_equal(np.unique(semantic["segment_map"]), np.arange(1, 17))
    # Both name the same classes at the same pixels.
    np.testing.assert_array_equal(
        batch["segment_classes"][0][batch["segment_map"] - 1],
        semantic["segment_classes"][0][semantic["segment_map"] - 1],
    )


@pytest.mark.parametrize(
    ("name", "num_targets"), [("ade20k_panoptic_r50", 4), ("ade20k_panoptic_r101", 4), ("ade20k_semantic_r50", 1)]
)
def test_ade20k_panoptic_expects_what_the_crop_left_out_and_semantic_does_not(tmp_path, name, num_targets):
    # Five columns of 4 px, the last a crowd; a crop of one column's width at its place shows one or two of them.
    ids = np.repeat(np.arange(1, 6), 4)[None].repeat(4, axis=0)
    path = _write(tmp_path / "data", [_record(ids, classes=[7, 7, 3, 9, 2], crowds=(5,))])
    task = experiments.get(name).task
    small = {"output_size": (4, 1), "crop_size_px": (4, 1), "size_divisibility": 0}
    parser = dataclasses.replace(task.train_data.parser, min_sizes_px=(4,), max_size_px=20, **small)
    batches = _batches(path, parser, training=True, batch_size=1, take=8, kind=task.kind)
    for batch in batches:
        classes = batch["segment_classes"][batch["segment_classes"] >= 0]
        shown = np.setdiff1d(batch["segment_map"], 0)
        assert len(classes) == num_targets or not len(shown)
        if task.kind == "panoptic":
            np.testing.assert_array_equal(classes, [7, 7, 3, 9])
            assert len(shown) <= 1
    assert any(len(np.setdiff1d(batch["segment_map"], 0)) for batch in batches)


def test_grey_padding_of_a_fixed_crop_counts_as_photo(tmp_path):
    path = _write(tmp_path / "data", [_record([[1] * 4] * 4)])
    parser = ParserConfig(augmentation="lsj", output_size=(8, 8), scale_range=(0.5, 0.5))
    (batch,) = _batches(path, parser, training=True, batch_size=1, take=1)
    np.testing.assert_array_equal(batch["valid_size_px"], [[8, 8]])
    assert (batch["image"][0, :, 4:] == 128).all()
    assert not batch["segment_map"][0, 4:].any()
    assert batch["segment_map"][0, :4, :4].all()


def test_a_batch_is_padded_to_its_largest_photo_and_on_to_a_multiple(tmp_path):
    # The shortest edge becomes 20 px: 20 x 33 and, of 37 x 24, 31 x 20. Together 31 x 33, padded to 32 x 64
    # as the reference's `ImageList.from_tensors(images, 32)` does.
    path = _write(tmp_path / "data", [_record(np.ones(size, int)) for size in ((20, 33), (37, 24))])
    parser = ParserConfig(output_size=(0, 0), size_divisibility=32, min_sizes_px=(20,), max_size_px=40)
    (batch,) = _batches(path, parser)
    np.testing.assert_array_equal(batch["valid_size_px"], [[20, 33], [31, 20]])
    assert batch["image"].shape == (2, 32, 64, 3)
    assert batch["segment_map"].shape == (2, 32, 64)
    assert [segment_map.sum() for segment_map in batch["segment_map"]] == [20 * 33, 31 * 20]
    assert batch["segment_map"][0, :20, :33].all() and batch["segment_map"][1, :31, :20].all()
    (plain,) = _batches(path, dataclasses.replace(parser, size_divisibility=0))
    assert plain["image"].shape == (2, 31, 33, 3)


def test_evaluation_reads_every_record_once_and_in_order(numbered_files):
    batches = _batches(numbered_files, batch_size=5)
    assert _ids(batches) == list(range(12))
    assert [len(batch["image_id"]) for batch in batches] == [5, 5, 2]


def test_evaluation_does_not_augment(numbered_files):
    plain = _batches(numbered_files)
    flipping = _batches(numbered_files, dataclasses.replace(PARSER, augmentation="flip"))
    for one, other in zip(plain, flipping, strict=True):
        np.testing.assert_array_equal(one["segment_map"], other["segment_map"])


def _flipping(files, **options):
    parser = dataclasses.replace(PARSER, augmentation="flip")
    return _batches(files, parser, training=True, **{"batch_size": 4, "take": 9, **options})


@pytest.mark.parametrize("cache", [False, True])
def test_training_repeats_and_shuffles_each_epoch_anew(numbered_files, cache):
    ids = _ids(_flipping(numbered_files, cache=cache))
    epochs = [ids[start : start + 12] for start in (0, 12, 24)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("cache", [False, True])
def test_the_seed_decides_order_and_augmentation(numbered_files, cache):
    first, again, other = (_flipping(numbered_files, cache=cache, seed=seed) for seed in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert _ids(first) != _ids(other)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("start_example", [2, 12, 30])
def test_a_later_start_gives_what_the_first_run_would_have_seen(numbered_files, cache, start_example):
    parser = dataclasses.replace(PARSER, augmentation="flip")
    options = {"parser": parser, "training": True, "cache": cache, "buffer": 5, "seed": 3}
    whole = _batches(numbered_files, take=20, **options)
    rest = _batches(numbered_files, take=5, start_example=start_example, **options)
    for expected, batch in zip(whole[start_example // 2 :], rest, strict=False):
        assert batch["image_id"].tolist() == expected["image_id"].tolist()
        assert np.array_equal(batch["image"], expected["image"])


@pytest.mark.parametrize("process_seed", [0, 7])
def test_the_order_does_not_depend_on_the_seed_of_the_process(numbered_files, process_seed):
    expected = _ids(_flipping(numbered_files))
    tf.random.set_seed(process_seed)
    assert _ids(_flipping(numbered_files)) == expected


def test_files_without_a_record_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"at least one record.*empty\.tfrecord"):
        _batches(_write(tmp_path / "empty.tfrecord", []), training=True)


def test_a_record_is_flipped_in_some_epochs_and_not_in_others(numbered_files):
    is_flipped = {}
    for batch in _flipping(numbered_files, cache=True, take=12):
        for image_id, segment_map in zip(batch["image_id"], batch["segment_map"], strict=True):
            is_flipped.setdefault(image_id, set()).add(bool(segment_map[0, 0] == 2))
    assert sum(len(seen) == 2 for seen in is_flipped.values()) >= 6


def test_gzip_files_are_read_by_their_name(tmp_path):
    path = _write(tmp_path / "data.gz", [_record([[1]])], "GZIP")
    assert len(_batches(path)) == 1


def test_a_pattern_without_files_is_named(tmp_path):
    with pytest.raises(ValueError, match="at least one record file.*nothing-here"):
        _batches(str(tmp_path / "nothing-here-*"))


def test_photo_and_png_of_different_size_are_refused_with_their_id(tmp_path):
    record = _record([[1, 1]], np.zeros([2, 2, 3], np.uint8), source_id="77")
    with pytest.raises(tf.errors.InvalidArgumentError, match="same height and width.*77"):
        _batches(_write(tmp_path / "data", [record]))


def test_grayscale_jpeg_gives_three_channels(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full([8, 8], 90, np.uint8)).save(buffer, format="JPEG")
    record = dataclasses.replace(_record([[1] * 8] * 8), image_encoded=buffer.getvalue(), image_format="jpeg")
    (batch,) = _batches(_write(tmp_path / "data", [record]))
    assert (batch["image"] == 90).all()


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(
    ids=numpy_strategies.arrays(
        np.int32,
        numpy_strategies.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=strategies.one_of(strategies.integers(0, 5), strategies.integers(0, 2**24 - 1)),
    )
)
def test_random_maps_survive_the_example_and_come_back_under_their_classes(ids):
    # Enlarged by a whole factor and looked at every so many pixels, a map is what it was.
    factor = 3
    short, long = sorted(factor * edge for edge in ids.shape)
    parser = ParserConfig(output_size=(0, 0), min_sizes_px=(short,), max_size_px=long, max_targets=255)
    present = np.unique(ids[ids > 0])
    serialized = encode_example(_record(ids)).SerializeToString()
    loaded = input_pipeline.load_example(tf.constant(serialized), parser=parser, kind="panoptic")
    classes = np.array([-1, *loaded["segment_classes"].numpy()])
    expected = np.where(ids > 0, np.searchsorted(present, ids), -1)
    np.testing.assert_array_equal(classes[loaded["segment_map"].numpy()[1::factor, 1::factor]], expected)
