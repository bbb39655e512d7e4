"""AdamW against the formula of `torch.optim.AdamW`, written out in numpy."""

import contextlib

import keras
import numpy as np
import pytest

from maskformer_model.config import OptimizerConfig
from maskformer_model.training.optimizer import AdamW, global_norm, layer_decays, make_optimizer


def torch_adamw(value, gradients, *, rate, decay, clip_norm):
    """The reference, one variable, in float64."""
    value, first, second = value.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        gradient = gradient.astype(np.float64)
        if clip_norm:
            gradient = gradient * min(1.0, clip_norm / (np.sqrt((gradient**2).sum()) + 1e-6))
        value = value * (1 - rate * decay)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        value = value - rate / (1 - 0.9**step) * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return value


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_five_steps_equal_pytorch_s_formula(clip_norm, decay):
    generator = np.random.default_rng(0)
    start = generator.normal(size=(5, 3)).astype(np.float32)
    gradients = [generator.normal(size=(5, 3)).astype(np.float32) * 1e-3 for _ in range(5)]
    variable = keras.Variable(start)
    optimizer = AdamW(1e-2, decay=decay, clip_norm=clip_norm)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    expected = torch_adamw(start, gradients, rate=1e-2, decay=decay, clip_norm=clip_norm)
    np.testing.assert_allclose(variable.numpy(), expected, atol=1e-6)
    assert np.abs(expected - start).max() > 1e-3


def one_step(path, **settings):
    """How far a gradient of 1 moves a variable of value 1 with that path."""
    *scopes, name = path.split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        variable = keras.Variable([1.0], name=name)
    assert variable.path.endswith(path)
    AdamW(0.01, **settings).apply([keras.ops.ones((1,))], [variable])
    return 1.0 - float(variable.numpy()[0])


def test_the_backbone_learns_at_its_own_rate():
    assert one_step("net/backbone/res2/kernel", decay=0.0, backbone_multiplier=0.1) == pytest.approx(0.001, rel=1e-3)
    assert one_step("net/predictor/kernel", decay=0.0, backbone_multiplier=0.1) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", ["gamma", "beta", "query_embedding", "relative_position_bias_table"])
def test_norms_embeddings_and_position_tables_do_not_decay(name):
    assert one_step(f"net/predictor/{name}", decay=0.5) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_kernels_and_biases_decay(name):
    assert one_step(f"net/predictor/{name}", decay=0.5) == pytest.approx(0.01 + 0.005, rel=1e-3)


def test_the_norm_of_all_gradients_together_is_clipped():
    variables = [keras.Variable([0.0]), keras.Variable([0.0])]
    optimizer = AdamW(1.0, decay=0.0, clip_norm=1.0)
    optimizer.build(variables)
    clipped = optimizer._clip_gradients([keras.ops.array([3.0]), keras.ops.array([4.0])])
    np.testing.assert_allclose([float(gradient[0]) for gradient in clipped], [0.6, 0.8], rtol=1e-5)
    short = optimizer._clip_gradients([keras.ops.array([0.3]), keras.ops.array([0.4])])
    np.testing.assert_allclose([float(gradient[0]) for gradient in short], [0.3, 0.4], rtol=1e-5)


def test_a_missing_gradient_counts_as_zero():
    assert float(global_norm([keras.ops.array([3.0]), None, keras.ops.array([4.0])])) == pytest.approx(5.0)


def test_an_optimizer_comes_back_from_its_config():
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.3, clip_norm=0.7, ema_momentum=0.9), 0.01)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (again.decay, again.clip_norm, again.use_ema, again.ema_momentum) == (0.3, 0.7, True, 0.9)


def paths_of_a_vit():
    names = ["patch_embedding/kernel", "blocks/vit_block_0/norm1/gamma", "blocks/vit_block_1/linear1/bias"]
    in_backbone = [f"network/backbone/{name}".split("/") for name in names]
    in_decoder = [f"network/predictor/backbone/{name}".split("/") for name in ("vit_block_2/linear1/bias", "norm/beta")]
    return [*in_backbone, *in_decoder]


def test_each_block_of_a_vit_learns_slower_than_the_next_and_tokens_as_the_first():
    assert layer_decays(paths_of_a_vit(), 0.5) == [0.25, 0.25, 0.5, 1.0, 1.0]


def test_the_last_blocks_may_keep_the_whole_rate():
    assert layer_decays(paths_of_a_vit(), 0.5, undecayed_blocks=2) == [0.25, 0.25, 1.0, 1.0, 1.0]


def test_layer_decay_needs_numbered_blocks():
    with pytest.raises(ValueError, match=r"layer_decay` below 1 needs a backbone of numbered blocks"):
        layer_decays([["network", "backbone", "res2", "kernel"]], 0.8)
    assert layer_decays([["network", "backbone", "res2", "kernel"]], 1.0) == [1.0]
