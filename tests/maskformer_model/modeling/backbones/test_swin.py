"""Swin against the reference's features, and its parts against numbers worked out by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import SwinConfig
from maskformer_model.modeling.backbones import swin
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained.maskformer_names import backbone_weights
from maskformer_model.pretrained.tables.weight_table import write_weights
from maskformer_model.training.optimizer import WITHOUT_DECAY

TINY = SwinConfig(embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), window_size=3, drop_path_rate=0.0)


def make_backbone(config=TINY):
    backbone = build_backbone(config)
    backbone.build((None, None, None, 3))
    return backbone


@pytest.fixture(scope="module")
def golden(project_dir):
    folder = project_dir / "tests" / "golden" / "tiny_swin_fpn"
    options = json.loads((folder / "golden.json").read_text())["swin"]
    backbone = make_backbone(
        SwinConfig(
            embed_dim=options["EMBED_DIM"],
            depths=tuple(options["DEPTHS"]),
            num_heads=tuple(options["NUM_HEADS"]),
            window_size=options["WINDOW_SIZE"],
        )
    )
    weights, outputs = np.load(folder / "weights.npz"), np.load(folder / "outputs.npz")
    names = [name for name in weights.files if name.startswith("backbone.") and not name.endswith("_index")]
    write_weights(backbone_weights(backbone), {name: weights[name] for name in names})
    image = outputs["padded_images"].transpose(0, 2, 3, 1)
    return backbone, image, {f"res{level}": outputs[f"features.res{level}"] for level in range(2, 6)}


@pytest.mark.parametrize("mode", ["eager", "graph of unknown sizes", "XLA"])
def test_features_are_the_reference_s(golden, mode):
    backbone, image, expected = golden
    run = backbone
    if mode == "graph of unknown sizes":
        run = tf.function(backbone, input_signature=[tf.TensorSpec((None, None, None, 3))])
    elif mode == "XLA":
        run = tf.function(backbone, jit_compile=True)
    features = run(tf.constant(image))
    assert list(features) == ["res2", "res3", "res4", "res5"]
    for name, value in expected.items():
        bound = 1e-4 * np.abs(value).max()
        np.testing.assert_allclose(np.transpose(features[name], (0, 3, 1, 2)), value, atol=bound, rtol=0)


def test_the_bias_table_s_own_index_is_the_reference_s(project_dir):
    weights = np.load(project_dir / "tests" / "golden" / "tiny_swin_fpn" / "weights.npz")
    index = weights["backbone.layers.0.blocks.0.attn.relative_position_index"]
    np.testing.assert_array_equal(swin.relative_position_index(4), index)


def test_sizes_are_rounded_up_at_every_stride():
    features = make_backbone()(np.zeros((1, 41, 67, 3), np.float32))
    shapes = {name: tuple(feature.shape) for name, feature in features.items()}
    assert shapes == {"res2": (1, 11, 17, 8), "res3": (1, 6, 9, 16), "res4": (1, 3, 5, 32), "res5": (1, 2, 3, 64)}


def test_windows_partition_and_merge_back():
    features = tf.reshape(tf.range(2 * 4 * 6 * 1), (2, 4, 6, 1))
    windows = swin.partition_windows(features, 2)
    assert tuple(windows.shape) == (12, 4, 1)
    np.testing.assert_array_equal(windows[1, :, 0], [2, 3, 8, 9])  # The second window of the first row of windows.
    np.testing.assert_array_equal(swin.merge_windows(windows, 2, (2, 4, 6, 1)), features)


def test_patches_that_only_the_shift_joined_do_not_see_each_other():
    # Two windows of 2x2 side by side, rolled by 1: rows always come from both edges, columns only in the last window.
    logits = np.asarray(swin.shift_logits(2, 4, window_size=2, shift=1))
    assert logits.shape == (2, 4, 4)
    np.testing.assert_array_equal(logits[0] == 0, np.kron(np.eye(2), np.ones((2, 2))))
    np.testing.assert_array_equal(logits[1] == 0, np.eye(4))
    assert set(np.unique(logits)) == {-100.0, 0.0}


def test_neighbours_are_stacked_column_by_column_and_an_odd_edge_is_padded():
    features = np.array([[1, 2], [3, 4], [5, 6]], np.float32).reshape(1, 3, 2, 1)
    np.testing.assert_array_equal(swin.stack_neighbours(features), [[[[1, 3, 2, 4]], [[5, 0, 6, 0]]]])


def test_drop_path_grows_linearly_over_the_blocks_and_acts_on_whole_samples():
    backbone = make_backbone(
        SwinConfig(embed_dim=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=2, drop_path_rate=0.4)
    )
    rates = [block.drop_path.rate for stage in backbone.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4])
    dropped = np.asarray(backbone.stages[3].blocks[0].drop_path(np.ones((64, 2, 2, 3), np.float32), training=True))
    per_sample = dropped.reshape(64, -1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(np.round(np.unique(per_sample), 4)) == {0.0, np.float32(1.6667)}


def test_weights_begin_as_the_reference_s_do():
    block = make_backbone(SwinConfig(embed_dim=64, depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 2))).stages[0].blocks[0]
    kernel = np.asarray(block.linear1.kernel)
    assert np.abs(kernel).max() <= 1 / 8  # 1 / sqrt(fan in).
    np.testing.assert_allclose(kernel.std(), 1 / 8 / np.sqrt(3), rtol=0.02)
    assert 0 < np.abs(np.asarray(block.linear1.bias)).max() <= 1 / 8
    table = np.asarray(block.attention.relative_position_bias_table)
    assert table.shape == (169, 2)
    np.testing.assert_allclose(table.std(), 0.02, rtol=0.1)


@pytest.mark.parametrize(
    ("embed_dim", "depths", "num_heads", "window_size", "millions"),
    [
        (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 27.52),
        (96, (2, 2, 18, 2), (3, 6, 12, 24), 7, 48.84),
    ],
)
def test_published_sizes_have_their_parameter_counts(embed_dim, depths, num_heads, window_size, millions):
    backbone = make_backbone(
        SwinConfig(embed_dim=embed_dim, depths=depths, num_heads=num_heads, window_size=window_size)
    )
    # As published for ImageNet (28.29 M, 49.61 M), less the classifier (0.769 M), plus norms at three more stages.
    assert round(backbone.count_params() / 1e6, 2) == millions


def test_the_bias_tables_bear_the_name_that_the_optimizer_does_not_decay():
    tables = [variable.path for variable in make_backbone().variables if variable.path.endswith(WITHOUT_DECAY[-1])]
    assert WITHOUT_DECAY[-1] == "relative_position_bias_table"
    assert len(tables) == sum(TINY.depths)


def test_gradients_are_dense_and_reach_every_weight():
    backbone = make_backbone()
    image = tf.random.stateless_normal((1, 40, 52, 3), seed=(0, 1))

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(tf.cos(feature)) for feature in backbone(image, training=True).values()])
        return tape.gradient(loss, backbone.trainable_variables)

    for variable, gradient in zip(backbone.trainable_variables, gradients(), strict=True):
        assert isinstance(gradient, tf.Tensor)
        assert float(tf.reduce_max(tf.abs(gradient))) > 0, variable.path
