"""Panoptic PNG: the id formula by hand, round trips, and refusal of every other kind of PNG."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from PIL import Image

from maskformer_model import panoptic_png


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
