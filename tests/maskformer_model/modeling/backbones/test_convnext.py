"""ConvNeXt against numbers worked out by hand, and against Hugging Face's where PyTorch is installed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import ConvNeXtConfig, ExperimentConfig, override
from maskformer_model.modeling.backbones.convnext import ConvNeXtBlock
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained.foreign_names import official_names
from maskformer_model.pretrained.initialize import build_network, load_converted, load_official_backbone, save_converted
from maskformer_model.pretrained.maskformer_names import backbone_weights
from maskformer_model.pretrained.sources import read_checkpoint
from maskformer_model.training.optimizer import WITHOUT_DECAY
from tests.test_how_to_extend import SMALL as SMALL_NETWORK
from tests.test_how_to_extend import variables_that_a_step_moves

SMALL = ConvNeXtConfig(dims=(8, 12, 16, 24), depths=(1, 2, 1, 1), drop_path_rate=0.0)
# A scale of 1e-6 would hide the blocks from float32.
NETWORK = (
    f"{SMALL_NETWORK},task.model.hidden_dim=32,task.model.feedforward_dim=32,task.model.num_decoder_layers=1,"
    "task.model.backbone.type=convnext,task.model.backbone.dims=[8,12,16,24],task.model.backbone.depths=[1,2,1,1],"
    "task.model.backbone.layer_scale=1,task.model.backbone.drop_path_rate=0"
)


def make_backbone(config=SMALL):
    backbone = build_backbone(config)
    backbone.build((None, None, None, 3))
    return backbone


def test_sizes_are_rounded_up_at_every_stride():
    features = make_backbone()(np.zeros((1, 41, 67, 3), np.float32))
    shapes = {name: tuple(feature.shape) for name, feature in features.items()}
    assert shapes == {"res2": (1, 11, 17, 8), "res3": (1, 6, 9, 12), "res4": (1, 3, 5, 16), "res5": (1, 2, 3, 24)}


def test_a_block_adds_a_scaled_change():
    block = ConvNeXtBlock(2, drop_rate=0.0, layer_scale=0.5)
    block.build()
    # The depthwise kernel sees only its centre and doubles it; the norm makes (2, 6) to (-1, 1).
    depthwise = np.zeros((7, 7, 2, 1), np.float32)
    depthwise[3, 3] = 2.0
    expand, project = np.zeros((2, 8), np.float32), np.zeros((8, 2), np.float32)
    expand[1, 0], project[0] = 1.0, (1.0, 10.0)
    block.depthwise.kernel.assign(depthwise)
    block.expand.kernel.assign(expand)
    block.project.kernel.assign(project)
    # GELU of 1 is the normal distribution's share below 1.
    change = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    answer = np.asarray(block(np.array([1.0, 3.0], np.float32).reshape(1, 1, 1, 2)))
    np.testing.assert_allclose(answer.ravel(), [1 + 0.5 * change, 3 + 5 * change], rtol=1e-5)


def test_drop_path_grows_linearly_and_the_scale_does_not_decay():
    backbone = make_backbone(ConvNeXtConfig(dims=(4, 4, 4, 4), depths=(2, 1, 1, 1), drop_path_rate=0.4))
    rates = [block.drop_path.rate for stage in backbone.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4])
    scale = backbone.stages[0].blocks[0].scale
    assert scale.path.split("/")[-1] in WITHOUT_DECAY
    np.testing.assert_array_equal(scale, np.full(4, 1e-6, np.float32))


def test_saved_weights_come_back_and_a_training_step_moves_each(tmp_path):
    experiment = override(ExperimentConfig(), NETWORK)
    network = build_network(experiment.task.model)
    for weight in network.backbone.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    save_converted(network, experiment, str(tmp_path))
    loaded = load_converted(str(tmp_path))
    for weight, expected in zip(loaded.backbone.weights, network.backbone.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    total, moved = variables_that_a_step_moves(experiment.task.model, "backbone")
    assert moved == total > 0


def test_convnext_tiny_has_the_paper_s_size():
    backbone = build_backbone(ConvNeXtConfig())
    backbone.build()
    norms = sum(2 * width for width in (96, 192, 384, 768))
    # 27.82 million are the paper's backbone without the classifier (28.59 with it); the output norms come on top.
    assert sum(int(np.prod(weight.shape)) for weight in backbone.weights) == 27_818_592 + norms


@pytest.mark.parametrize("setting", [{"dims": (8, 8)}, {"depths": (1, 1, 1, 0)}, {"drop_path_rate": 1.0}])
def test_settings_that_make_no_network_are_refused(setting):
    with pytest.raises(ValueError, match="`task.model.backbone"):
        ConvNeXtConfig(**setting)


def official_arrays():
    """Random arrays by the authors' names, without the norms of a detector."""
    generator = np.random.default_rng(0)
    weights = backbone_weights(make_backbone())
    arrays = {w.name.removeprefix("backbone."): generator.normal(size=w.shape).astype(np.float32) for w in weights}
    return {name: array for name, array in arrays.items() if not name.startswith("norm")}


def timm_name(name):
    name = name.replace("downsample_layers.0.", "stem.")
    for stage in (1, 2, 3):
        name = name.replace(f"downsample_layers.{stage}.", f"stages.{stage}.downsample.")
    parts = name.split(".")
    if parts[0] == "stages" and parts[2].isdigit():
        kinds = {"dwconv": "conv_dw", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}
        parts[2:4] = ["blocks", parts[2], kinds.get(parts[3], parts[3])]
    return ".".join(parts)


@pytest.mark.parametrize("renamed", [str, timm_name], ids=["official", "timm"])
def test_an_imagenet_checkpoint_fills_the_backbone_but_for_its_output_norms(renamed):
    arrays = official_arrays()
    classifier = {"head.fc.weight": np.zeros((10, 24)), "head.norm.weight": np.zeros(24)}
    backbone = make_backbone()
    load_official_backbone(backbone, official_names({renamed(name): a for name, a in arrays.items()} | classifier))
    for weight in backbone_weights(backbone):
        name = weight.name.removeprefix("backbone.")
        if name in arrays:
            np.testing.assert_array_equal(weight.read(), arrays[name])
    np.testing.assert_array_equal(backbone.output_norms[0].gamma, np.ones(8))
    assert any(".".join(name.split(".")[:2]) == "stem.0" for name in map(timm_name, arrays))


def hugging_face(folder):
    """Writes a random Hugging Face backbone; returns its features of an image by name, and the image."""
    transformers = pytest.importorskip("transformers", reason="pip install torch transformers (make env-parity)")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(
        hidden_sizes=list(SMALL.dims), depths=list(SMALL.depths), out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    model = transformers.ConvNextBackbone(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # As new, scales of 1e-6 would hide every block.
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.1)
        image = torch.randn(2, 3, 64, 96)
        features = model(image).feature_maps
    model.save_pretrained(folder)
    named = {f"res{level}": feature.numpy().transpose(0, 2, 3, 1) for level, feature in enumerate(features, start=2)}
    return named, image.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("mode", ["eager", "graph of unknown sizes"])
def test_features_are_those_of_hugging_face(tmp_path, mode):
    expected, image = hugging_face(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "convnext"
    backbone = make_backbone()
    load_official_backbone(backbone, read_checkpoint(str(tmp_path)).arrays)
    run = backbone
    if mode == "graph of unknown sizes":
        run = tf.function(backbone, input_signature=[tf.TensorSpec((None, None, None, 3))])
    features = run(tf.constant(image))
    worst = {name: np.abs(features[name] - value).max() / np.abs(value).max() for name, value in expected.items()}
    assert max(worst.values()) < 1e-5, worst
