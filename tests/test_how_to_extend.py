"""Runs every example of docs/how-to-extend.md as it stands there."""

from __future__ import annotations

import importlib.util
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx import types
from tfx.types import standard_artifacts

from components.coco_example_gen.layouts import published
from maskformer_model.config import ConvNeXtConfig, ExperimentConfig, LossConfig, ModelConfig, override
from maskformer_model.modeling import registry
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.training.optimizer import AdamW
from maskformer_model.training.step import MaskFormerTraining

SMALL = (
    "task.model.num_classes=3,task.model.num_queries=4,task.model.mask_dim=8,task.model.pixel_decoder.type=fpn,"
    "task.model.pixel_decoder.hidden_dim=32"
)


@pytest.fixture(scope="module")
def example(project_dir, tmp_path_factory):
    """Imports the code blocks of the document, by title, as modules of their own."""
    text = (project_dir / "docs" / "how-to-extend.md").read_text("utf-8")
    blocks = dict(re.findall(r'^```python title="(\w+)"\n(.*?)^```', text, flags=re.MULTILINE | re.DOTALL))
    folder = tmp_path_factory.mktemp("examples")
    loaded = {}

    def load(title):
        if title not in loaded:
            path = folder / f"extension_{title}.py"
            path.write_text(blocks[title], "utf-8")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            loaded[title] = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = loaded[title]
            spec.loader.exec_module(loaded[title])
        return loaded[title]

    load.blocks = blocks
    return load


def config_of(overrides) -> ModelConfig:
    return override(ExperimentConfig(), f"{SMALL},{overrides}").task.model


def variables_that_a_step_moves(config, part):
    """Trains a step; returns how many variables the part has and how many of them moved."""
    model, x, y = training_and_batch(config)
    variables = getattr(model.network, part).trainable_variables
    before = [variable.numpy() for variable in variables]
    model.train_step((x, y))
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, variables, strict=True)]
    return len(variables), sum(moved)


def training_and_batch(config):
    """Makes a network with its optimizer, and two photos of 64 px with two segments each."""
    keras.utils.set_random_seed(0)
    model = MaskFormerTraining(MaskFormer(config), LossConfig())
    model.build()
    model.compile(optimizer=AdamW(1e-3))
    model.optimizer.build(model.trainable_variables)
    x = {
        "image": tf.constant(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)),
        "valid_size_px": tf.constant([[64, 64], [64, 64]]),
    }
    segment_map = np.repeat(np.array([1, 2], np.uint8), 32)[None, :, None] * np.ones((2, 64, 64), np.uint8)
    y = {"segment_map": tf.constant(segment_map), "segment_classes": tf.constant([[0, 2], [1, 2]])}
    return model, x, y


def test_the_backbone_is_a_module_a_config_and_a_line(example, monkeypatch):
    settings = example("config").PlainConfig
    monkeypatch.setitem(registry.BACKBONES, settings, example("backbone").PlainNetwork)
    small = "task.model.backbone.type=plain,task.model.backbone.dims=[8,8,16,16]"
    config = config_of(
        f"{small},task.model.hidden_dim=32,task.model.feedforward_dim=32,task.model.num_decoder_layers=1"
    )
    assert type(config.backbone) is settings
    features = registry.build_backbone(config.backbone)(np.zeros((1, 64, 96, 3), np.float32))
    shapes = {name: tuple(feature.shape) for name, feature in features.items()}
    assert shapes == {"res2": (1, 16, 24, 8), "res3": (1, 8, 12, 8), "res4": (1, 4, 6, 16), "res5": (1, 2, 3, 16)}
    total, moved = variables_that_a_step_moves(config, "backbone")
    assert moved == total > 0
    with pytest.raises(ValueError, match="must name four stages"):
        config_of("task.model.backbone.type=plain,task.model.backbone.dims=[8]")


