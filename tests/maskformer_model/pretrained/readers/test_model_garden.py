"""The Model Garden's ResNet checkpoints: layers by number, read back under the official names.

The layout is that of a checkpoint which the Model Garden's own `ResNet(50)` wrote; that one, read by this code, gave
its features within 1.1e-6 at 129 px, where both sides pad alike.
"""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import ResNetConfig
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained import initialize
from maskformer_model.pretrained.maskformer_names import backbone_weights
from maskformer_model.pretrained.readers import model_garden
from tests.maskformer_model.helpers.flat_model import model_config

SMALL = ResNetConfig(depth=50, stem_channels=8, res2_channels=16, bottleneck_channels=4)
VARIABLES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def node(**children):
    return tf.train.Checkpoint(**{name: child for name, child in children.items() if child is not None})


def layer_of(arrays, name):
    return node(kernel=tf.Variable(arrays[f"{name}.weight"].transpose(2, 3, 1, 0)))


def norm_of(arrays, name):
    return node(**{ours: tf.Variable(arrays[f"{name}.norm.{theirs}"]) for theirs, ours in VARIABLES.items()})


def write_checkpoint(arrays, path):
    """Every block is one layer with `_conv1`, `_norm1`, ... and, first in a stage, `_shortcut` and `_norm0`."""
    layers = [layer_of(arrays, "backbone.stem.conv1"), norm_of(arrays, "backbone.stem.conv1")]
    for stage, num_blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(num_blocks):
            prefix = f"backbone.res{stage}.{block}"
            parts = {"_shortcut": f"{prefix}.shortcut"} if block == 0 else {}
            parts |= {f"_conv{i}": f"{prefix}.conv{i}" for i in (1, 2, 3)}
            children = {part: layer_of(arrays, name) for part, name in parts.items()}
            children |= {
                f"_norm{part[-1] if part != '_shortcut' else 0}": norm_of(arrays, name) for part, name in parts.items()
            }
            layers.append(node(**children))
    backbone = node(**{f"layer_with_weights-{index}": layer for index, layer in enumerate(layers)})
    head = node(kernel=tf.Variable(np.zeros((2, 3), np.float32)))
    return tf.train.Checkpoint(backbone=backbone, head=head, global_step=tf.Variable(7)).write(str(path))


@pytest.fixture(scope="module")
def arrays():
    backbone = build_backbone(SMALL)
    backbone(np.zeros((1, 64, 64, 3), np.float32))
    generator = np.random.default_rng(0)
    return {w.name: generator.normal(size=w.shape).astype(np.float32) for w in backbone_weights(backbone)}


def test_every_weight_of_the_backbone_comes_back_under_its_official_name(arrays, tmp_path):
    path = write_checkpoint(arrays, tmp_path / "ckpt-28080")
    read = model_garden.read_model_garden_resnet(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def test_a_network_starts_from_it_by_path_and_refuses_to_take_a_whole_model_from_it(arrays, tmp_path):
    path = write_checkpoint(arrays, tmp_path / "ckpt-28080")
    network = initialize.build_network(model_config(backbone=SMALL, num_classes=2, fpn_encoder_layers=0))
    initialize.initialize(network, path, "backbone")
    for weight in backbone_weights(network.backbone):
        np.testing.assert_array_equal(weight.read(), arrays[weight.name])
    with pytest.raises(ValueError, match="must be 'backbone'"):
        initialize.initialize(network, path, "all")


def test_a_checkpoint_of_something_else_is_named(tmp_path):
    path = tf.train.Checkpoint(step=tf.Variable(1)).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(ValueError, match=r"must hold a ResNet backbone.*ckpt-1"):
        model_garden.read_model_garden_resnet(path)
