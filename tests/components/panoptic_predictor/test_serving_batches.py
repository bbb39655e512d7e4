"""Photos that are padded to one size, through the network together: the evaluator's batches, with a real export."""

from __future__ import annotations

import pytest
import tensorflow as tf

from components.panoptic_predictor.prediction_step import batches_of_one_size
from components.panoptic_predictor.serving_model import ServingModel
from maskformer_model.data import panoptic_png
from maskformer_model.data.examples import ExampleRecord
from tests.maskformer_model.helpers.small_export import encoded, export_small, photo

# The network sees edges of 64 to 96 px in steps of 32: 64 x 96 for the first four, whatever their own size.
SIZES_PX = [(60, 90), (64, 96), (128, 180), (50, 70), (90, 60), (64, 64), (70, 70)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    export_small(directory)
    return ServingModel(str(directory))


@pytest.fixture(scope="module")
def records():
    return [
        ExampleRecord(
            source_id=str(number),
            filename=f"{number}.png",
            image_encoded=encoded(photo(*size_px, seed=number)),
            image_format="png",
            height_px=size_px[0],
            width_px=size_px[1],
            panoptic_png=b"",
            segments=(),
            brightness=0.5,
        )
        for number, size_px in enumerate(SIZES_PX)
    ]


def test_photos_meet_in_batches_of_their_padded_size(model, records):
    batches = [(places, predict.__name__) for places, predict in batches_of_one_size(model, records, 3)]
    assert batches == [
        ([0, 1, 2], "predict_of_one_size"),
        ([3], "predict_task"),
        ([4], "predict_task"),
        ([5, 6], "predict_of_one_size"),
    ]
    alone = list(batches_of_one_size(model, records, 1))
    assert all(predict == model.predict_task for _, predict in alone)
    assert [places for places, _ in alone] == [[number] for number in range(len(records))]


def test_a_batch_answers_as_its_photos_do_alone(model, records):
    images = [record.image_encoded for record in records[:4]]
    together, alone = model.predict_of_one_size(images), model.predict(images)
    for one, other in zip(together, alone, strict=True):
        assert [segment.class_index for segment in one.segments] == [segment.class_index for segment in other.segments]
        scores = [[segment.score for segment in result.segments] for result in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
        maps = [panoptic_png.decode_panoptic_png(result.panoptic_png) for result in (one, other)]
        assert (maps[0] == maps[1]).mean() > 0.999
    assert any(result.segments for result in alone)


def test_photos_of_several_padded_sizes_are_no_batch(model, records):
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.predict_of_one_size([records[0].image_encoded, records[4].image_encoded])
