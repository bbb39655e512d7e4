"""What images can be sliced by."""

from __future__ import annotations

import pytest
import tensorflow as tf

from components.panoptic_predictor.image_attributes import attributes_of, slice_images


def example(**features) -> bytes:
    result = tf.train.Example()
    for name, values in features.items():
        feature = result.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return result.SerializeToString()


def test_attributes_are_the_single_short_values_of_an_example():
    serialized = example(
        camera=[b"left"], height=[480], brightness=[0.5], photo=[b"x" * 65], ids=[1, 2], mask=[b"\xff\xfe"],
        nothing=[float("nan")],
    )  # fmt: skip
    assert attributes_of(serialized) == {"brightness": 0.5, "camera": "left", "height": 480}


def test_the_folder_of_the_photo_is_an_attribute_where_its_name_has_one():
    assert attributes_of(example(**{"image/filename": [b"new/a.jpg"]}))["image/folder"] == "new"
    assert "image/folder" not in attributes_of(example(**{"image/filename": [b"a.jpg"]}))


def test_few_values_are_a_slice_each():
    images = [{"image/camera": "left"}, {"image/camera": "right"}, {}]
    assert slice_images(images, "image/camera") == ["camera=left", "camera=right", "camera=absent"]


def test_many_numbers_are_cut_into_thirds_that_every_image_is_in_once():
    labels = slice_images([{"brightness": number / 30} for number in range(30)], "brightness")
    assert labels == ["brightness=0..0.322"] * 10 + ["brightness=0.322..0.644"] * 10 + ["brightness=0.644..0.967"] * 10


def test_unknown_features_and_texts_without_end_are_refused():
    with pytest.raises(ValueError, match=r"of \['height'\]. Received: 'weather'"):
        slice_images([{"height": 3}], "weather")
    with pytest.raises(ValueError, match="at most 8 values. Received 9 of 'name'"):
        slice_images([{"name": str(number)} for number in range(9)], "name")


def test_no_image_has_no_slice():
    assert slice_images([], "brightness") == []
