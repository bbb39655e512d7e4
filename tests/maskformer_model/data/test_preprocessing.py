"""Decoding, sizes, resizing and normalisation of photos."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from maskformer_model.config import InferenceConfig
from maskformer_model.data import preprocessing


def _photo(height_px, width_px, seed=0):
    """A smooth picture with some noise, so that JPEG and filters have something to do."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, [8, 8, 3], np.uint8))
    smooth = np.asarray(coarse.resize((width_px, height_px), Image.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def _encoded(array, image_format, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def test_jpeg_decodes_to_the_grey_levels_of_pillow():
    jpeg = _encoded(_photo(61, 83), "JPEG", quality=85)
    expected = np.asarray(Image.open(io.BytesIO(jpeg)))
    np.testing.assert_array_equal(preprocessing.decode_image(tf.constant(jpeg)), expected)


def test_grayscale_files_are_repeated_over_the_channels():
    gray = _photo(20, 30)[..., 0]
    for image_format in ("JPEG", "PNG"):
        image = preprocessing.decode_image(tf.constant(_encoded(gray, image_format))).numpy()
        assert image.shape == (20, 30, 3)
        np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_png_with_transparency_keeps_its_colours():
    rgba = np.concatenate([_photo(5, 7), np.full([5, 7, 1], 100, np.uint8)], axis=-1)
    np.testing.assert_array_equal(preprocessing.decode_image(tf.constant(_encoded(rgba, "PNG"))), rgba[..., :3])


def test_decoding_is_the_same_eagerly_and_in_a_data_set():
    files = [_encoded(_photo(9, 12), "JPEG"), _encoded(_photo(12, 9), "PNG")]
    in_graph = list(tf.data.Dataset.from_tensor_slices(files).map(preprocessing.decode_image))
    for file, image in zip(files, in_graph, strict=True):
        np.testing.assert_array_equal(preprocessing.decode_image(tf.constant(file)), image)


@pytest.mark.parametrize("image_bytes", [b"", b"GIF89a...", b"\x89PNG\r\n\x1a\n", b"not an image"])
def test_bytes_that_are_no_image_are_refused_with_the_rule(image_bytes):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be a JPEG or PNG file"):
        preprocessing.decode_image(tf.constant(image_bytes))


def test_truncated_files_are_refused():
    for image_format in ("JPEG", "PNG"):
        whole = _encoded(_photo(64, 64), image_format)
        with pytest.raises(tf.errors.InvalidArgumentError):
            preprocessing.decode_image(tf.constant(whole[: len(whole) // 2]))


def test_size_is_read_from_the_header_alone():
    for image_format in ("JPEG", "PNG"):
        header = _encoded(_photo(33, 45), image_format)[:700]
        np.testing.assert_array_equal(preprocessing.image_size(tf.constant(header)), [33, 45])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_too_many_pixels_are_refused(image_format):
    file = tf.constant(_encoded(_photo(10, 12), image_format))
    assert preprocessing.decode_image(file, max_pixels=120).shape == (10, 12, 3)
    for decode in (preprocessing.decode_image, tf.function(preprocessing.decode_image)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="at most 119 pixels"):
            decode(file, max_pixels=119)


@pytest.mark.parametrize(
    ("height_width", "shortest_longest", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),  # 640 * 800 / 480 = 1066.67.
        ((640, 480), (800, 1333), (1067, 800)),
        ((427, 640), (800, 1333), (800, 1199)),  # 1199.06.
        ((300, 1000), (800, 1333), (400, 1333)),  # Longest edge first: 300 * 1.333 = 399.9.
        ((480, 640), (640, 640), (480, 640)),
        ((96, 96), (96, 96), (96, 96)),
        ((4, 5), (2, 10), (2, 3)),  # 2.5 rounds up, not to even.
        ((1, 5000), (800, 1333), (1, 1333)),  # 0.27 px would vanish.
        ((1, 1), (800, 1333), (800, 800)),
    ],
)
def test_shortest_edge_rule(height_width, shortest_longest, expected):
    assert preprocessing.resized_size(*height_width, *shortest_longest) == expected
    in_graph = tf.function(preprocessing.resized_size)(*map(tf.constant, (*height_width, *shortest_longest)))
    assert tuple(int(edge) for edge in in_graph) == expected


def test_size_rule_is_the_same_for_ints_and_tensors():
    rule = tf.function(preprocessing.resized_size)
    rng = np.random.default_rng(3)
    for height, width, short, extra in rng.integers(1, 900, [200, 4]).tolist():
        in_graph = rule(*map(tf.constant, (height, width, short, short + extra)))
        assert tuple(map(int, in_graph)) == preprocessing.resized_size(height, width, short, short + extra)


@pytest.mark.parametrize("size_px", [(40, 60), (90, 133), (25, 120), (7, 5), (61, 83), (1, 1)])
def test_resized_photo_is_within_one_grey_level_of_pillow(size_px):
    photo = _photo(61, 83)
    expected = np.asarray(Image.fromarray(photo).resize(size_px[::-1], Image.BILINEAR)).astype(int)
    for resize in (preprocessing.resize_image, tf.function(preprocessing.resize_image)):
        resized = resize(tf.constant(photo), tf.constant(size_px))
        assert resized.dtype == tf.uint8
        difference = np.abs(resized.numpy() - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.05


def test_inference_resize_follows_its_config():
    image = tf.constant(_photo(30, 40))
    resized = preprocessing.resize_for_inference(image, InferenceConfig(shortest_edge_px=60, max_size_px=64))
    assert resized.shape == (48, 64, 3)
