"""Photos that are padded together have one orientation; no photo is lost, and a run can start anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import DataConfig, ParserConfig
from maskformer_model.data import input_pipeline
from maskformer_model.data.aspect_ratio_groups import group_by_aspect_ratio, window_size
from tests.maskformer_model.data.test_input_pipeline import _record, _write


def grouped(is_wide, group_size, batch_size):
    data = tf.data.Dataset.from_tensor_slices(np.arange(len(is_wide)))
    table = tf.constant(is_wide)
    data = group_by_aspect_ratio(data, group_size, batch_size, lambda index: table[index])
    return [int(index) for index in data.as_numpy_iterator()]


def test_a_group_leaves_when_its_bucket_is_full():
    # Wide: 0, 3, 4, 5; high: 1, 2, 6, 7. The high pair is full first; 6 and 7 last.
    is_wide = [True, False, False, True, True, True, False, False]
    assert grouped(is_wide, 2, 4) == [1, 2, 0, 3, 4, 5, 6, 7]


def test_what_is_left_of_both_buckets_is_one_mixed_group_at_the_end_of_a_window():
    # Groups of 2 in batches of 64: a window is 64 examples. Example 10 is the only high one of the first window.
    is_wide = [index != 10 for index in range(128)]
    order = grouped(is_wide, 2, 64)
    assert window_size(2, 64) == 64
    assert sorted(order[:64]) == list(range(64)) and sorted(order) == list(range(128))
    mixed = [pair for pair in zip(order[::2], order[1::2], strict=True) if is_wide[pair[0]] != is_wide[pair[1]]]
    assert mixed == [(10, 63)]


@pytest.mark.parametrize(
    ("group_size", "batch_size", "expected"), [(1, 1, 32), (2, 16, 64), (3, 6, 96), (16, 16, 512), (2, 48, 96)]
)
def test_a_window_has_whole_batches_and_at_least_32_groups(group_size, batch_size, expected):
    assert window_size(group_size, batch_size) == expected


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Forty photos, of which every third is high (6x4 px), the others wide (4x6 px)."""
    sizes = [(6, 4) if index % 3 == 0 else (4, 6) for index in range(40)]
    records = [_record(np.ones(size, int), source_id=str(index)) for index, size in enumerate(sizes)]
    return _write(tmp_path_factory.mktemp("groups") / "data", records)


def batches(photos, *, cache, take, start_batch=0, group_size=2, batch_size=4):
    config = DataConfig(
        global_batch_size=batch_size,
        aspect_ratio_group_size=group_size,
        shuffle_buffer_size=40,
        cache=cache,
        parser=ParserConfig(augmentation="flip", output_size=(0, 0), min_sizes_px=(4,), max_size_px=6),
    )
    data = input_pipeline.make_dataset(photos, config, training=True, seed=5, start_example=start_batch * batch_size)
    return list(data.take(take).as_numpy_iterator())


@pytest.mark.parametrize("cache", [False, True])
def test_pairs_have_one_orientation_and_every_epochs_photos_come(photos, cache):
    found = batches(photos, cache=cache, take=32)  # Two windows of 64: three epochs and eight photos.
    sizes = np.concatenate([batch["valid_size_px"] for batch in found]).reshape(64, 2, 2)
    assert sum((pair[0] != pair[1]).any() for pair in sizes) <= 2
    ids = [int(image_id) for batch in found for image_id in batch["image_id"]]
    counts = np.bincount(ids, minlength=40)
    assert set(counts) == {3, 4} and counts.sum() == 128
    plain = batches(photos, cache=cache, take=32, group_size=0)
    assert sorted(ids[:64]) == sorted(int(image_id) for batch in plain[:16] for image_id in batch["image_id"])


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("start_batch", [1, 15, 16, 21])
def test_a_later_start_gives_what_the_first_run_would_have_seen(photos, cache, start_batch):
    whole = batches(photos, cache=cache, take=26)
    for expected, found in zip(
        whole[start_batch:], batches(photos, cache=cache, take=26 - start_batch, start_batch=start_batch), strict=True
    ):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_a_group_divides_the_batch_or_is_all_of_it():
    assert DataConfig(global_batch_size=1, aspect_ratio_group_size=2).group_size == 1
    assert DataConfig(global_batch_size=6, aspect_ratio_group_size=3).group_size == 3
    with pytest.raises(ValueError, match="must be 0, divide `global_batch_size` or exceed it"):
        DataConfig(global_batch_size=5, aspect_ratio_group_size=2)
    with pytest.raises(ValueError, match="must be 0"):
        DataConfig(aspect_ratio_group_size=-1)
