"""ResNet: sizes, strides, blocks and their options; that the numbers are the official ones is `test_parity`'s."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import ResNetConfig
from maskformer_model.modeling.backbones.resnet import ResidualBlock, ResNet, Stem
from tests.maskformer_model.helpers.saved_layer import copy_through_file

SMALL = ResNetConfig(depth=50, stage_blocks=(1, 2, 1, 2), stem_channels=8, res2_channels=16, bottleneck_channels=4)
IMAGE = np.random.default_rng(0).normal(size=(1, 41, 67, 3)).astype(np.float32)


def resnet(**changes):
    keras.utils.set_random_seed(0)
    backbone = ResNet(dataclasses.replace(SMALL, **changes))
    backbone.build((None, None, None, 3))
    return backbone


@pytest.fixture(scope="module")
def small():
    backbone = resnet()
    return backbone, backbone(IMAGE)


def test_sizes_are_rounded_up_at_every_stride(small):
    shapes = {name: tuple(feature.shape) for name, feature in small[1].items()}
    assert shapes == {"res2": (1, 11, 17, 16), "res3": (1, 6, 9, 32), "res4": (1, 3, 5, 64), "res5": (1, 2, 3, 128)}
    assert all(float(np.min(feature)) >= 0 for feature in small[1].values())  # Each stage ends in a ReLU.


def test_graph_and_xla_give_the_eager_answer_and_saved_weights_the_same(small, tmp_path):
    backbone, features = small
    unknown = tf.function(backbone, input_signature=[tf.TensorSpec((None, None, None, 3))])
    for run in (unknown, tf.function(backbone, jit_compile=True)):
        np.testing.assert_allclose(run(IMAGE)["res5"], features["res5"], rtol=1e-4, atol=1e-4)
    other = resnet()
    other.set_weights([np.zeros_like(value) for value in backbone.get_weights()])
    copy_through_file(backbone, other, tmp_path)
    np.testing.assert_array_equal(other(IMAGE)["res5"], features["res5"])


@pytest.mark.parametrize(
    ("depth", "blocks", "convolutions"), [(18, 8, 2), (34, 16, 2), (50, 16, 3), (101, 33, 3), (152, 50, 3)]
)
def test_a_depth_counts_its_layers(depth, blocks, convolutions):
    backbone = ResNet(ResNetConfig(depth=depth))
    found = [block for name in backbone.output_channels for block in getattr(backbone, name)]
    assert len(found) == blocks
    assert {len(block.convolutions) for block in found} == {convolutions}
    assert blocks * convolutions + 2 == depth  # The stem and the classifier that is not here.


def test_a_block_adds_its_input_and_cuts_off_below_zero():
    block = ResidualBlock(
        1, bottleneck_channels=None, stride=1, dilation=1, project_shortcut=False, norm="frozen_batch"
    )
    block.build((None, None, None, 1))
    for layer in block.convolutions:  # Only the middle tap: both convolutions pass on what they get, the second turned.
        layer.kernel.assign(np.zeros((3, 3, 1, 1)))
    block.convolutions[0].kernel.assign(np.pad(np.ones((1, 1, 1, 1)), [(1, 1), (1, 1), (0, 0), (0, 0)]))
    block.convolutions[1].kernel.assign(np.pad(-3 * np.ones((1, 1, 1, 1)), [(1, 1), (1, 1), (0, 0), (0, 0)]))
    row = np.array([2.0, -5.0], np.float32).reshape(1, 1, 2, 1)
    # 2 - 3 * 2 is below 0; -5 is cut before the second convolution and alone after it.
    np.testing.assert_allclose(np.asarray(block(row)).ravel(), [0.0, 0.0], atol=1e-4)
    block.convolutions[1].kernel.assign(np.pad(np.ones((1, 1, 1, 1)), [(1, 1), (1, 1), (0, 0), (0, 0)]))
    np.testing.assert_allclose(np.asarray(block(row)).ravel(), [4.0, 0.0], rtol=1e-4)


def test_the_first_block_of_a_stage_halves_the_size_and_projects(small):
    for name, blocks in ((name, getattr(small[0], name)) for name in ("res3", "res5")):
        assert [block.shortcut is not None for block in blocks] == [True, False]
        # The stride is on the 3x3 convolution, not on the first 1x1.
        assert [layer.stride for layer in blocks[0].convolutions] == [1, 2, 1], name
        assert blocks[0].shortcut.stride == 2


def test_a_multi_grid_dilates_the_last_stage_alone():
    backbone = resnet(res5_multi_grid=(1, 4))
    assert [block.convolutions[1].dilation for block in backbone.res5] == [1, 4]
    assert {block.convolutions[1].dilation for block in (*backbone.res3, *backbone.res4)} == {1}


def test_a_deeplab_stem_has_three_convolutions_and_the_same_stride():
    stem = Stem(dataclasses.replace(SMALL, stem_type="deeplab"))
    stem.build((None, None, None, 3))
    assert [tuple(layer.kernel.shape) for layer in stem.convolutions] == [(3, 3, 3, 4), (3, 3, 4, 4), (3, 3, 4, 8)]
    assert tuple(stem(IMAGE).shape) == (1, 11, 17, 8)
