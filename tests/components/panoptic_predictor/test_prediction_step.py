"""Prediction and metric steps with a real SavedModel in real Beam pipelines: counts, shards, retries, errors."""

from __future__ import annotations

import dataclasses
import json
import pickle

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from components.panoptic_evaluator.report.model_card import model_facts
from components.panoptic_evaluator.scoring.evaluation import evaluation_from_files
from components.panoptic_evaluator.scoring.metric_step import EvaluatePredictions
from components.panoptic_predictor import prediction_files
from components.panoptic_predictor.counts import SegmentCounts, from_json_rows
from components.panoptic_predictor.prediction_files import PredictionSummary
from components.panoptic_predictor.prediction_step import (
    PredictShard,
    PredictSplit,
    ShardResult,
    count_prediction,
    predict_records,
)
from components.panoptic_predictor.serving_model import ServedAnswer, ServingModel, difference_of_categories
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from maskformer_model.metrics.average_precision import average_precision
from tests.components.brightness_model import CATEGORIES, DISC, GROUND, save_model, scene, write_examples

# Two discs are too dark for the model: it calls all of the image ground.
SCENES = [scene(number, disc_level=100 if number in (3, 4) else 220) for number in range(1, 8)]
BEAM_ARGS = ["--runner=FnApiRunner"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("model") / "saved"))


def _predict(tmp_path, model_dir, scenes, *, num_shards=2, batch_size=1, num_workers=1):
    split_dir = write_examples(tmp_path / "examples", scenes, num_shards=num_shards)
    output = tmp_path / "predictions"
    output.mkdir()
    workers = ["--direct_running_mode=multi_threading", f"--direct_num_workers={num_workers}"]
    with beam.Pipeline(argv=BEAM_ARGS + (workers if num_workers > 1 else [])) as pipeline:
        step = PredictSplit(
            prediction_files.example_files(str(split_dir)),
            model_dir,
            str(output),
            isthing=CATEGORIES.isthing,
            batch_size=batch_size,
        )
        pipeline | step | beam.Map(lambda result: (output / "result.json").write_text(json.dumps(result)))
    num_images, counts = json.loads((output / "result.json").read_text())
    results = ShardResult(num_images, tuple((index, SegmentCounts(*values)) for index, values in counts))
    return output, results


def _evaluate(tmp_path, predictions_dir):
    shards = prediction_files.list_shards(str(predictions_dir))
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline:
        pipeline | EvaluatePredictions(shards, str(tmp_path / "sum_"), CATEGORIES.isthing)
    return (tmp_path / "sum_counts.json").read_text(), (tmp_path / "sum_images.jsonl").read_text().splitlines()


def test_a_semantic_model_is_asked_for_class_maps(tmp_path):
    model = ServingModel(str(save_model(tmp_path / "semantic", task="semantic")))
    prediction = count_prediction(SCENES[0], model.predict_task([SCENES[0].image_encoded])[0], CATEGORIES.isthing)
    disc_px = 7 * 7
    assert [(s.id, s.class_index, s.category_id, s.area, s.bbox) for s in prediction.segments] == [
        (1, GROUND, 7, 24 * 32 - disc_px, (0.0, 0.0, 32.0, 24.0)),
        (2, DISC, 3, disc_px, (5.0, 4.0, 7.0, 7.0)),
    ]
    assert prediction.measures.pixels == ((GROUND, GROUND, 24 * 32 - disc_px), (DISC, DISC, disc_px))
    hidden = count_prediction(SCENES[2], model.predict_task([SCENES[2].image_encoded])[0], CATEGORIES.isthing)
    assert hidden.measures.pixels == ((GROUND, GROUND, 24 * 32 - 81), (DISC, GROUND, 81))


def test_an_instance_model_is_asked_for_instances_that_may_overlap(tmp_path):
    model = ServingModel(str(save_model(tmp_path / "instance", task="instance")))
    [result] = model.predict_task([SCENES[0].image_encoded])
    assert [(one.class_index, one.area_px, one.score) for one in result.instances] == [
        (DISC, 49, np.float32(0.9)),
        (DISC, 49, np.float32(0.45)),
    ]
    prediction = count_prediction(SCENES[0], result, CATEGORIES.isthing)
    assert [segment.id for segment in prediction.segments] == [1, 300]  # The panoptic map is there as well.
    found = average_precision([prediction.measures.instances], [DISC])
    # The second disc is a false one behind the true one, which costs AP nothing.
    assert found["ap"] == pytest.approx(1)
    assert [len(record["scores"]) for record in prediction.measures.instances[str(DISC)][:1]] == [2]
    panoptic = ServingModel(str(save_model(tmp_path / "panoptic", task="panoptic")))
    assert panoptic.predict_task([SCENES[0].image_encoded])[0].instances is None


