"""`training.loop.train`: what a run leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import config as config_lib
from maskformer_model.categories import CategoryTable
from maskformer_model.config.files import HISTORY_FILE, WEIGHTS_FILE
from maskformer_model.pretrained.initialize import build_network, initialize, save_converted
from maskformer_model.pretrained.training_run import read_network_values, trained_weights
from maskformer_model.training import batches, loop
from maskformer_model.training.callbacks import SKIPPED_FILE
from maskformer_model.training.checkpoints import TrainingCheckpoints
from maskformer_model.training.evaluator import Evaluator
from tests.maskformer_model.helpers import tiny_run
from tests.maskformer_model.helpers.families import FAMILIES

pytestmark = pytest.mark.takes(seconds=100)
NOTED = "trainer.validation_interval=3,trainer.checkpoint_interval=2,trainer.optimizer.ema_momentum=0.9"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return folder, tiny_run.write_records(folder)


def train(data, model_dir, overrides="", **options):
    folder, categories = data
    return loop.train(
        tiny_run.experiment(overrides),
        train_files=[str(folder / "train.tfrecord")],
        eval_files=[str(folder / "val.tfrecord")],
        categories=categories,
        model_dir=str(model_dir),
        progress=False,
        **options,
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("run")
    return model_dir, train(data, model_dir, NOTED)


def test_curves_have_every_loss_term_and_the_score_at_its_intervals(run):
    history = run[1].history
    assert [row["step"] for row in history] == [2, 3, 4, 6]
    terms = {f"loss_{name}{layer}" for name in ("ce", "mask", "dice") for layer in ("", "_0")}
    for row in (history[0], history[2], history[3]):
        assert row["loss"] == pytest.approx(sum(row[term] for term in terms), rel=1e-5)
        assert row["gradient_norm"] > 0
        assert row["update_ratio"] >= 0
    assert [("pq" in row) for row in history] == [False, True, False, True]
    assert [row["learning_rate_backbone"] / row["learning_rate"] for row in history[:3]] == pytest.approx([0.1] * 3)
    assert json.loads((run[0] / HISTORY_FILE).read_text()) == history


def test_tensorboard_has_losses_by_layer_scores_and_annotated_photos(run):
    tags = set()
    for path in run[0].glob("*/events.out.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            tags |= {(path.parent.name, value.tag) for value in event.summary.value}
    assert {("train", "losses/loss_ce/layer_0"), ("train", "losses/loss_dice/last_layer")} <= tags
    assert {("train", "learning_rate_backbone"), ("train", "update_ratio"), ("train", "gradient_norm")} <= tags
    assert ("validation", "quality/pq_things") in tags
    assert {("train", "settings"), ("train", "lineage")} <= tags
    assert any(folder == "validation" and tag.startswith("truth and prediction/") for folder, tag in tags)


def test_the_last_checkpoints_and_the_best_one_are_kept(run):
    names = {path.name for path in run[0].glob("ckpt-*.index")}
    assert names == {"ckpt-3.index", "ckpt-4.index", "ckpt-6.index"}
    best = json.loads((run[0] / "best_ckpt" / "best.json").read_text())
    assert best["pq"] == max(row["pq"] for row in run[1].history if "pq" in row)
    assert (run[0] / "best_ckpt" / f"ckpt-{best['step']}.index").exists()


def test_the_best_one_is_told_by_the_score_of_the_task(data, tmp_path):
    history = train(data, tmp_path, f"{NOTED},task.kind=semantic").history
    best = json.loads((tmp_path / "best_ckpt" / "best.json").read_text())
    assert best["mean_iou"] == max(row["mean_iou"] for row in history if "mean_iou" in row)


def test_a_finished_run_is_not_trained_again(data, run):
    again = train(data, run[0], NOTED)
    assert again.history == run[1].history
    for ours, before in zip(again.network.get_weights(), run[1].network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, before)


def test_a_checkpoint_that_is_cut_short_is_passed_over(data, run, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    whole = folder / "ckpt-6.data-00000-of-00001"
    whole.write_bytes(whole.read_bytes()[:-100_000])
    model = loop.build_for_training(loop.with_num_classes(tiny_run.experiment(NOTED), data[1].num_classes))
    with caplog.at_level(logging.WARNING):
        assert TrainingCheckpoints(model, str(folder), 3).restore_latest() == str(folder / "ckpt-4")
    assert "ckpt-6 is damaged" in caplog.text
    assert int(model.optimizer.iterations) == 4


def test_a_training_whose_checkpoints_are_all_damaged_does_not_start_again(data, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    for path in folder.glob("ckpt-*.data-*"):
        path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(ValueError, match=r"All checkpoints.*\(ckpt-3, ckpt-4, ckpt-6\).*delete them"):
        train(data, folder, NOTED)
    assert json.loads((folder / HISTORY_FILE).read_text()) == run[1].history


def test_a_training_continues_without_tensorflows_list_of_its_checkpoints(data, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    (folder / "checkpoint").unlink()
    assert train(data, folder, NOTED).history == run[1].history
    (folder / "model.weights.h5").unlink()
    assert trained_weights(str(folder)) == str(folder / "ckpt-6")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_damaged_list_of_checkpoints_is_named(data, run, tmp_path, content):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    (folder / "checkpoint").write_bytes(content)
    with pytest.raises(ValueError, match=r"list of checkpoints is damaged. Delete it.*run/checkpoint"):
        train(data, folder, NOTED)


def scored(monkeypatch, *scores):
    """Gives the evaluations of a training these values of PQ, one after the other."""
    left = list(scores)
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, *rest: evaluate(self, *rest) | {"pq": left.pop(0)})
    return left


EVERY_STEP = "trainer.validation_interval=1,trainer.optimizer.ema_momentum=0.9"


def test_a_training_without_a_better_score_stops_early_and_stays_stopped(data, tmp_path, monkeypatch):
    left = scored(monkeypatch, 0.1, 0.3, 0.3, 0.2, 0.9, 0.9)
    patient = f"{EVERY_STEP},trainer.early_stopping_patience=2"
    assert [row["pq"] for row in train(data, tmp_path, patient).history] == [0.1, 0.3, 0.3, 0.2]
    again = train(data, tmp_path, patient)
    assert (len(again.history), again.checkpoint, len(left)) == (4, str(tmp_path / "ckpt-4"), 2)
    more_patient = f"{EVERY_STEP},trainer.early_stopping_patience=3"
    assert [row["pq"] for row in train(data, tmp_path, more_patient).history][4:] == [0.9, 0.9]


def test_the_best_weights_are_the_result_where_they_are_asked_for(data, tmp_path, monkeypatch):
    scored(monkeypatch, 0.1, 0.3, 0.3, 0.2, 0.1, 0.1)
    result = train(data, tmp_path, f"{EVERY_STEP},trainer.restore_best_weights=true,trainer.max_to_keep=6")
    assert result.checkpoint == str(tmp_path / "best_ckpt" / "ckpt-2")
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    written = build_network(result.config.task.model)
    initialize(written, str(tmp_path), "all")
    best, last = (read_network_values(str(tmp_path / f"ckpt-{step}")) for step in (2, 6))
    for of_file, of_network, expected in zip(written.variables, result.network.variables, best, strict=True):
        if "seed_generator" not in of_file.path:  # The file has none.
            np.testing.assert_array_equal(of_file.numpy(), expected)
        np.testing.assert_array_equal(of_network.numpy(), expected)
    assert any(np.any(ours != theirs) for ours, theirs in zip(best, last, strict=True))


@pytest.mark.parametrize("setting", ["early_stopping_patience=1", "restore_best_weights=true"])
def test_choosing_by_scores_without_scores_is_refused(data, tmp_path, setting):
    with pytest.raises(ValueError, match=r"need scores: set `trainer.validation_interval`"):
        train(data, tmp_path, f"trainer.{setting}")


def test_stopping_early_with_several_workers_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}))
    with pytest.raises(ValueError, match=r"early_stopping_patience.*Received: 2 workers"):
        train(data, tmp_path, f"{EVERY_STEP},trainer.early_stopping_patience=1")


def test_a_folder_of_another_network_is_refused(data, run):
    with pytest.raises(ValueError, match="another network"):
        train(data, run[0], f"{NOTED},task.model.num_queries=9")


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def of_classes(*categories):
    return CategoryTable(tuple(dataclasses.replace(entry, **changes) for entry, changes in categories))


def test_a_folder_of_other_or_reordered_classes_is_refused_before_anything_in_it_changes(data, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    before = contents(folder)
    first, *others = data[1].categories
    renamed = CategoryTable((dataclasses.replace(first, name="globe"), *others))
    reordered = CategoryTable((*others, first))
    for categories, words in ((renamed, f"only in the folder: {first.name}"), (reordered, "class 0 is")):
        with pytest.raises(ValueError, match=f"a run of other classes; choose another folder: .*{words}"):
            train((data[0], categories), folder, f"{NOTED},trainer.train_steps=8")
        assert contents(folder) == before


def test_a_warm_start_takes_over_classes_by_name_and_kind(data, run, caplog):
    known, trained = data[1].categories, run[1].network.predictor.class_head
    # The first two in the other order and with other ids, between them a new class and one that was of the other kind.
    categories = of_classes(
        (known[1], {"id": 1}),
        (known[0], {"id": 2, "name": "new"}),
        (known[2], {"id": 3, "isthing": not known[2].isthing}),
        (known[0], {"id": 4}),
    )
    network = build_network(dataclasses.replace(run[1].config.task.model, num_classes=4))
    own = [np.array(weight) for weight in network.predictor.class_head.weights]
    with pytest.raises(ValueError, match="must be of the data's classes, but the categories differ"):
        initialize(network, str(run[0]), "all", categories=categories)
    with caplog.at_level(logging.WARNING):
        initialize(network, str(run[0]), "all", remakes_class_head=True, categories=categories)
    assert "the class head takes over 2 classes by their names, the other 2 start from random weights" in caplog.text
    for weight, before, theirs in zip(network.predictor.class_head.weights, own, trained.weights, strict=True):
        now, theirs = np.array(weight), np.array(theirs)
        np.testing.assert_array_equal(now[..., [0, 3, 4]], theirs[..., [1, 0, len(known)]])
        np.testing.assert_array_equal(now[..., 1:3], before[..., 1:3])


def test_classes_that_share_a_name_are_taken_over_by_their_ids(data, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    same = {"name": "cells", "isthing": True}
    number = data[1].num_classes
    table = of_classes(*((entry, same | {"id": place}) for place, entry in enumerate(data[1].categories)))
    table.save(folder / "categories.json")
    network = build_network(run[1].config.task.model)
    reversed_table = CategoryTable(table.categories[::-1])
    initialize(network, str(folder), "all", remakes_class_head=True, categories=reversed_table)
    ours, theirs = (np.array(n.predictor.class_head.kernel) for n in (network, run[1].network))
    np.testing.assert_array_equal(ours, theirs[..., [*range(number)[::-1], number]])


def test_an_evaluation_without_data_is_refused_before_the_first_step(data, tmp_path):
    with pytest.raises(ValueError, match=r"validation_interval.*input_path"):
        loop.train(
            tiny_run.experiment("trainer.validation_interval=1"),
            train_files=[str(data[0] / "train.tfrecord")],
            categories=data[1],
            model_dir=str(tmp_path),
        )


def test_another_number_of_classes_starts_the_class_head_anew_and_keeps_the_rest(run, caplog):
    config = dataclasses.replace(run[1].config.task.model, num_classes=3)
    network, trained = build_network(config), run[1].network
    with caplog.at_level(logging.WARNING):
        initialize(network, str(run[0]), "all", remakes_class_head=True)
    assert f"has {trained.config.num_classes} classes and the data 3" in caplog.text
    assert network.predictor.class_head.kernel.shape[-1] == 4
    for name in ("backbone", "pixel_decoder"):
        for ours, theirs in zip(getattr(network, name).weights, getattr(trained, name).weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    with pytest.raises(ValueError, match="must have the architecture of the checkpoint.*num_classes"):
        initialize(build_network(config), str(run[0]), "all")


def test_a_run_that_has_not_finished_can_be_started_from(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    (folder / WEIGHTS_FILE).unlink()
    network = build_network(run[1].config.task.model)
    initialize(network, str(folder), "all")
    # The checkpoint keeps the average of the weights, which is what a finished run exports.
    for ours, theirs in zip(network.get_weights(), run[1].network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_steps_without_a_finite_gradient_change_nothing_and_end_the_run_with_their_images(data, tmp_path):
    with pytest.raises(FloatingPointError, match="2 times in a row, by step 2"):
        train(data, tmp_path, "task.losses.mask_weight=3e38,trainer.max_skipped_steps=2,trainer.steps_per_loop=1")
    rows = [json.loads(line) for line in (tmp_path / SKIPPED_FILE).read_text().splitlines()]
    config = loop.with_num_classes(tiny_run.experiment(), data[1].num_classes)
    files = [str(data[0] / "train.tfrecord")]
    assert [row["image_ids"] for row in rows] == [batches.image_ids_of_step(config, files, step) for step in (0, 1)]
    assert len(set(rows[0]["image_ids"])) == 4


def test_an_eomt_without_annealing_is_refused_unless_it_starts_from_one_without_masks(data, tmp_path):
    decoder = "task.model.decoder.mask_annealing"
    config = loop.with_num_classes(
        tiny_run.experiment(f"{FAMILIES['eomt']},{decoder}_starts=[],{decoder}_ends=[]"), data[1].num_classes
    )
    with pytest.raises(ValueError, match="mask_annealing_starts` is empty"):
        loop.build_for_training(config)
    annealed = build_network(config.task.model)  # Which is for inference, so that nothing is refused.
    annealed.predictor.mask_probability.assign([0.0, 0.0])
    save_converted(annealed, config, str(tmp_path))
    init = f"task.init_checkpoint={tmp_path},task.init_checkpoint_modules=all"
    model = loop.build_for_training(config_lib.override(config, init))
    assert model.network.predictor.mask_probability.numpy().tolist() == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_float16"])
def test_half_precision_learns_and_leaves_a_float32_network(data, run, tmp_path, dtype):
    config = f"{NOTED},runtime.mixed_precision_dtype={dtype},task.freeze_backbone=true,trainer.train_steps=20"
    result = train(data, tmp_path, config)
    assert result.network.compute_dtype == "float32"
    assert {weight.dtype for weight in result.network.weights} == {"float32"}
    # float16 looks for its loss scale first: those steps are skipped, which says nothing of their images.
    assert (result.history[-1]["skipped_steps"] > 0) == (dtype == "mixed_float16")
    assert result.history[-1]["skipped_steps"] < 15
    assert not (tmp_path / SKIPPED_FILE).exists()
    losses = [row["loss"] for row in result.history if "loss" in row]
    assert losses[0] == pytest.approx(run[1].history[0]["loss"], rel=0.25)
    assert losses[-1] < losses[0]
    keras.utils.set_random_seed(0)
    start = loop.build_for_training(loop.with_num_classes(tiny_run.experiment(), data[1].num_classes))
    moved = [
        [np.any(after.numpy() != before.numpy()) for after, before in zip(ours.weights, theirs.weights, strict=True)]
        for ours, theirs in (
            (result.network.backbone, start.network.backbone),
            (result.network.pixel_decoder, start.network.pixel_decoder),
        )
    ]
    assert not any(moved[0])
    assert all(moved[1])


def _square_photos(data, folder):
    """The same data with the square photos alone: nothing is padded, and all of them have one orientation."""
    path = folder / "train.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in tf.data.TFRecordDataset(str(data[0] / "train.tfrecord")).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            if feature["image/height"].int64_list.value == feature["image/width"].int64_list.value:
                writer.write(record)
    shutil.copy(data[0] / "val.tfrecord", folder)
    return folder, data[1]


@pytest.mark.slow
def test_photos_of_any_size_are_trained_on_in_groups_and_parts(data, tmp_path):
    square = _square_photos(data, tmp_path)
    free = "task.train_data.parser.output_size=[0,0],trainer.train_steps=2,trainer.steps_per_loop=1"
    grouped = f"{free},task.train_data.aspect_ratio_group_size=2,trainer.accumulation_steps=2"
    # With square photos groups and parts change neither the batches nor, without dropout, the losses.
    whole, parts = (
        train(square, tmp_path / str(index), f"{overrides},task.model.dropout=0").history
        for index, overrides in enumerate((free, grouped))
    )
    assert len(whole) == 2
    for name in ("loss", "gradient_norm"):
        assert [row[name] for row in parts] == pytest.approx([row[name] for row in whole], rel=1e-4), name


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="steps_per_execution"):
        config_lib.override(config_lib.ExperimentConfig(), "trainer.steps_per_execution=3")
    with pytest.raises(ValueError, match="accumulation_steps"):
        config_lib.override(config_lib.ExperimentConfig(), "trainer.accumulation_steps=0")
