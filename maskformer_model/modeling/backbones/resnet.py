"""ResNet as detectron2 builds it (`modeling/backbone/resnet.py`): stride on the 3x3, frozen batch norm by default.

Depths 18 and 34 stack basic blocks, 50 and more stack bottlenecks. `stem_type="deeplab"` with a `res5_multi_grid` of
(1, 2, 4) is the R101c of the semantic experiments. Features leave at strides 4 to 32 as res2 to res5.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from maskformer_model.config import RESNET_BLOCKS, ResNetConfig
from maskformer_model.modeling.layers.convolution import ConvNorm, build_chain, msra_fan_out_normal


class ResNet(keras.layers.Layer):
    """Image `[batch, height, width, 3]` float, normalised -> {"res2": [batch, height/4, width/4, channels], ...}.

    Attributes:
        output_channels: Channels of each output by name.
    """

    def __init__(self, config: ResNetConfig, **kwargs):
        super().__init__(**kwargs)
        self.stem = Stem(config, name="stem")
        self.output_channels: dict[str, int] = {}
        for stage, num_blocks in enumerate(config.stage_blocks or RESNET_BLOCKS[config.depth]):
            name = f"res{stage + 2}"
            channels = config.stage_channels[stage] if config.stage_channels else config.res2_channels * 2**stage
            self.output_channels[name] = channels
            in_channels = config.stem_channels if stage == 0 else self.output_channels[f"res{stage + 1}"]
            blocks = []
            for block in range(num_blocks):
                grid = config.res5_multi_grid if name == "res5" else (1,)
                blocks.append(
                    ResidualBlock(
                        self.output_channels[name],
                        bottleneck_channels=(
                            channels * config.bottleneck_channels // config.res2_channels
                            if config.depth >= 50
                            else None
                        ),
                        stride=2 if stage > 0 and block == 0 else 1,
                        dilation=grid[block % len(grid)],
                        project_shortcut=block == 0 and (stage > 0 or in_channels != self.output_channels[name]),
                        norm=config.norm,
                        name=f"{name}_{block}",
                    )
                )
            setattr(self, name, blocks)

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        self.stem.build((None, None, None, 3))
        channels = self.stem.channels
        for name in self.output_channels:
            for block in getattr(self, name):
                block.build((None, None, None, channels))
                channels = self.output_channels[name]

    def call(self, image, training=None):
        features = {}
        hidden = self.stem(image, training=training)
        for name in self.output_channels:
            for block in getattr(self, name):
                hidden = block(hidden, training=training)
            features[name] = hidden
        return features


class Stem(keras.layers.Layer):
    """The first convolution(s) and the max pooling: stride 4 in all."""

    def __init__(self, config: ResNetConfig, **kwargs):
        super().__init__(**kwargs)
        options: dict[str, Any] = {
            "norm": config.norm,
            "activation": "relu",
            "kernel_initializer": msra_fan_out_normal(),
        }
        self.channels = channels = config.stem_channels
        if config.stem_type == "basic":
            self.convolutions = [ConvNorm(channels, 7, stride=2, name="conv1", **options)]
        else:
            self.convolutions = [
                ConvNorm(channels // 2, 3, stride=2, name="conv1", **options),
                ConvNorm(channels // 2, 3, name="conv2", **options),
                ConvNorm(channels, 3, name="conv3", **options),
            ]

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        build_chain(self.convolutions, input_shape)

    def call(self, image, training=None):
        hidden = image
        for convolution in self.convolutions:
            hidden = convolution(hidden, training=training)
        # Zeros are as good as minus infinity for padding, because ReLU left nothing below zero.
        hidden = ops.pad(hidden, [[0, 0], [1, 1], [1, 1], [0, 0]])
        return ops.max_pool(hidden, pool_size=3, strides=2, padding="valid")


class ResidualBlock(keras.layers.Layer):
    """A bottleneck (1x1, 3x3, 1x1), or a basic block (3x3, 3x3) where `bottleneck_channels` is None."""

    def __init__(
        self,
        out_channels: int,
        *,
        bottleneck_channels: int | None,
        stride: int,
        dilation: int,
        project_shortcut: bool,
        norm: str,
        **kwargs,
    ):
        super().__init__(**kwargs)
        options: dict[str, Any] = {"norm": norm, "kernel_initializer": msra_fan_out_normal()}
        if bottleneck_channels is None:
            self.convolutions = [
                ConvNorm(out_channels, 3, stride=stride, dilation=dilation, activation="relu", name="conv1", **options),
                ConvNorm(out_channels, 3, name="conv2", **options),
            ]
        else:
            middle: dict[str, Any] = {"stride": stride, "dilation": dilation, "activation": "relu"}
            self.convolutions = [
                ConvNorm(bottleneck_channels, 1, activation="relu", name="conv1", **options),
                ConvNorm(bottleneck_channels, 3, name="conv2", **middle, **options),
                ConvNorm(out_channels, 1, name="conv3", **options),
            ]
        self.shortcut = (
            ConvNorm(out_channels, 1, stride=stride, name="shortcut", **options) if project_shortcut else None
        )

    def build(self, input_shape):
        """Makes the weights; heights and widths may be unknown."""
        build_chain(self.convolutions, input_shape)
        if self.shortcut is not None:
            self.shortcut.build(input_shape)

    def call(self, inputs, training=None):
        hidden = inputs
        for convolution in self.convolutions:
            hidden = convolution(hidden, training=training)
        shortcut = inputs if self.shortcut is None else self.shortcut(inputs, training=training)
        return ops.relu(hidden + shortcut)
