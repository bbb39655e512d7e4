"""ImageNet's EfficientNet-Lite0 as a backbone of Hugging Face's models, with the weights that ours starts from.

Its features equal those of `maskformer_model.modeling.backbones.efficientnet_lite`. Its attributes have the names of
the weight file, so that PyTorch loads the file as it is. The batch norms are frozen, as ours and as the official
recipes of both models have them. The library's own way to this network is timm, which needs torchvision as well; both
are no dependencies of this project.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoBackbone, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from maskformer_model.pretrained.efficientnet_weights import imagenet_weights_path

# Of each stage: blocks, kernel, stride, widening factor and channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_OUTPUT_BLOCKS = (2, 4, 10, 15)
_STEM_CHANNELS = 32
_NAMES = ("stage1", "stage2", "stage3", "stage4")
_CHANNELS = (24, 40, 112, 320)


class EfficientNetLiteConfig(BackboneConfigMixin, PreTrainedConfig):
    """Names the outputs, of strides 4, 8, 16 and 32."""

    model_type = "efficientnet_lite0"

    def __post_init__(self, **kwargs):
        self.stage_names = list(_NAMES)
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", list(_NAMES))
        )
        super().__post_init__(**kwargs)


class SameConvolution(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does: with stride 2, an even size gets less at the top and left."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1):
        padding = kernel_size // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Convolves `[batch, channels, height, width]`."""
        stride, kernel_size = self.stride[0], self.kernel_size[0]
        if stride > 1:
            margins: list[int] = []
            for size_px in (features.shape[3], features.shape[2]):
                missing = max((-(-size_px // stride) - 1) * stride + kernel_size - size_px, 0)
                margins += [missing // 2, missing - missing // 2]
            features = functional.pad(features, margins)
        return super().forward(features)


class InvertedResidual(nn.Module):
    """Widens by a 1x1 convolution, filters each channel apart, narrows again; added to the input where shapes agree."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self._adds_input = stride == 1 and in_channels == channels
        self._expand_conv = SameConvolution(in_channels, hidden, 1) if expansion > 1 else None
        self._bn0 = _norm(hidden) if expansion > 1 else None
        self._depthwise_conv = SameConvolution(hidden, hidden, kernel_size, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConvolution(hidden, channels, 1)
        self._bn2 = _norm(channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps `[batch, in_channels, height, width]` to `[batch, channels, ceil(height / stride), ...]`."""
        hidden = features
        if self._expand_conv is not None and self._bn0 is not None:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return features + hidden if self._adds_input else hidden


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3)


class EfficientNetLiteBackbone(BackboneMixin, PreTrainedModel):
    """Multi-scale features of pixels as `(pixel - 127) / 128`, `[batch, 3, height, width]`."""

    config_class = EfficientNetLiteConfig
    has_attentions = False

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        self.num_features = list(_CHANNELS)
        self._conv_stem = SameConvolution(3, _STEM_CHANNELS, 3, 2)
        self._bn0 = _norm(_STEM_CHANNELS)
        channels, blocks = _STEM_CHANNELS, []
        for repeats, kernel_size, stride, expansion, out_channels in _STAGES:
            for repeat in range(repeats):
                block = InvertedResidual(channels, out_channels, kernel_size, 1 if repeat else stride, expansion)
                blocks.append(block)
                channels = out_channels
        self._blocks = nn.ModuleList(blocks)
        self.post_init()

    def load_imagenet_weights(self) -> None:
        """Loads the weights of the data package and freezes the batch norms."""
        weights = torch.load(imagenet_weights_path(), weights_only=True)
        self.load_state_dict({name: weights[name] for name in self.state_dict()})
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLiteBackbone:
        """Switches to training, in which the batch norms keep ImageNet's statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BackboneOutput:
        """Returns the four feature maps."""
        features = functional.relu6(self._bn0(self._conv_stem(pixel_values)))
        outputs = []
        for index, block in enumerate(self._blocks):
            features = block(features)
            if index in _OUTPUT_BLOCKS:
                outputs.append(features)
        return BackboneOutput(feature_maps=tuple(outputs))

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves the weights as they are: they are loaded."""


AutoBackbone.register(EfficientNetLiteConfig, EfficientNetLiteBackbone, exist_ok=True)
