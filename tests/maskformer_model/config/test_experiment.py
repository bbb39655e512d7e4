"""Overrides, experiments and the rules a config is held to."""

import copy
import dataclasses

import pytest

from maskformer_model import experiments
from maskformer_model.config import (
    EfficientNetLiteConfig,
    ExperimentConfig,
    FpnConfig,
    ModelConfig,
    SwinConfig,
    TransformerDecoderConfig,
    TransformerFpnConfig,
    from_dict,
    merge,
    override,
    to_dict,
)


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
        ("trainer.train_steps=7],task.model.num_queries=33", r"must have its partner. Received '\]' without"),
        ("task.train_data.parser.min_sizes_px=[480,640,trainer.train_steps=7", r"Missing '\]'"),
        ("task.train_data.parser.min_sizes_px=[480,640),trainer.train_steps=7", r"Received '\)' without"),
        ("trainer.train_steps=100000000000000000000", "within 2"),
        ("trainer.optimizer.weight_decay=.inf", "finite number"),
        ("trainer.optimizer.weight_decay=.nan", "finite number"),
        ("task.model.num_queries=1000000000", r"in 1\.\.10000"),
        ("task.model.num_classes=-1", r"in 0\.\.65534"),
        ("task.inference.max_pixels=-1", "must be positive"),
        ("task.model.num_heads=7", "must divide"),
        ("task.model.backbone.res5_multi_grid=[2,4]", "must begin with 1"),
        (
            "task.model.which_pixel_decoder=fpn,task.model.transformer_in_feature=transformer_encoder",
            r"needs \['transformer_encoder'\], which .*\"fpn\" does not give",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        override(ExperimentConfig(), text)


def test_an_unknown_experiment_names_the_known_ones():
    with pytest.raises(KeyError, match="maskformer_coco_panoptic"):
        experiments.get("maskformer_coco_panopticon")


@pytest.mark.parametrize("part", ["backbone", "pixel_decoder", "decoder"])
def test_a_kind_that_is_not_known_is_refused(part):
    with pytest.raises(ValueError, match=rf"`task\.model\.{part}\.type` must be one of .*Received: vgg"):
        override(ExperimentConfig(), f"task.model.{part}.type=vgg")


def test_a_setting_of_another_kind_is_refused():
    with pytest.raises(KeyError, match=r"Unknown setting `task\.model\.backbone\.depth`.*window_size"):
        override(ExperimentConfig(), "task.model.backbone.type=swin,task.model.backbone.depth=101")


def test_another_kind_keeps_what_both_have():
    config = override(ExperimentConfig(), "task.model.pixel_decoder.hidden_dim=64,task.model.backbone.norm=group")
    config = override(config, "task.model.pixel_decoder.type=fpn,task.model.backbone.type=efficientnet_lite0")
    assert config.task.model.pixel_decoder == FpnConfig(hidden_dim=64)
    assert config.task.model.backbone == EfficientNetLiteConfig(norm="group")


def test_a_flat_name_means_every_part_that_has_the_setting():
    model = override(ExperimentConfig(), "task.model.num_heads=4,task.model.hidden_size=64").task.model
    assert (model.decoder.num_heads, model.pixel_decoder.num_heads) == (4, 4)
    assert (model.decoder.hidden_dim, model.pixel_decoder.hidden_dim) == (64, 256)
    for kind in ("which_pixel_decoder=fpn", "pixel_decoder.type=fpn"):
        plain = override(ExperimentConfig(), f"task.model.{kind},task.model.num_heads=4").task.model
        assert (plain.decoder.num_heads, plain.pixel_decoder) == (4, FpnConfig())


def test_a_pixel_decoder_that_gets_an_encoder_by_its_flat_name_takes_the_decoder_s_settings():
    flat = "task.model.which_pixel_decoder=fpn,task.model.num_heads=2,task.model.dropout=0"
    config = override(override(ExperimentConfig(), flat), "task.model.which_pixel_decoder=transformer_fpn")
    assert config.task.model.pixel_decoder == TransformerFpnConfig(num_heads=2, dropout=0.0)


def test_a_file_of_an_earlier_version_has_flat_names_and_the_settings_of_every_backbone():
    backbone = {"type": "swin", "depth": 50, "stem_type": "basic", "norm": "frozen_batch", "embed_dim": 128}
    flat = {"which_pixel_decoder": "fpn", "fpn_encoder_layers": 6, "num_heads": 4, "num_decoder_layers": 3}
    model = from_dict({"task": {"model": {"backbone": backbone, **flat}}}).task.model
    assert model == ModelConfig(
        backbone=SwinConfig(embed_dim=128),
        pixel_decoder=FpnConfig(),
        decoder=TransformerDecoderConfig(num_heads=4, num_layers=3),
    )
