"""tf-maskformer's keys of one small scene, by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import ObjectEntry
from maskformer_model.data import tf_maskformer_features
from maskformer_model.data.examples import SegmentRecord

IDS = np.array([[5, 5, 0], [8, 8, 9]], np.int32)


def segment(number, category, class_index, isthing):
    return SegmentRecord(
        id=number,
        category_id=category,
        class_index=class_index,
        isthing=isthing,
        iscrowd=False,
        area_px=int((number == IDS).sum()),
        bbox_px=(0, 0, 1, 1),
    )


SEGMENTS = [segment(5, 1, 0, True), segment(8, 92, 1, False)]  # 9 is not listed: void.


def image(feature):
    return np.asarray(Image.open(io.BytesIO(feature.bytes_list.value[0])))


def test_masks_show_category_place_and_contiguous_id():
    features = tf_maskformer_features.panoptic_features(IDS, SEGMENTS, tf_maskformer_features.instance_ids_of(SEGMENTS))
    np.testing.assert_array_equal(image(features["image/panoptic/category_mask"]), [[1, 1, 0], [92, 92, 0]])
    np.testing.assert_array_equal(image(features["image/panoptic/instance_mask"]), [[1, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(image(features["image/panoptic/contiguous_mask"]), [[1, 1, 0], [2, 2, 0]])
    assert list(features["image/panoptic/class_ids"].int64_list.value) == [1, 2]
    assert list(features["image/panoptic/instance_ids"].int64_list.value) == [1, 0]


def test_semantic_labels_are_one_for_things_and_the_stuff_s_number_less_90():
    feature = tf_maskformer_features.semantic_feature(IDS, SEGMENTS)["image/segmentation/class/encoded"]
    np.testing.assert_array_equal(image(feature), [[1, 1, 0], [2, 2, 0]])


def test_objects_have_boxes_in_fractions_and_those_outside_are_left_out_on_request():
    mask = IDS == 8
    inside = tf_maskformer_features.MaskedObject(ObjectEntry(1, 3, True, 1.5, (1.0, 0.0, 2.0, 1.0), None), mask)
    outside = tf_maskformer_features.MaskedObject(ObjectEntry(2, 3, False, 1.0, (2.0, 0.0, 2.0, 1.0), None), mask)
    drawn = tf_maskformer_features.object_features([inside], (2, 3), {3: "car"}, include_masks=True)
    boxes = [drawn[f"image/object/bbox/{edge}"].float_list.value[:] for edge in ("xmin", "xmax", "ymin", "ymax")]
    np.testing.assert_allclose(boxes, [[1 / 3], [1.0], [0.0], [0.5]], rtol=1e-6)
    assert drawn["image/object/class/text"].bytes_list.value[:] == [b"car"]
    assert drawn["image/object/is_crowd"].int64_list.value[:] == [1]
    assert image(drawn["image/object/mask"]).sum() == 2 * 255 or image(drawn["image/object/mask"]).sum() == 2
    assert tf_maskformer_features.object_features([], (2, 3), {3: "car"}) == {}
    why = tf_maskformer_features.why_left_out
    assert not why(inside.entry.bbox, (2, 3), skip_outside=True) and not why(outside.entry.bbox, (2, 3))
    assert why(outside.entry.bbox, (2, 3), skip_outside=True).startswith("its `bbox` leaves the photo of (2, 3) px")
    assert all("has no pixel" in why(box, (2, 3)) for box in ((3.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0), None))
    # By default its box is cut at the edge of the photo.
    [width] = tf_maskformer_features.object_features([outside], (2, 3), {3: "car"})[
        "image/object/bbox/xmax"
    ].float_list.value
    assert width == 1.0


def test_more_segments_than_an_8_bit_mask_holds_are_refused():
    with pytest.raises(ValueError, match="up to 255. Received: 256"):
        tf_maskformer_features.instance_ids_of([segment(5, 1, 0, True)] * 256)


def test_ids_that_do_not_fit_the_masks_are_listed():
    table = CategoryTable.from_coco([{"id": 300, "name": "a", "isthing": 1}, {"id": 91, "name": "b", "isthing": 0}])
    with pytest.raises(ValueError, match=r"Received the ids: \[91, 300\]"):
        tf_maskformer_features.check_categories(table)
