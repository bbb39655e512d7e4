"""Places to photos, and photos to bytes that a model takes."""

import numpy as np
import pytest
from PIL import Image

from maskformer_model.data.photo_files import PhotoError, decode, find_photos, photo_bytes, refusal
from tests.maskformer_model.helpers.small_export import encoded, photo


def test_folders_patterns_and_files_give_each_photo_once(tmp_path):
    for name in ("b.png", "a.JPG", "deep/c.webp", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    everything = [str(tmp_path / name) for name in ("a.JPG", "b.png", "deep/c.webp")]
    assert find_photos([str(tmp_path)]) == everything
    assert find_photos([str(tmp_path / "b.png"), str(tmp_path / "*.png"), str(tmp_path)]) == [
        everything[1],
        everything[0],
        everything[2],
    ]
    with pytest.raises(FileNotFoundError, match=r"Nothing found at: .*\.gif"):
        find_photos([str(tmp_path / "*.gif")])


def test_a_file_that_a_model_takes_is_passed_on_unread():
    file = encoded(photo(9, 13), "JPEG")
    assert photo_bytes(file) == file


def test_other_formats_and_arrays_become_png():
    image = photo(9, 13)
    for source in (encoded(image, "BMP"), image, Image.fromarray(image)):
        found = photo_bytes(source)
        assert found.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode(found), image)


def test_a_turned_photo_is_turned_upright_unless_the_stored_pixels_are_asked_for():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = photo(9, 13)
    file = encoded(Image.fromarray(image), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(photo_bytes(file)), np.rot90(image, -1))
    np.testing.assert_array_equal(decode(photo_bytes(file, upright=False)), image)


def test_too_many_pixels_and_wrong_arrays_are_refused():
    with pytest.raises(PhotoError, match="at most 116 pixels. Received: 9 x 13"):
        photo_bytes(encoded(photo(9, 13)), 116)
    with pytest.raises(PhotoError, match=r"Received: float32 \[2, 2, 3\]"):
        photo_bytes(np.zeros((2, 2, 3), np.float32))


def test_a_refusal_is_the_sentence_without_the_names_of_nodes():
    message = 'assertion failed: [`image_bytes[0]` must be \\"whole\\"]\n\t [[{{node Assert}}]]'
    assert refusal(message) == '`image_bytes[0]` must be "whole"'
    assert refusal("something else\nat a node") == "something else"