def test_the_test_of_the_backbone_passes(example, monkeypatch, tmp_path):
    monkeypatch.setitem(registry.BACKBONES, example("config").PlainConfig, example("backbone").PlainNetwork)
    tests = example("backbone_test")
    tests.test_sizes_are_rounded_up_at_every_stride()
    tests.test_saved_weights_come_back(tmp_path)


@pytest.mark.slow
def test_convnext_tiny_which_was_added_in_this_way_learns_a_batch_in_some_steps():
    config = config_of(
        "task.model.backbone.type=convnext,task.model.hidden_dim=32,task.model.feedforward_dim=32,"
        "task.model.num_decoder_layers=1"
    )
    assert config.backbone == ConvNeXtConfig()  # The size of ConvNeXt-Tiny.
    model, x, y = training_and_batch(config)
    losses = [float(np.mean(model.train_step((x, y))["loss"])) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_the_decoder_is_a_module_a_config_and_a_line(example, monkeypatch):
    decoder = example("decoder")
    monkeypatch.setitem(registry.DECODERS, decoder.PooledDecoderConfig, decoder.PooledDecoder)
    small = "task.model.backbone.depth=18,task.model.backbone.res2_channels=8,task.model.backbone.stem_channels=8"
    config = config_of(f"{small},task.model.decoder.type=pooled,task.model.decoder.hidden_dim=16")
    network = MaskFormer(config)
    outputs = network(np.zeros((1, 64, 96, 3), np.float32))
    assert tuple(outputs["mask_logits"].shape) == (1, 4, 16, 24)
    proposals = network.propose(np.zeros((1, 64, 96, 3), np.float32))
    np.testing.assert_allclose(proposals["class_logits"], outputs["class_logits"], atol=1e-6)
    total, moved = variables_that_a_step_moves(config, "predictor")
    assert moved == total == 7


def test_the_layout_is_found_in_a_folder_of_its_form(example, monkeypatch, tmp_path):
    layout = example("layout")
    monkeypatch.setattr(published, "_LAYOUTS", (*published._LAYOUTS, layout.ROW))
    monkeypatch.setattr(published, "_NAMES", published._NAMES | layout.NAMES)
    for split in ("training", "holdout"):
        for folder in ("photos", "masks"):
            (tmp_path / split / folder).mkdir(parents=True)
        (tmp_path / split / "panoptic.json").write_text("{}")
    sources = published.find_sources(str(tmp_path), ["train", "val"], lambda path: (tmp_path / path).exists())
    assert {split: source.layout for split, source in sources.items()} == dict.fromkeys(
        ("train", "val"), "warehouse_panoptic"
    )
    assert sources["val"].panoptic_dir == str(tmp_path / "holdout" / "masks")


def test_the_score_is_what_is_worked_out_by_hand(example):
    score = example("score").mean_class_accuracy
    # 3 of 4 pixels of one class, 1 of 2 of another, none of a third: (0.75 + 0.5) / 2.
    assert score(np.array([3.0, 1.0, 0.0]), np.array([4.0, 2.0, 0.0])) == 0.625
    assert np.isnan(score(np.zeros((1, 2)), np.zeros((1, 2)))).all()


def test_the_node_names_the_rare_classes_and_connects(example):
    node = example("node")
    facts = {
        "classes": [{"name": "cat", "segments": 3}, {"name": "sky", "segments": 40}, {"name": "dog", "segments": 1}]
    }
    assert node.rare_classes(facts, 20) == ["dog", "cat"]
    assert node.rare_classes(facts, 1) == []

    class Made:
        def __init__(self, **outputs):
            self.outputs = {name: types.Channel(type=kind) for name, kind in outputs.items()}

    names = {
        "RareClassGate": node.RareClassGate,
        "example_gen": Made(examples=standard_artifacts.Examples),
        "transform": Made(transform_graph=standard_artifacts.TransformGraph),
    }
    exec(example.blocks["wiring"], names)
    assert names["rare_class_gate"].id == "RareClassGate"
    assert names["rare_class_gate"].exec_properties["minimum"] == 20
