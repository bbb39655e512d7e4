"""Overrides, experiments and the rules a config is held to."""

import copy
import dataclasses

import pytest

from maskformer_model import experiments
from maskformer_model.config import ExperimentConfig, ModelConfig, from_dict, merge, override, to_dict


def test_an_override_changes_one_setting_and_keeps_the_rest():
    config = override(ExperimentConfig(), "task.model.num_queries=50,trainer.optimizer.learning_rate=1e-3")
    assert config.task.model.num_queries == 50
    assert config.trainer.optimizer.learning_rate == 0.001
    assert dataclasses.replace(config.task.model, num_queries=100) == ModelConfig()


def test_a_list_keeps_its_commas():
    config = override(ExperimentConfig(), "task.train_data.parser.min_sizes_px=[480,640],trainer.train_steps=7")
    assert config.task.train_data.parser.min_sizes_px == (480, 640)
    assert config.trainer.train_steps == 7


def test_no_override_changes_nothing():
    assert override(ExperimentConfig(), "") == ExperimentConfig()


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_survives_plain_dicts(name):
    assert from_dict(to_dict(experiments.get(name))) == experiments.get(name)


def test_an_unknown_setting_names_itself_and_its_neighbours():
    with pytest.raises(KeyError, match=r"task\.model\.num_querys.*task\.model\.num_queries"):
        override(ExperimentConfig(), "task.model.num_querys=3")


def test_a_file_of_an_earlier_version_may_name_a_setting_that_was_removed():
    values = to_dict(ExperimentConfig())
    values["task"]["inference"] |= {"convolution_method": "auto", "shortest_edge_px": 640}
    before = copy.deepcopy(values)
    config = from_dict(values)
    assert config == override(ExperimentConfig(), "task.inference.shortest_edge_px=640")
    assert values == before
    values["task"]["inference"]["convolution_methods"] = "auto"
    with pytest.raises(KeyError, match=r"Unknown setting `task\.inference\.convolution_methods`"):
        from_dict(values)


@pytest.mark.parametrize(
    "set_it",
    [
        lambda: override(ExperimentConfig(), "task.inference.convolution_method=direct"),
        lambda: merge(ExperimentConfig(), {"task": {"inference": {"convolution_method": "direct"}}}),
    ],
    ids=["params_override", "config_file"],
)
def test_a_user_who_sets_a_setting_that_was_removed_is_told_so(set_it):
    with pytest.raises(KeyError, match=r"`task\.inference\.convolution_method` was removed: .*Leave it out"):
        set_it()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("task.model.num_queries", "must look like"),
        ("task.model.num_queries=many", "must be of type int"),
        ("task.model=3", "is a group of settings"),
        ("task.train_data.parser.output_size=[1,2,3]", "must have 2 items"),
        ("trainer.optimizer.learning_rate=0", r"in \(0, 1\]"),
        ("task.model.num_heads=7", "must divide"),
        ("task.model.backbone.type=vgg", "must be one of"),
        ("task.model.backbone.res5_multi_grid=[2,4]", "must begin with 1"),
        ("task.model.which_pixel_decoder=fpn,task.model.transformer_in_feature=transformer_encoder", "needs"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        override(ExperimentConfig(), text)


def test_an_unknown_experiment_names_the_known_ones():
    with pytest.raises(KeyError, match="maskformer_coco_panoptic"):
        experiments.get("maskformer_coco_panopticon")
