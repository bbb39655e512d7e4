"""Fills, outlines, stripes and labels, at the smallest and at large sizes."""

from __future__ import annotations

import numpy as np
import pytest

from maskformer_model.categories import CategoryTable
from maskformer_model.prediction.visualization import DrawnSegment, MatchState, draw_panoptic, segment_colors

CAT, SKY = 0, 1
CATEGORIES = CategoryTable.from_coco(
    [
        {"id": 5, "name": "cat", "isthing": 1, "color": [200, 0, 0]},
        {"id": 9, "name": "sky", "isthing": 0, "color": [0, 0, 200]},
    ]
)


def gray_photo(height_px: int, width_px: int) -> np.ndarray:
    return np.full((height_px, width_px, 3), 100, np.uint8)


def halves(height_px: int, width_px: int) -> np.ndarray:
    """Id 300 on the left, 7 on the right."""
    ids = np.full((height_px, width_px), 300, np.int32)
    ids[:, width_px // 2 :] = 7
    return ids


HALVES = [DrawnSegment(id=7, class_index=SKY), DrawnSegment(id=300, class_index=CAT)]


def num_label_pixels(height_px: int, width_px: int, ids=None, segments=HALVES) -> int:
    """Pixels that change when labels are written."""
    ids = halves(height_px, width_px) if ids is None else ids
    photo = gray_photo(height_px, width_px)
    bare = draw_panoptic(photo, ids, segments, CATEGORIES, labels=False)
    return int((draw_panoptic(photo, ids, segments, CATEGORIES) != bare).any(axis=-1).sum())


def test_a_segment_is_its_class_colour_over_the_photo_and_its_edge_is_white():
    drawn = draw_panoptic(gray_photo(6, 10), halves(6, 10), HALVES, CATEGORIES, opacity=0.5, labels=False)
    assert drawn[3, 2].tolist() == [150, 50, 50]
    assert drawn[3, 8].tolist() == [50, 50, 150]
    assert drawn[:, 5].tolist() == [[255, 255, 255]] * 6


def test_void_is_dark_and_without_colour():
    photo = np.full((4, 4, 3), (250, 100, 50), np.uint8)
    drawn = draw_panoptic(photo, np.zeros((4, 4), np.int32), [], CATEGORIES)
    assert (drawn == drawn[0, 0, 0]).all()
    assert 0 < drawn[0, 0, 0] < 60


def test_instances_of_a_thing_differ_and_parts_of_stuff_do_not():
    segments = [
        DrawnSegment(id=i, class_index=class_index) for i, class_index in enumerate([CAT, SKY, CAT, SKY, CAT], 1)
    ]
    colors = [tuple(color) for color in segment_colors(segments, CATEGORIES).tolist()]
    assert colors[0] == (200, 0, 0)
    assert len({colors[0], colors[2], colors[4]}) == 3
    assert colors[1] == colors[3] == (0, 0, 200)
    assert segment_colors([], CATEGORIES).shape == (0, 3)


def test_false_positives_and_false_negatives_are_striped():
    ids = np.ones((40, 40), np.int32)
    plain, extra, missed, crowd = (
        draw_panoptic(
            gray_photo(40, 40), ids, [DrawnSegment(id=1, class_index=CAT, state=state)], CATEGORIES, labels=False
        )
        for state in (MatchState.PLAIN, MatchState.EXTRA, MatchState.MISSED, MatchState.CROWD)
    )
    assert len(np.unique(plain)) == len(np.unique(crowd)) == 2
    assert len(np.unique(extra[..., 0])) == len(np.unique(missed[..., 0])) == 2
    assert 0.3 < (extra != plain).any(axis=-1).mean() < 0.7


@pytest.mark.parametrize("size_px", [(80, 80), (300, 400), (2000, 3000)])
def test_labels_are_written_at_every_size_and_keep_in_proportion(size_px):
    assert 0.002 < num_label_pixels(*size_px) / np.prod(size_px) < 0.35


def test_a_score_and_a_state_make_a_label_longer():
    ids = np.ones((200, 400), np.int32)
    plain, scored, extra = (
        num_label_pixels(200, 400, ids, [segment])
        for segment in (
            DrawnSegment(id=1, class_index=CAT),
            DrawnSegment(id=1, class_index=CAT, score=0.876),
            DrawnSegment(id=1, class_index=CAT, score=0.876, state=MatchState.CROWD),
        )
    )
    assert plain < scored < extra


def test_a_segment_too_small_for_its_label_has_none():
    ids = np.zeros((200, 200), np.int32)
    ids[100:105, 100:105] = 1
    assert num_label_pixels(200, 200, ids, [DrawnSegment(id=1, class_index=CAT)]) == 0


def test_a_label_lies_on_its_segment_even_where_the_centre_of_mass_does_not():
    # A ring: its centre of mass is in the hole.
    y, x = np.mgrid[:300, :300] - 150
    ids = ((np.hypot(y, x) < 140) & (np.hypot(y, x) > 80)).astype(np.int32)
    segment = DrawnSegment(id=1, class_index=CAT)
    photo = gray_photo(300, 300)
    bare = draw_panoptic(photo, ids, [segment], CATEGORIES, labels=False)
    written = (draw_panoptic(photo, ids, [segment], CATEGORIES) != bare).any(axis=-1)
    assert written.any()
    assert ids[written].mean() > 0.6


def test_labels_do_not_cover_each_other():
    # Two strips, each lower than a label: two labels in the middle would overlap by half.
    ids = np.ones((20, 200), np.int32)
    ids[10:] = 2
    one = num_label_pixels(20, 200, np.ones((20, 200), np.int32), [DrawnSegment(id=1, class_index=CAT)])
    both = num_label_pixels(20, 200, ids, [DrawnSegment(id=i, class_index=CAT) for i in (1, 2)])
    assert both == pytest.approx(2 * one, rel=0.1)


@pytest.mark.parametrize("size_px", [(1, 1), (1, 50), (50, 1), (0, 0)])
def test_the_smallest_images_are_drawn(size_px):
    segments = [DrawnSegment(id=1, class_index=CAT)]
    drawn = draw_panoptic(gray_photo(*size_px), np.ones(size_px, np.int32), segments, CATEGORIES)
    assert drawn.shape == (*size_px, 3)


def test_the_photo_stays_as_it_is_and_the_picture_is_the_same_each_time():
    photo = gray_photo(90, 120)
    first, second = (draw_panoptic(photo, halves(90, 120), HALVES, CATEGORIES) for _ in range(2))
    assert (photo == 100).all()
    np.testing.assert_array_equal(first, second)
    first[:] = 0  # The picture belongs to the caller.


def test_a_listed_segment_without_a_pixel_is_not_drawn():
    ids = np.full((50, 50), 300, np.int32)
    with_missing = draw_panoptic(gray_photo(50, 50), ids, HALVES, CATEGORIES)
    np.testing.assert_array_equal(with_missing, draw_panoptic(gray_photo(50, 50), ids, HALVES[1:], CATEGORIES))


def test_wrong_photos_and_unlisted_ids_are_refused():
    with pytest.raises(ValueError, match=r"`image` must be uint8 .* float64 \[4, 4, 3\]"):
        draw_panoptic(np.zeros((4, 4, 3)), halves(4, 4), HALVES, CATEGORIES)
    with pytest.raises(ValueError, match=r"Received: uint8 \[4, 5, 3\] and a map of \[4, 4\]"):
        draw_panoptic(gray_photo(4, 5), halves(4, 4), HALVES, CATEGORIES)
    with pytest.raises(ValueError, match=r"not listed: \[300\]"):
        draw_panoptic(gray_photo(4, 4), halves(4, 4), HALVES[:1], CATEGORIES)
