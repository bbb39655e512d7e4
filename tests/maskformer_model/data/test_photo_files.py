"""Places to photos, and photos to bytes that a model takes."""

import io
import struct

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


def test_a_folder_named_like_a_photo_is_none_and_a_broken_link_is_left_to_its_reader(tmp_path):
    (tmp_path / "scan.jpg").mkdir()
    (tmp_path / "scan.jpg" / "page.png").write_bytes(b"x")
    (tmp_path / "moved.jpg").symlink_to(tmp_path / "absent.jpg")
    assert find_photos([str(tmp_path)]) == [str(tmp_path / "moved.jpg"), str(tmp_path / "scan.jpg" / "page.png")]


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_turned_as_a_png_is(orientation, compression):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo(9, 13)
    tiff = encoded(Image.fromarray(image), "TIFF", exif=exif, compression=compression)
    png = encoded(Image.fromarray(image), "PNG", exif=exif)
    for upright in (True, False):
        np.testing.assert_array_equal(
            decode(photo_bytes(tiff, upright=upright)), decode(photo_bytes(png, upright=upright))
        )


# 18 = 0x12, 52 = 0x34, 86 = 0x56; upright they stand in a row.
SIXTEEN_BITS = np.array([[0x0000, 0x12FF, 0x3400], [0x5678, 0x00FF, 0xFFFF]], np.uint16)
UPPER_EIGHT_BITS = np.array([[0, 18, 52], [86, 0, 255]], np.uint8)


def sixteen_bit_images() -> dict[str, Image.Image]:
    little, big = SIXTEEN_BITS.astype("<u2").tobytes(), SIXTEEN_BITS.astype(">u2").tobytes()
    native = SIXTEEN_BITS.tobytes()
    pixels = {"I;16": little, "I;16L": little, "I;16B": big, "I;16N": native}
    return {mode: Image.frombytes(mode, (3, 2), data) for mode, data in pixels.items()}


def gray_tiff(values: bytes, width: int, bits: int, colors: int) -> bytes:
    """A TIFF of one row, in a form that Pillow does not write."""
    # Width, height, bits, no compression, colours, offset, channels, rows and bytes of the only strip.
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: colors, 273: 122, 277: 1, 278: 1, 279: len(values)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values


@pytest.mark.parametrize("mode", sixteen_bit_images())
def test_of_sixteen_bits_the_upper_eight_are_taken_in_either_byte_order(mode):
    image = sixteen_bit_images()[mode]
    expected = np.repeat(UPPER_EIGHT_BITS[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(photo_bytes(image)), expected)
    if mode in ("I;16", "I;16B"):  # The two that Pillow writes.
        np.testing.assert_array_equal(decode(photo_bytes(encoded(image, "TIFF"))), expected)


def test_a_16_bit_png_is_shown_and_turned_by_its_upper_eight_bits():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(SIXTEEN_BITS)
    file = encoded(image)
    assert photo_bytes(file) == file
    np.testing.assert_array_equal(decode(file)[..., 0], UPPER_EIGHT_BITS)
    turned = encoded(image, exif=exif)
    np.testing.assert_array_equal(decode(photo_bytes(turned))[..., 0], np.rot90(UPPER_EIGHT_BITS, -1))
    np.testing.assert_array_equal(decode(photo_bytes(turned, upright=False))[..., 0], UPPER_EIGHT_BITS)


def test_a_16_bit_png_that_an_older_pillow_opens_in_mode_i_is_taken():
    image = Image.fromarray(SIXTEEN_BITS.astype(np.int32))
    image.format = "PNG"
    np.testing.assert_array_equal(decode(photo_bytes(image))[..., 0], UPPER_EIGHT_BITS)


def test_a_12_bit_tiff_and_one_whose_white_is_zero_look_as_they_should():
    twelve_bits = bytes([0x00, 0x0F, 0xFF, 0x80, 0x01, 0x23])  # 0x000, 0xFFF, 0x800, 0x123
    np.testing.assert_array_equal(decode(photo_bytes(gray_tiff(twelve_bits, 4, 12, 1)))[0, :, 0], [0, 255, 128, 18])
    white_is_zero = np.array([0x0000, 0xFFFF, 0x1234], "<u2").tobytes()
    np.testing.assert_array_equal(decode(photo_bytes(gray_tiff(white_is_zero, 3, 16, 0)))[0, :, 0], [255, 0, 237])


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(np.int32, r"signed or 32-bit integers \(Pillow's mode I\)"), (np.float32, r"floating-point .*mode F\)")],
)
def test_values_of_unknown_range_are_refused_in_files_and_images(dtype, words):
    image = Image.fromarray(SIXTEEN_BITS.astype(dtype))
    for source in (image, encoded(image, "TIFF")):
        with pytest.raises(PhotoError, match=rf"8 or 16 bits. Received {words}.*convert it to 8 bits$"):
            photo_bytes(source)


def phone_photo(image: np.ndarray, **options) -> bytes:
    """A JPEG with an index of further pictures (MPF) and a small preview after it, as phones and drones write it."""
    preview = Image.fromarray(photo(2, 3, seed=1))
    return encoded(Image.fromarray(image), "MPO", save_all=True, append_images=[preview], **options)


def test_a_phone_s_jpeg_with_a_preview_is_a_jpeg():
    file = phone_photo(photo(9, 13))
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    assert photo_bytes(file) == file
    assert decode(file).shape == (9, 13, 3)


def test_a_turned_phone_s_jpeg_becomes_an_upright_png_of_its_photo():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = phone_photo(photo(9, 13), exif=exif)
    upright = photo_bytes(file)
    assert upright.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(upright), np.rot90(decode(file), -1))
    assert photo_bytes(file, upright=False) == file


def test_a_tiff_of_several_pages_is_refused_as_what_it_is():
    pages = [Image.fromarray(photo(9, 13, seed=seed)) for seed in (1, 2)]
    with pytest.raises(PhotoError, match=r"must be one picture. Received a TIFF that holds 2$"):
        photo_bytes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))


def test_a_file_that_pillow_cannot_decode_is_a_photo_error():
    with pytest.raises(PhotoError, match="whole image file"):
        decode(encoded(photo(90, 130), "JPEG")[:-300])


def test_too_many_pixels_and_wrong_arrays_are_refused():
    with pytest.raises(PhotoError, match="at most 116 pixels. Received: 9 x 13"):
        photo_bytes(encoded(photo(9, 13)), 116)
    with pytest.raises(PhotoError, match=r"Received: float32 \[2, 2, 3\]"):
        photo_bytes(np.zeros((2, 2, 3), np.float32))


def test_a_refusal_is_the_sentence_without_the_names_of_nodes():
    message = 'assertion failed: [`image_bytes[0]` must be \\"whole\\"]\n\t [[{{node Assert}}]]'
    assert refusal(message) == '`image_bytes[0]` must be "whole"'
    assert refusal("something else\nat a node") == "something else"
