"""A result without segments, one with them, and instances that overlap."""

import numpy as np

from maskformer_model.prediction.results import InstanceResult, PanopticResult, Segment
from tests.maskformer_model.helpers.small_export import CATEGORIES, encoded

GRAY = encoded(np.full((4, 6, 3), 128, np.uint8))


def segment(number, score):
    return Segment(
        id=number,
        category_id=5,
        class_index=0,
        name="cat",
        isthing=True,
        score=score,
        area_px=8,
        box_px=(0.0, 0.0, 4.0, 2.0),
    )


def test_all_void_has_arrays_of_length_zero_and_a_picture():
    result = PanopticResult(
        image_bytes=GRAY, categories=CATEGORIES, segment_ids=np.zeros((4, 6), np.int32), segments=()
    )
    assert result.arrays()["boxes_px"].shape == (0, 4)
    assert result.coco_annotation(3, "3.png") == {"image_id": 3, "file_name": "3.png", "segments_info": []}
    assert result.plot().size == (6, 4)
    assert result.image.shape == (4, 6, 3)


def test_of_overlapping_instances_the_best_is_drawn_on_top_and_the_doubtful_not_at_all():
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :, :4] = masks[1, :, 2:] = True
    masks[2] = True
    result = InstanceResult(
        image_bytes=GRAY,
        categories=CATEGORIES,
        masks=masks,
        segments=(segment(1, 0.9), segment(2, 0.6), segment(3, 0.1)),
    )
    both = np.asarray(result.plot(labels=False))
    best = np.asarray(result.plot(labels=False, min_score=0.7))
    np.testing.assert_array_equal(both[:, 0], best[:, 0])
    assert np.any(both[:, 5] != best[:, 5])
    np.testing.assert_array_equal(result.arrays()["scores"], np.array([0.9, 0.6, 0.1], np.float32))
