"""Tests of `maskformer_model.training.run_folder`."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf

from maskformer_model import config as config_lib
from maskformer_model.categories import CategoryTable
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE
from maskformer_model.training.run_folder import note_run

CATEGORIES = CategoryTable.from_coco(
    [{"id": 1, "name": "cat", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}],
)


def experiment(overrides=""):
    return config_lib.override(config_lib.ExperimentConfig(), overrides)


def note(folder, overrides="", categories=CATEGORIES, writes=True):
    note_run(experiment(overrides), categories, str(folder), writes=writes)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_experiment_and_the_classes_are_noted(tmp_path):
    note(tmp_path / "run", "task.kind=semantic")
    assert contents(tmp_path / "run").keys() == {EXPERIMENT_FILE, CATEGORIES_FILE}
    assert json.loads((tmp_path / "run" / EXPERIMENT_FILE).read_text())["task"]["kind"] == "semantic"


def test_the_same_run_continues_with_more_steps_and_another_rate(tmp_path):
    note(tmp_path)
    note(tmp_path, "trainer.train_steps=9,trainer.optimizer.learning_rate=0.5,trainer.validation_interval=3")
    assert json.loads((tmp_path / EXPERIMENT_FILE).read_text())["trainer"]["train_steps"] == 9


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ("task.kind=semantic", "another `task.kind`.*Received: semantic, there: panoptic"),
        ("task.kind=instance", "another `task.kind`"),
        ("task.freeze_backbone=true", "another `task.freeze_backbone`.*Received: True, there: False"),
        ("task.losses.mask_loss=points", "another `task.losses.mask_loss`"),
        ("trainer.optimizer.ema_momentum=0.9", "without an average of the weights.*Received: 0.9, there: 0.0"),
        ("task.model.num_queries=7", "another network"),
    ],
)
def test_what_must_agree_is_compared_before_the_folder_is_touched(tmp_path, overrides, named):
    note(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=named):
        note(tmp_path, overrides)
    assert contents(tmp_path) == before


def test_other_classes_are_named_before_the_folder_is_touched(tmp_path):
    note(tmp_path)
    before = contents(tmp_path)
    others = CategoryTable.from_coco([{"id": 1, "name": "dog", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}])
    with pytest.raises(ValueError, match="a run of other classes"):
        note(tmp_path, categories=others)
    assert contents(tmp_path) == before


def test_checkpoints_without_an_experiment_are_not_taken_for_ours(tmp_path):
    tf.train.CheckpointManager(tf.train.Checkpoint(a=tf.Variable(1.0)), str(tmp_path), 1).save()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path} holds checkpoints and no {EXPERIMENT_FILE}"):
        note(tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_that_would_be_taken_for_a_pattern_is_refused(tmp_path):
    """TensorFlow would not find the checkpoints in it, and the training would start from step 0."""
    with pytest.raises(ValueError, match="`model_dir` must be a folder without the characters"):
        note(tmp_path / "run [1]")
    assert contents(tmp_path) == {}


def test_a_damaged_note_is_named_with_its_path(tmp_path):
    (tmp_path / EXPERIMENT_FILE).write_text('{"task": {"kind"')
    with pytest.raises(ValueError, match=rf"{EXPERIMENT_FILE} is damaged, so this run cannot be continued"):
        note(tmp_path)


def test_a_process_that_does_not_write_compares_all_the_same(tmp_path):
    note(tmp_path / "absent", writes=False)
    assert not (tmp_path / "absent").exists()
    note(tmp_path)
    with pytest.raises(ValueError, match=r"another `task\.kind`"):
        note(tmp_path, "task.kind=semantic", writes=False)