def test_ap_counts_as_many_instances_of_a_photo_as_the_model_may_answer(tmp_path):
    directory = save_model(tmp_path / "instance", task="instance")
    records = write_examples(tmp_path / "examples", SCENES[:1], num_shards=1)
    [path] = prediction_files.example_files(str(records))
    facts = {"task": "instance", "inference": {"max_instances": 1}}
    for text, count in ((json.dumps(facts), 1), ('{"task": "instance"}', 2)):
        (directory / "assets.extra" / "serving.json").write_text(text)
        serialized = prediction_files.read_records(path)
        [prediction] = predict_records(ServingModel(str(directory)), serialized, CATEGORIES.isthing, 1)
        assert {len(record["scores"]) for record in prediction.measures.instances[str(DISC)][:1]} == {count}
    assert "Average precision" not in dict(model_facts(str(directory), []))
    (directory / "assets.extra" / "serving.json").write_text(json.dumps(facts))
    words = "counts up to 1 instances of a class in a photo, where COCO's counts 100"
    assert dict(model_facts(str(directory), []))["Average precision"] == words


def test_a_model_must_have_the_signature_of_its_task(tmp_path):
    directory = save_model(tmp_path / "saved")
    (directory / "assets.extra" / "serving.json").write_text('{"task": "semantic"}')
    with pytest.raises(ValueError, match=r"must have the signature `semantic`. Received: \['serving_default'\]"):
        ServingModel(str(directory))


def test_every_image_is_predicted_at_its_own_size_and_counted(tmp_path, model_dir):
    scenes = [*SCENES, scene(8, size_px=(40, 30))]
    output, result = _predict(tmp_path, model_dir, scenes)
    # 6 discs are found exactly. The 2 dark ones are missed; there the ground is found, with an IoU below 1.
    disc = dict(result.counts)[DISC]
    ground = dict(result.counts)[GROUND]
    assert result.num_images == 8
    assert disc == SegmentCounts(6.0, 6, 0, 2)
    assert (ground.true_positives, ground.false_positives, ground.false_negatives) == (8, 0, 0)
    areas = [24 * 32, 24 * 32]
    missed = sum((area - side * side) / area for area, side in zip(areas, (9, 10), strict=True))
    assert ground.iou_sum == pytest.approx(6 + missed, abs=1e-9)

    shards = prediction_files.list_shards(str(output))
    assert [path.rsplit("/", 1)[1] for path in shards] == [
        "predictions-00000-of-00002.tfrecord",
        "predictions-00001-of-00002.tfrecord",
    ]
    predictions = [prediction_files.decode_prediction(record) for record in prediction_files.read_records(shards[1])]
    assert [prediction.source_id for prediction in predictions] == ["2", "4", "6", "8"]  # As in the examples' shard.
    last = predictions[-1]
    assert (last.filename, last.height_px, last.width_px) == ("000000000008.png", 40, 30)
    assert [(segment.id, segment.category_id) for segment in last.segments] == [(1, 7), (300, 3)]
    assert last.statistics["num_segments"] == 2


def test_a_stored_prediction_reads_back_as_it_was_written(tmp_path, model_dir):
    model = ServingModel(model_dir)
    prediction = count_prediction(SCENES[0], model.predict([SCENES[0].image_encoded])[0], CATEGORIES.isthing)
    assert prediction_files.decode_prediction(prediction_files.encode_prediction(prediction)) == prediction


def test_shards_batches_and_workers_change_no_bit_of_the_metrics(tmp_path, model_dir):
    outcomes = set()
    cases = ({}, {"num_shards": 7, "batch_size": 3, "num_workers": 2}, {"num_shards": 1, "batch_size": 64})
    for case, options in enumerate(cases):
        folder = tmp_path / str(case)
        folder.mkdir()
        output, result = _predict(folder, model_dir, SCENES, **options)
        counts_json, lines = _evaluate(folder, output)
        sums = [[key[2], *numbers] for key, numbers in json.loads(counts_json) if key[:2] == ["panoptic", "all"]]
        assert tuple(from_json_rows(sums)) == result.counts
        outcomes.add((counts_json, tuple(sorted(lines))))
    assert len(outcomes) == 1


def test_pq_comes_from_sums_and_is_not_a_mean_over_images(tmp_path, model_dir):
    output, _ = _predict(tmp_path, model_dir, SCENES)
    evaluation = evaluation_from_files(CATEGORIES, *_evaluate(tmp_path, output))
    # 5 of 7 discs are found exactly: 5 / (5 + 2 / 2). A mean over the images would give 5 / 7.
    assert evaluation.quality.per_class.pq[DISC] == 5 / 6
    assert [image.pq for image in evaluation.images if image.false_negatives == 0] == [1.0] * 5
    assert [image.source_id for image in evaluation.images if image.false_negatives] == ["3", "4"]


def test_a_split_without_a_record_gives_zero_images(tmp_path, model_dir):
    output, result = _predict(tmp_path, model_dir, [])
    assert result == ShardResult(0, ())
    evaluation = evaluation_from_files(CATEGORIES, *_evaluate(tmp_path, output))
    assert evaluation.images == ()
    assert evaluation.quality.all.num_classes == 0


