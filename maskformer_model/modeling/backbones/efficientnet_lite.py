"""EfficientNet-Lite0 as a feature extractor with strides 4, 8, 16 and 32.

The mobile network of arXiv:1905.11946 as its authors released it under the name "lite": ReLU6 for swish, no
squeeze-and-excite, stem not scaled. Every convolution pads as TensorFlow's SAME does, batch norm has an epsilon of
1e-3, and pixels enter as `(pixel - 127) / 128`. This model's images are normalised otherwise (see `preprocessing`), so
the backbone begins with the one scale and offset between the two. The classifier's last convolution is left out.
"""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from maskformer_model.config import EfficientNetLiteConfig
from maskformer_model.modeling.layers.convolution import FrozenBatchNorm, NormedConvolution

PIXEL_MEAN = (123.675, 116.28, 103.53)  # What `normalization.normalize` subtracts ...
PIXEL_STD = (58.395, 57.12, 57.375)  # ... and divides by.
_OWN_MEAN, _OWN_STD = 127.0, 128.0
_STEM_CHANNELS = 32
_NORM_EPSILON = 1e-3
_GROUPS = 8  # Divides every width of this network.


@dataclasses.dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int
    output: str = ""


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24, "res2"),
    _Stage(2, 5, 2, 6, 40, "res3"),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112, "res4"),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320, "res5"),
)


def to_own_normalization(image):
    """Turns pixels normalised by `PIXEL_MEAN` and `PIXEL_STD`, `[..., 3]` float, into `(pixel - 127) / 128`."""
    scale = ops.convert_to_tensor([std / _OWN_STD for std in PIXEL_STD], image.dtype)
    offset = ops.convert_to_tensor([(mean - _OWN_MEAN) / _OWN_STD for mean in PIXEL_MEAN], image.dtype)
    return image * scale + offset


def _convolution(channels: int, kernel_size: int, stride: int, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        channels, kernel_size, stride, padding="same", use_bias=False, kernel_initializer=_initializer(), name=name
    )


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _norm(kind: str, name: str) -> keras.layers.Layer:
    if kind == "frozen_batch":
        return FrozenBatchNorm(epsilon=_NORM_EPSILON, name=name)
    if kind == "batch":
        return keras.layers.BatchNormalization(epsilon=_NORM_EPSILON, momentum=0.9, name=name)
    return keras.layers.GroupNormalization(groups=_GROUPS, epsilon=_NORM_EPSILON, name=name)


class InvertedResidual(keras.layers.Layer):
    """Widen by a 1x1 convolution, filter each channel apart, narrow again; added to the input where shapes agree.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: The size of the depthwise filter, in px.
        stride: The stride of the depthwise filter, in px.
        expansion: Widening factor; 1 leaves the first convolution out.
        norm: "frozen_batch", "batch" or "group".
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int, norm: str, **kwargs
    ):
        super().__init__(**kwargs)
        self._channels = (in_channels, in_channels * expansion, out_channels)
        self._adds_input = stride == 1 and in_channels == out_channels
        self.expand_conv: keras.layers.Layer | None = None
        self.expand_norm: keras.layers.Layer | None = None
        self.normed: list[NormedConvolution] = []
        if expansion > 1:
            self.expand_conv = _convolution(in_channels * expansion, 1, 1, "expand_conv")
            self.expand_norm = _norm(norm, "expand_norm")
            self.normed.append(NormedConvolution(self.expand_conv, self.expand_norm))
        self.depthwise_conv = keras.layers.DepthwiseConv2D(
            kernel_size,
            stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=_initializer(),
            name="depthwise_conv",
        )
        self.depthwise_norm = _norm(norm, "depthwise_norm")
        self.project_conv = _convolution(out_channels, 1, 1, "project_conv")
        self.project_norm = _norm(norm, "project_norm")
        self.normed += [
            NormedConvolution(self.depthwise_conv, self.depthwise_norm),
            NormedConvolution(self.project_conv, self.project_norm, has_relu6=False),
        ]

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        in_channels, hidden_channels, out_channels = self._channels
        outputs = [hidden_channels] * (len(self.normed) - 1) + [out_channels]
        inputs = [in_channels, *outputs[:-1]]
        for step, num_inputs, num_outputs in zip(self.normed, inputs, outputs, strict=True):
            step.convolution.build((None, None, None, num_inputs))
            step.norm.build((None, None, None, num_outputs))

    def call(self, features, training=None):
        """Maps `[batch, height, width, in_channels]` to `[batch, ceil(height / stride), ..., out_channels]`."""
        hidden = features
        for step in self.normed:
            hidden = step(hidden, training=training)
        return features + hidden if self._adds_input else hidden


class EfficientNetLite0(keras.layers.Layer):
    """Multi-scale features of a normalised photo.

    Args:
        config: Its `norm` is read: "frozen_batch" (constants), "batch" (trained) or "group" (from scratch).

    Attributes:
        output_channels: Channels of each output, by name.
    """

    output_channels = {stage.output: stage.channels for stage in _STAGES if stage.output}

    def __init__(self, config: EfficientNetLiteConfig, **kwargs):
        super().__init__(**kwargs)
        norm = config.norm
        self.stem_conv = _convolution(_STEM_CHANNELS, 3, 2, "stem_conv")
        self.stem_norm = _norm(norm, "stem_norm")
        self._stem = NormedConvolution(self.stem_conv, self.stem_norm)
        self.blocks: list[InvertedResidual] = []
        self._output_names: list[str] = []
        channels = _STEM_CHANNELS
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                self.blocks.append(
                    InvertedResidual(
                        channels,
                        stage.channels,
                        stage.kernel_size,
                        stage.stride if repeat == 0 else 1,
                        stage.expansion,
                        norm,
                        name=f"block_{len(self.blocks)}",
                    )
                )
                channels = stage.channels
                self._output_names.append(stage.output if repeat == stage.repeats - 1 else "")

    def convolutions(self) -> list[NormedConvolution]:
        """Returns every convolution with its norm."""
        return [self._stem, *(step for block in self.blocks for step in block.normed)]

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        self.stem_conv.build((None, None, None, 3))
        self.stem_norm.build((None, None, None, _STEM_CHANNELS))
        for block in self.blocks:
            block.build(None)

    def call(self, image, training=None):
        """Runs the network.

        Args:
            image: `[batch, height, width, 3]` float32 RGB, normalised by `PIXEL_MEAN` and `PIXEL_STD`.
            training: Only read where `norm` is "batch".

        Returns:
            "res2".."res5" -> `[batch, ceil(height / stride), ceil(width / stride), channels]`, strides 4 to 32.
        """
        features = self._stem(to_own_normalization(image), training=training)
        outputs = {}
        for block, output_name in zip(self.blocks, self._output_names, strict=True):
            features = block(features, training=training)
            if output_name:
                outputs[output_name] = features
        return outputs
