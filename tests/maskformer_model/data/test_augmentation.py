"""Random changes of photo and map: together, within their bounds, and the same under the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from maskformer_model.config import ParserConfig
from maskformer_model.data import augmentation
from maskformer_model.data.preprocessing import resize_image

PARSERS = {
    "none": ParserConfig(min_sizes_px=(32,), max_size_px=64, output_size=(64, 64)),
    "flip": ParserConfig(augmentation="flip", min_sizes_px=(24, 32), max_size_px=64, output_size=(64, 64)),
    "detr": ParserConfig(
        augmentation="detr",
        min_sizes_px=(24, 32, 40),
        max_size_px=64,
        output_size=(64, 64),
        crop_size_px=(20, 30),
        crop_min_sizes_px=(28, 40),
    ),
    "lsj": ParserConfig(augmentation="lsj", output_size=(48, 56)),
    "semantic": ParserConfig(
        augmentation="semantic", min_sizes_px=(20, 40, 80), max_size_px=120, output_size=(32, 48), crop_size_px=(32, 40)
    ),
}


def _striped(height_px, width_px):
    """A photo whose red channel is 50 times the map, in broad stripes: whoever moves one must move the other."""
    rows, columns = np.mgrid[:height_px, :width_px]
    segment_map = (1 + columns * 4 // width_px + (rows >= height_px // 2)).astype(np.uint8)
    image = np.stack([segment_map * 50, segment_map * 0, segment_map * 0 + 255], axis=-1)
    return tf.constant(image.astype(np.uint8)), tf.constant(segment_map)


def _augmented(kind, seed, image=None, segment_map=None):
    if image is None:
        image, segment_map = _striped(36, 50)
    parser = PARSERS[kind]
    image, segment_map = augmentation.prepare(image, segment_map, parser)
    return augmentation.augment(image, segment_map, parser, tf.stack([tf.constant(11, tf.int64), seed]))


@pytest.mark.parametrize("kind", ["none", "flip", "detr", "lsj"])
def test_photo_and_map_move_alike(kind):
    for seed in range(8):
        image, segment_map = _augmented(kind, seed)
        assert (image.dtype, segment_map.dtype) == (tf.uint8, tf.uint8)
        assert image.shape[:2] == segment_map.shape
        # Away from the stripes' borders, which the filter blurs, red tells the map.
        assert np.mean(np.abs(image[..., 0].numpy() / 50 - segment_map.numpy()) < 0.5) > 0.8


@pytest.mark.parametrize("kind", PARSERS)
def test_data_set_and_eager_code_give_the_same(kind):
    image, segment_map = _striped(36, 50)
    data = tf.data.Dataset.range(6).map(lambda seed: _augmented(kind, seed, image, segment_map), 2)
    for seed, (image_in_graph, map_in_graph) in enumerate(data):
        eager_image, eager_map = _augmented(kind, seed)
        np.testing.assert_array_equal(image_in_graph, eager_image)
        np.testing.assert_array_equal(map_in_graph, eager_map)


@pytest.mark.parametrize("kind", ["flip", "detr", "lsj", "semantic"])
def test_seeds_differ(kind):
    results = {_augmented(kind, seed)[0].numpy().tobytes() for seed in range(8)}
    assert len(results) >= 3


def test_no_augmentation_only_resizes():
    image, segment_map = _augmented("none", 0)
    assert segment_map.shape == (32, 44)  # 50 * 32 / 36 = 44.4.
    np.testing.assert_array_equal(image, resize_image(_striped(36, 50)[0], (32, 44)))


def test_flip_mirrors_about_half_of_the_photos():
    image, segment_map = _striped(4, 6)
    num_flipped = 0
    for seed in range(40):
        flipped_image, flipped_map = augmentation.random_flip(image, segment_map, tf.constant([0, seed], tf.int64))
        is_flipped = bool((flipped_map.numpy() == segment_map.numpy()[:, ::-1]).all())
        step = -1 if is_flipped else 1
        np.testing.assert_array_equal(flipped_map, segment_map[:, ::step])
        np.testing.assert_array_equal(flipped_image, image[:, ::step])
        num_flipped += is_flipped
    assert 10 <= num_flipped <= 30


def test_detr_mirrors_before_it_resizes():
    # Of eight columns halved, Pillow's rule takes the right one of each pair: 1, 3, 5, 7, or mirrored 6, 4, 2, 0.
    # Mirrored afterwards it would be 7, 5, 3, 1. The crop is as large as the photo.
    columns = tf.constant([[*range(8)]] * 8, tf.uint8)
    whole = {"crop_size_px": (8, 8), "crop_min_sizes_px": (8,)}
    parser = ParserConfig(augmentation="detr", min_sizes_px=(4,), max_size_px=8, output_size=(0, 0), **whole)
    image = tf.zeros([8, 8, 3], tf.uint8)
    maps = [augmentation.augment(image, columns, parser, tf.constant([0, seed], tf.int64))[1] for seed in range(12)]
    assert {tuple(segment_map[0].numpy().tolist()) for segment_map in maps} == {(1, 3, 5, 7), (6, 4, 2, 0)}


def test_detr_sizes_keep_the_reference_rule():
    shapes = {tuple(_augmented("detr", seed)[1].shape) for seed in range(30)}
    for height, width in shapes:
        assert max(height, width) <= 64
        assert min(height, width) in (24, 32, 40) or max(height, width) == 64
    uncropped = {(24, 33), (32, 44), (40, 56)}
    assert shapes & uncropped
    assert shapes - uncropped


def test_jitter_and_semantic_crop_never_exceed_the_crop():
    for seed in range(12):
        height, width = _augmented("lsj", seed)[1].shape
        assert height <= 48
        assert width <= 56
        height, width = _augmented("semantic", seed)[1].shape
        assert (height, width) in {(20, 28), (32, 40)}  # The smallest size is not cropped: 50 * 20 / 36 = 27.8.


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("size_px", [(1, 1), (1, 40), (40, 1)])
def test_photos_of_one_pixel_or_row_are_no_special_case(kind, size_px):
    image, segment_map = _augmented(kind, 3, *_striped(*size_px))
    assert image.shape[:2] == segment_map.shape
    assert min(segment_map.shape) >= 1


@pytest.mark.parametrize("size_px", [(18, 25), (60, 70), (23, 90), (36, 50), (1, 1)])
def test_map_is_resized_to_the_nearest_pixel_like_pillow(size_px):
    segment_map = np.random.default_rng(0).integers(0, 256, [36, 50], np.uint8)
    expected = np.asarray(Image.fromarray(segment_map).resize(size_px[::-1], Image.NEAREST))
    image = tf.zeros([36, 50, 3], tf.uint8)
    np.testing.assert_array_equal(augmentation.resize(image, tf.constant(segment_map), size_px)[1], expected)


FIVE = tf.constant([[10, 11, 12, 13, 14]], tf.uint8)


def test_map_of_five_columns_shrunk_to_two():
    # Centres of the new pixels: (0.5 and 1.5) * 5 / 2 = 1.25 and 3.75.
    shrunk = augmentation.resize(tf.zeros([1, 5, 3], tf.uint8), FIVE, (1, 2))[1]
    np.testing.assert_array_equal(shrunk, [[11, 13]])


@pytest.mark.parametrize(
    ("kind", "new_width_px", "expected"),
    [
        # Corners of the new pixels: (0 and 1) * 5 / 2 = 0 and 2.5; (0 to 6) * 5 / 7 = 0, 0.7, 1.4, 2.1, 2.9, 3.6, 4.3.
        ("semantic", 2, [10, 12]),
        ("semantic", 7, [10, 10, 11, 12, 12, 13, 14]),
        # Centres: 0.5 to 6.5 times 5 / 7 = 0.36, 1.07, 1.79, 2.5, 3.2, 3.9, 4.6.
        ("panoptic", 7, [10, 11, 11, 12, 13, 13, 14]),
        ("instance", 2, [11, 13]),
    ],
)
def test_semantic_maps_are_resized_by_pytorch_s_rule_and_the_others_by_pillow_s(kind, new_width_px, expected):
    sizes = {"min_sizes_px": (1,), "max_size_px": new_width_px, "output_size": (0, 0)}
    image, segment_map = tf.zeros([5, 5, 3], tf.uint8), tf.repeat(FIVE, 5, axis=0)
    square = {**sizes, "min_sizes_px": (new_width_px,)}
    prepared = augmentation.prepare(image, segment_map, ParserConfig(**square), kind)[1]
    np.testing.assert_array_equal(prepared[0], expected)
    parser = ParserConfig(augmentation="semantic", crop_size_px=(99, 99), **square)
    augmented = augmentation.augment(image, segment_map, parser, tf.constant([0, 1], tf.int64), kind)[1].numpy()
    assert augmented[0].tolist() in (expected, expected[::-1])


@pytest.mark.parametrize("size_px", [(60, 70), (333, 500), (100, 50), (200, 150), (7, 3100)])
def test_a_semantic_map_is_resized_as_pytorch_does(size_px):
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    label_map = np.random.default_rng(0).integers(0, 150, [97, 211], np.uint8)
    # As detectron2's `ResizeTransform` treats what is not uint8: the mapper makes float64 of a label map.
    as_double = torch.tensor(label_map.astype("double"))[None, None]
    expected = torch.nn.functional.interpolate(as_double, size_px, mode="nearest")[0, 0].numpy()
    image = tf.zeros([*label_map.shape, 3], tf.uint8)
    resized = augmentation.resize(image, tf.constant(label_map), size_px, nearest=augmentation.nearest_corners)[1]
    np.testing.assert_array_equal(resized, expected)


@pytest.mark.parametrize("size_px", [(70, 90), (20, 30), (36, 50), (60, 30)])
def test_cropping_while_resizing_is_cropping_afterwards(size_px):
    rng = np.random.default_rng(1)
    image = tf.constant(rng.integers(0, 256, [36, 50, 3], np.uint8))
    segment_map = tf.constant(rng.integers(0, 256, [36, 50], np.uint8))
    whole_image, whole_map = augmentation.resize(image, segment_map, size_px)
    cropped_image, cropped_map = augmentation.resize(image, segment_map, size_px, (3, 5, 11, 13))
    np.testing.assert_array_equal(cropped_image, whole_image[3:14, 5:18])
    np.testing.assert_array_equal(cropped_map, whole_map[3:14, 5:18])


def test_color_jitter_keeps_to_its_bounds_and_is_often_neutral():
    gray = tf.fill([2, 3, 3], tf.constant(100, tf.uint8))
    levels = set()
    for seed in range(60):
        jittered = augmentation.color_jitter(gray, tf.constant([0, seed])).numpy()
        assert jittered.min() == jittered.max()  # Grey has neither hue nor saturation.
        levels.add(int(jittered.max()))
    # (100 +- 32) * (0.5 to 1.5).
    assert min(levels) >= 34
    assert max(levels) <= 198
    assert 100 in levels
    assert len(levels) > 20
