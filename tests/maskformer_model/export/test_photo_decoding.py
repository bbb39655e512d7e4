"""Bytes to pixels, and what is said of bytes that are none."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.export.photo_decoding import decode_photo
from tests.maskformer_model.helpers.small_export import encoded, photo


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_a_png_gives_its_pixels(wrap):
    image = photo(9, 13)
    decoded = wrap(lambda file: decode_photo(file, tf.constant(0), 200))(tf.constant(encoded(image)))
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "must be a JPEG or PNG file"),
        (b"GIF89a" + b"\x00" * 40, 'must be a JPEG or PNG file. Received bytes that begin with: "GIF89a'),
        (encoded(photo(9, 13))[:-20], "cut off or damaged"),
        (encoded(photo(20, 13)), r"at most 200 pixels. Received height and width in px: \[20 13\]"),
    ],
    ids=["empty", "gif", "cut", "large"],
)
def test_what_is_no_whole_photo_is_named_by_its_place(file, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"(?s)image_bytes\[5\].*{message}"):
        decode_photo(tf.constant(file), tf.constant(5), 200)
