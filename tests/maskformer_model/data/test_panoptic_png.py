"""Panoptic PNG: the id formula by hand, round trips, and refusal of every other kind of PNG."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from PIL import Image

from maskformer_model.data import panoptic_png


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_id_is_red_plus_256_green_plus_65536_blue():
    rgb = np.array([[[5, 0, 0], [0, 1, 0], [7, 2, 3], [255, 255, 255]]], dtype=np.uint8)
    ids = panoptic_png.rgb_to_segment_ids(rgb)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[5, 256, 7 + 512 + 3 * 65536, 2**24 - 1]]
    assert panoptic_png.segment_ids_to_rgb(ids).tolist() == rgb.tolist()


@settings(max_examples=30, deadline=None)
@given(
    hypothesis_numpy.arrays(
        np.int32,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.integers(0, panoptic_png.MAX_SEGMENT_ID),
    )
)
def test_any_segment_map_survives_the_file(segment_ids):
    decoded = panoptic_png.decode_panoptic_png(panoptic_png.encode_panoptic_png(segment_ids))
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, segment_ids)


def test_size_comes_from_the_header_alone():
    png_bytes = panoptic_png.encode_panoptic_png(np.zeros((3, 5), np.int32))
    assert panoptic_png.panoptic_png_size(png_bytes[:40]) == (3, 5)


@pytest.mark.parametrize(
    ("mode", "said"),
    [("L", "8-bit grayscale"), ("P", "-bit palette"), ("RGBA", "8-bit RGB with alpha"), ("I;16", "16-bit grayscale")],
)
def test_other_kinds_of_png_are_refused_by_name(mode, said):
    with pytest.raises(ValueError, match=said):
        panoptic_png.decode_panoptic_png(_png(Image.new(mode, (4, 4))))


def test_a_jpeg_is_refused():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="JPEG")
    with pytest.raises(ValueError, match="PNG header"):
        panoptic_png.decode_panoptic_png(buffer.getvalue())


@pytest.mark.parametrize("keep", [0, 8, 33, 60, 0.5, 0.9])
def test_a_cut_off_png_is_refused(keep):
    whole = panoptic_png.encode_panoptic_png(np.arange(64 * 64, dtype=np.int32).reshape(64, 64) * 997)
    cut = whole[: int(len(whole) * keep) if isinstance(keep, float) else keep]
    with pytest.raises(ValueError, match="A panoptic PNG must"):
        panoptic_png.decode_panoptic_png(cut)


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _raw_png(segment_ids, pixels, *, interlaced=0, extra=b""):
    header = struct.pack(">IIBBBBB", segment_ids.shape[1], segment_ids.shape[0], 8, 2, 0, 0, interlaced)
    chunks = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _rows(segment_ids):
    """Unfiltered rows of a PNG."""
    return b"".join(b"\0" + row.tobytes() for row in panoptic_png.segment_ids_to_rgb(segment_ids))


def test_interlaced_pixels_find_their_places():
    segment_ids = np.arange(5 * 9).reshape(5, 9) * 4099
    # (first column, first row, step across, step down) of the seven passes of the PNG standard.
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [segment_ids[top::down, left::across] for left, top, across, down in passes]
    pixels = b"".join(_rows(part) for part in parts if part.size)
    decoded = panoptic_png.decode_panoptic_png(_raw_png(segment_ids, pixels, interlaced=1))
    np.testing.assert_array_equal(decoded, segment_ids)


def test_what_a_png_says_beside_its_pixels_is_passed_over_unless_it_must_be_understood():
    segment_ids = np.arange(6).reshape(2, 3)
    png_bytes = _raw_png(segment_ids, _rows(segment_ids), extra=_chunk(b"tEXt", b"Title\0panoptic"))
    np.testing.assert_array_equal(panoptic_png.decode_panoptic_png(png_bytes), segment_ids)
    with pytest.raises(ValueError, match="'NEWS' at byte 33 must be understood"):
        panoptic_png.decode_panoptic_png(_raw_png(segment_ids, _rows(segment_ids), extra=_chunk(b"NEWS", b"")))


def test_a_damaged_png_is_refused():
    segment_ids = np.arange(6).reshape(2, 3)
    whole = _raw_png(segment_ids, _rows(segment_ids))
    flipped = bytearray(whole)
    flipped[45] ^= 1
    with pytest.raises(ValueError, match="checksum of the chunk b'IDAT' at byte 33 is wrong"):
        panoptic_png.decode_panoptic_png(bytes(flipped))
    with pytest.raises(ValueError, match="IDAT stream too short"):
        panoptic_png.decode_panoptic_png(_raw_png(segment_ids, _rows(segment_ids)[:-10]))
    with pytest.raises(ValueError, match="must be a whole PNG"):
        panoptic_png.decode_panoptic_png(_raw_png(segment_ids, b"\7" + _rows(segment_ids)[1:]))  # No such filter.


def test_a_png_without_pixels_or_with_too_many_is_refused_before_it_is_decoded():
    for size in ((0, 4), (20_000, 20_000)):
        with pytest.raises(ValueError, match=f"must have 1 to .* Received: {size[0]} x {size[1]}"):
            panoptic_png.decode_panoptic_png(_raw_png(np.empty(size, np.uint8), b""))


@pytest.mark.parametrize(
    "segment_ids", [np.array([[-1]]), np.array([[2**24]]), np.zeros((2, 2)), np.zeros(3, np.int32)]
)
def test_ids_that_do_not_fit_24_bits_and_other_arrays_are_refused(segment_ids):
    with pytest.raises(ValueError, match="`segment_ids` must be"):
        panoptic_png.encode_panoptic_png(segment_ids)


def test_an_empty_map_has_no_png():
    with pytest.raises(ValueError, match="at least one pixel"):
        panoptic_png.encode_panoptic_png(np.zeros((0, 4), np.int32))


def test_extents_are_counted_by_hand():
    segment_ids = np.array([[0, 300, 300, 7], [9, 9, 300, 7], [0, 0, 0, 300]], dtype=np.int32)
    ids, areas, boxes = panoptic_png.segment_extents(segment_ids)
    assert ids.tolist() == [7, 9, 300]
    assert areas.tolist() == [2, 2, 4]
    assert boxes.tolist() == [[3, 0, 1, 2], [0, 1, 2, 1], [1, 0, 3, 3]]


@pytest.mark.parametrize(("value", "ids"), [(0, []), (5, [5])])
def test_extents_of_a_map_of_one_value(value, ids):
    found, areas, boxes = panoptic_png.segment_extents(np.full((2, 3), value, np.int32))
    assert found.tolist() == ids
    assert areas.tolist() == [6] * len(ids)
    assert boxes.tolist() == [[0, 0, 3, 2]] * len(ids)


@settings(max_examples=30, deadline=None)
@given(hypothesis_numpy.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)))
def test_extents_equal_those_of_each_mask(segment_ids):
    for segment_id, area, box in zip(*panoptic_png.segment_extents(segment_ids), strict=True):
        rows, columns = np.nonzero(segment_ids == segment_id)
        assert area == len(rows)
        x, y, width, height = box
        assert (x, x + width - 1, y, y + height - 1) == (columns.min(), columns.max(), rows.min(), rows.max())
