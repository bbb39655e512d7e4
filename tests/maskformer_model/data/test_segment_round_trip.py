"""Random segment maps through PNG, Example, input pipeline and augmentation, and back, pixel by pixel."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from maskformer_model.config import ParserConfig
from maskformer_model.data import augmentation, examples, panoptic_png
from maskformer_model.data.input_pipeline import load_example

_IDS = st.integers(1, panoptic_png.MAX_SEGMENT_ID)


@st.composite
def records(draw):
    """A record whose photo shows the ids of its map as colours, so that photo and map can be held together."""
    height, width = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    ids = draw(st.lists(_IDS, min_size=0, max_size=9, unique=True))
    places = draw(st.lists(st.integers(0, len(ids)), min_size=height * width, max_size=height * width))
    segment_ids = np.array([0, *ids], np.int32)[np.array(places).reshape(height, width)]
    present, areas, boxes = panoptic_png.segment_extents(segment_ids)
    order = draw(st.permutations(range(len(present))))
    segments = tuple(
        examples.SegmentRecord(
            id=int(present[place]),
            category_id=draw(st.integers(0, 200)),
            class_index=draw(st.integers(0, 132)),
            isthing=draw(st.booleans()),
            iscrowd=draw(st.booleans()),
            area_px=int(areas[place]),
            bbox_px=tuple(boxes[place].tolist()),
        )
        for place in order
    )
    png = panoptic_png.encode_panoptic_png(segment_ids)
    return segment_ids, examples.ExampleRecord(
        source_id=str(draw(st.integers(0, 10**12))),
        filename=draw(st.text(max_size=8)),
        image_encoded=png,
        image_format="png",
        height_px=height,
        width_px=width,
        panoptic_png=png,
        segments=segments,
        brightness=0.5,
    )


def _targets(record, keep_crowd, max_targets):
    """The segments that become targets, by the rule in words: no crowd unless kept, and of too many the largest."""
    usable = [s for s in record.segments if keep_crowd or not s.iscrowd]
    largest = sorted(range(len(usable)), key=lambda place: (-usable[place].area_px, place))[:max_targets]
    return [usable[place] for place in sorted(largest)]


def _ids_of(segment_map, targets):
    return np.array([0, *(target.id for target in targets)], np.int32)[segment_map]


@settings(max_examples=40, deadline=None)
@given(records(), st.booleans(), st.integers(1, 6), st.integers(0, 2**31))
def test_a_map_comes_back_from_png_example_and_augmentation(drawn, keep_crowd, max_targets, seed):
    segment_ids, record = drawn
    np.testing.assert_array_equal(panoptic_png.decode_panoptic_png(record.panoptic_png), segment_ids)
    serialized = examples.encode_example(record).SerializeToString()
    assert examples.decode_record(serialized) == record

    shorter, longer = sorted(segment_ids.shape)
    parser = ParserConfig(
        augmentation="flip",
        min_sizes_px=(shorter,),
        max_size_px=longer,
        output_size=(0, 0),
        max_targets=max_targets,
        keep_crowd=keep_crowd,
    )
    loaded = load_example(tf.constant(serialized), parser=parser, kind="panoptic")
    targets = _targets(record, keep_crowd, max_targets)
    expected = np.where(np.isin(segment_ids, [target.id for target in targets]), segment_ids, 0)
    np.testing.assert_array_equal(_ids_of(loaded["segment_map"].numpy(), targets), expected)
    assert loaded["segment_classes"].numpy().tolist() == [target.class_index for target in targets]

    image, segment_map = augmentation.augment(
        loaded["image"], loaded["segment_map"], parser, tf.constant([seed, 1], tf.int64)
    )
    shown = panoptic_png.rgb_to_segment_ids(image.numpy())
    assert any(np.array_equal(shown, way) for way in (segment_ids, segment_ids[:, ::-1]))
    # Photo and map have turned the same way.
    np.testing.assert_array_equal(
        _ids_of(segment_map.numpy(), targets), np.where(np.isin(shown, [target.id for target in targets]), shown, 0)
    )

    twice = tuple(2 * edge for edge in segment_ids.shape)
    larger = augmentation.resize(loaded["image"], loaded["segment_map"], twice)
    _, back = augmentation.resize(*larger, segment_ids.shape)
    np.testing.assert_array_equal(back, loaded["segment_map"])
