"""What a file claims, and whether its data can hold it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from maskformer_model.data.photo_files import PhotoError, photo_bytes
from maskformer_model.data.photo_header import read_header
from tests.maskformer_model.helpers.small_export import encoded, photo


def with_size(jpeg: bytes, height: int, width: int) -> bytes:
    """The JPEG with another size in its header."""
    at = next(jpeg.find(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in jpeg)
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 5, "optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_plainest_photo_is_plausible(options, mode):
    header = read_header(encoded(Image.new(mode, (2000, 1000)), "JPEG", **options))
    assert (header.height_px, header.width_px) == (1000, 2000)
    assert header.is_plausible


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16"])
def test_the_plainest_png_is_plausible(mode):
    header = read_header(encoded(Image.new(mode, (2000, 1000)), "PNG", compress_level=9))
    assert (header.pixels, header.is_plausible) == (2_000_000, True)


@pytest.mark.parametrize(
    "options", [{"quality": 85}, {"quality": 85, "progressive": True}, {"restart_marker_blocks": 1}]
)
def test_a_small_jpeg_that_claims_to_be_large_is_not(options):
    honest = encoded(noise(100, 200), "JPEG", **options)
    assert read_header(honest).is_plausible
    assert not read_header(with_size(honest, 9000, 9000)).is_plausible


@pytest.mark.parametrize(
    "pad",
    [
        lambda jpeg: jpeg + b"\0" * 1_000_000,
        lambda jpeg: jpeg[:2] + b"\xff\xfe\xff\xff" + b"\0" * 65533 + jpeg[2:],
        lambda jpeg: jpeg[:20] + b"\0" * 1_000_000 + jpeg[20:],
        lambda jpeg: jpeg[:-2] + b"\xff" * 1_000_000 + jpeg[-2:],
        lambda jpeg: jpeg[:-2] + b"\xff" * 1_000_000 + b"\0\0" + jpeg[-2:],
        lambda jpeg: jpeg + jpeg * 20,
    ],
    ids=["after the end", "in a comment", "before a marker", "fill bytes", "fill bytes in data", "further photos"],
)
def test_what_is_no_image_data_does_not_make_a_size_plausible(pad):
    assert not read_header(pad(with_size(encoded(noise(100, 200), "JPEG"), 9000, 9000))).is_plausible


def test_a_png_that_claims_more_than_deflate_can_hold_is_not_plausible():
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    def png(height, width, data):
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")

    # 1032 * 1000 bytes are 344,000 px of three bytes each.
    assert read_header(png(344, 1000, chunk(b"IDAT", bytes(1000)))).is_plausible
    assert not read_header(png(345, 1000, chunk(b"IDAT", bytes(1000)))).is_plausible
    assert not read_header(png(345, 1000, chunk(b"IDAT", bytes(1000)) + chunk(b"tEXt", bytes(9000)))).is_plausible


def test_what_is_no_photo_has_no_header():
    whole = encoded(photo(8, 8), "JPEG")
    for file_bytes in (b"", b"GIF89a", b"\xff\xd8\xff", whole[:20], b"\x89PNG\r\n\x1a\n", b"\xff" * 1000):
        assert read_header(file_bytes) is None


def test_a_photo_that_lies_about_its_size_is_refused_before_it_is_decoded():
    with pytest.raises(PhotoError, match="claims 9000 x 9000 px, and has .* bytes of image data, enough for"):
        photo_bytes(with_size(encoded(noise(100, 200), "JPEG"), 9000, 9000))
    file = io.BytesIO()
    noise(100, 200).save(file, "JPEG")
    assert photo_bytes(file.getvalue()) == file.getvalue()
