"""Masks as polygons and back: exact without a tolerance, within a pixel of the outline with one, holes kept."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from maskformer_model.prediction.outlines import polygons_of


def drawn(polygons, shape):
    """The polygons filled by COCO's own rasterizer."""
    flat = [[float(coordinate) for point in ring for coordinate in point] for ring in polygons]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *shape))).astype(bool)


def blobs(seed, shape=(60, 80)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return noise > np.quantile(noise, 0.6)


def test_a_rectangle_has_four_corners_on_the_pixels_borders():
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:6] = True
    [ring] = polygons_of(mask)
    assert sorted(ring) == [(2, 1), (2, 4), (6, 1), (6, 4)]


def test_parts_that_touch_at_a_corner_are_two_polygons():
    assert sorted(map(sorted, polygons_of(np.eye(2, dtype=bool)))) == [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(1, 1), (1, 2), (2, 1), (2, 2)],
    ]


def test_a_hole_stays_open():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:5, 3:6] = False
    mask[6, 6] = False
    [ring] = polygons_of(mask, 0)
    np.testing.assert_array_equal(drawn([ring], mask.shape), mask)


@pytest.mark.parametrize("seed", range(4))
def test_without_a_tolerance_a_polygon_is_exact(seed):
    mask = blobs(seed)
    np.testing.assert_array_equal(drawn(polygons_of(mask, 0), mask.shape), mask)


@pytest.mark.parametrize("seed", range(4))
def test_with_the_usual_tolerance_only_pixels_at_outlines_move_and_corners_are_fewer(seed):
    mask = blobs(seed)
    polygons = polygons_of(mask)
    moved = drawn(polygons, mask.shape) ^ mask
    inside, around = (
        ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1),
        ndimage.binary_dilation(mask, np.ones((3, 3))),
    )
    assert not (moved & inside).any()
    assert not (moved & ~around).any()
    assert 2 * sum(map(len, polygons)) < sum(map(len, polygons_of(mask, 0)))


def test_one_pixel_all_pixels_and_no_pixel():
    assert len(polygons_of(np.ones((1, 1), bool))) == 1
    np.testing.assert_array_equal(drawn(polygons_of(np.ones((3, 4), bool)), (3, 4)), np.ones((3, 4), bool))
    assert polygons_of(np.zeros((3, 4), bool)) == []