def test_a_repeated_shard_replaces_what_it_wrote_before(tmp_path, model_dir):
    output, first = _predict(tmp_path, model_dir, SCENES, num_shards=1)
    before = {path.name: path.read_bytes() for path in output.glob("predictions-*")}
    split_dir = str(tmp_path / "examples" / "Split-eval")
    with beam.Pipeline(argv=BEAM_ARGS) as pipeline:
        files = prediction_files.example_files(split_dir)
        pipeline | PredictSplit(files, model_dir, str(output), isthing=CATEGORIES.isthing, batch_size=1)
    assert {path.name: path.read_bytes() for path in output.glob("*predictions-*")} == before


def test_a_failed_shard_leaves_no_file(tmp_path):
    broken = str(save_model(tmp_path / "saved", score=float("nan")))
    with pytest.raises(Exception, match=r"000000000001.png.*scores of a prediction must be finite"):
        _predict(tmp_path, broken, SCENES[:1], num_shards=1)
    assert list((tmp_path / "predictions").iterdir()) == []


def test_the_beam_step_can_be_sent_to_another_process(model_dir):
    step = pickle.loads(pickle.dumps(PredictShard(model_dir, "out", CATEGORIES.isthing, 1)))
    step.setup()


def test_a_missing_shard_of_predictions_is_noticed(tmp_path, model_dir):
    output, _ = _predict(tmp_path, model_dir, SCENES)
    (output / "predictions-00000-of-00002.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match="all 2 shards"):
        prediction_files.list_shards(str(output))


def test_predictions_without_a_summary_are_unfinished(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        PredictionSummary.load(str(tmp_path))


def test_a_summary_reads_back_as_it_was_written(tmp_path):
    summary = PredictionSummary(
        status=prediction_files.PREDICTED, num_images=3, counts=((1, SegmentCounts(0.1 + 0.2, 1, 2, 3)),)
    )
    summary.save(str(tmp_path))
    assert PredictionSummary.load(str(tmp_path)) == summary
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_prediction_of_another_size_is_refused(model_dir):
    other = ServingModel(model_dir).predict([scene(2, size_px=(10, 10)).image_encoded])[0]
    with pytest.raises(ValueError, match=r"000000000001.png.*one size"):
        count_prediction(scene(1), other, CATEGORIES.isthing)


def test_a_segment_that_the_png_lacks_is_refused(model_dir):
    result = ServingModel(model_dir).predict([SCENES[0].image_encoded])[0]
    invented = ServedAnswer(
        panoptic_png=result.panoptic_png,
        segments=(*result.segments, dataclasses.replace(result.segments[0], id=99)),
    )
    with pytest.raises(ValueError, match=r"without one, ids: \[99\]"):
        count_prediction(SCENES[0], invented, CATEGORIES.isthing)


def test_crowds_and_void_are_neither_missed_nor_held_against_a_prediction(model_dir):
    record = scene(1)
    ground, disc = record.segments
    result = ServingModel(model_dir).predict([record.image_encoded])[0]
    crowd = dataclasses.replace(record, segments=(ground, dataclasses.replace(disc, iscrowd=True)))
    assert dict(count_prediction(crowd, result, CATEGORIES.isthing).counts) == {GROUND: SegmentCounts(1.0, 1, 0, 0)}


def test_a_model_without_the_signature_or_its_outputs_is_named(tmp_path):
    module = tf.Module()
    module.twice = tf.function(lambda x: {"panoptic_png_bytes": x}, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"other": module.twice})
    with pytest.raises(ValueError, match=r"must have the signature `serving_default`. Received: \['other'\]"):
        ServingModel(str(tmp_path / "other"))
    tf.saved_model.save(module, str(tmp_path / "partial"), signatures={"serving_default": module.twice})
    with pytest.raises(ValueError, match=r"must give \['segment_ids', .*Received: \['panoptic_png_bytes'\]"):
        ServingModel(str(tmp_path / "partial"))


def test_class_lists_are_equal_in_ids_names_kinds_and_order():
    assert difference_of_categories(CATEGORIES, CATEGORIES) == ""
    recolored = [entry | {"color": [1, 2, 3]} for entry in CATEGORIES.to_coco()]
    assert difference_of_categories(CategoryTable.from_coco(recolored), CATEGORIES) == ""
    reversed_order = CategoryTable.from_coco(CATEGORIES.to_coco()[::-1])
    assert "class 0 is 'disc' in the model" in difference_of_categories(reversed_order, CATEGORIES)
    fewer = CategoryTable.from_coco(CATEGORIES.to_coco()[:1])
    assert "(1 classes in the model and 2 in the examples)" in difference_of_categories(fewer, CATEGORIES)


def test_examples_of_stock_writers_are_read_compressed_or_not(tmp_path):
    serialized = examples.encode_example(SCENES[0]).SerializeToString()
    path = str(tmp_path / "data_tfrecord-00000-of-00001.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        writer.write(serialized)
    assert list(prediction_files.read_records(path)) == [serialized]
    assert np.isclose(examples.decode_record(serialized).brightness, 0.2)
