"""ConvNeXt as a backbone (arXiv:2201.03545, section 2; names as in the authors' code for detection).

Four stages of blocks at strides 4 to 32. A strided convolution and a layer norm stand in front of each stage, and each
stage has a layer norm of its own on what leaves the backbone. Odd sizes are padded, so that sizes are rounded up.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from maskformer_model.config import ConvNeXtConfig
from maskformer_model.modeling.layers.linear import flat_linear
from maskformer_model.modeling.layers.padding import pad_to_multiple

PATCH_SIZE = 4
_LAYER_NORM_EPSILON = 1e-6


class ConvNeXt(keras.layers.Layer):
    """Image `[batch, height, width, 3]` float, normalised -> {"res2": [batch, height/4, width/4, channels], ...}.

    Args:
        config: Its `dims`, `depths`, `layer_scale` and `drop_path_rate` are read.

    Attributes:
        output_channels: Channels of each output by name.
    """

    def __init__(self, config: ConvNeXtConfig, **kwargs):
        super().__init__(**kwargs)
        rates = iter(np.linspace(0.0, config.drop_path_rate, sum(config.depths)).tolist())
        self.output_channels = dict(zip(("res2", "res3", "res4", "res5"), config.dims, strict=True))
        self.stages = [
            ConvNeXtStage(
                width,
                in_channels=below,
                drop_rates=[next(rates) for _ in range(depth)],
                layer_scale=config.layer_scale,
                name=f"stage_{stage}",
            )
            for stage, (width, below, depth) in enumerate(
                zip(config.dims, (3, *config.dims[:3]), config.depths, strict=True)
            )
        ]
        self.output_norms = [_layer_norm(f"output_norm_{stage}") for stage in range(4)]

    def build(self, input_shape=None):
        """Makes the weights, which depend on no size."""
        for stage, norm in zip(self.stages, self.output_norms, strict=True):
            stage.build()
            norm.build((None, stage.downsampling.width))

    def call(self, image, training=None):
        features, outputs = image, {}
        for name, stage, norm in zip(self.output_channels, self.stages, self.output_norms, strict=True):
            features = stage(features, training=training)
            outputs[name] = norm(features)
        return outputs


class ConvNeXtStage(keras.layers.Layer):
    """What reduces the resolution, and blocks of one width.

    Args:
        width: Channels.
        in_channels: Channels of what comes in; 3 for an image.
        drop_rates: Stochastic depth of each block.
        layer_scale: What the scale of each channel starts at.
    """

    def __init__(self, width: int, *, in_channels: int, drop_rates: list[float], layer_scale: float, **kwargs):
        super().__init__(**kwargs)
        self.downsampling = Downsampling(width, in_channels, name="downsampling")
        self.blocks = [
            ConvNeXtBlock(width, rate, layer_scale, name=f"block_{index}") for index, rate in enumerate(drop_rates)
        ]

    def build(self, input_shape=None):
        """Makes the weights, which depend on no size."""
        self.downsampling.build()
        for block in self.blocks:
            block.build()

    def call(self, features, training=None):
        features = self.downsampling(features)
        for block in self.blocks:
            features = block(features, training=training)
        return features


class Downsampling(keras.layers.Layer):
    """What stands in front of a stage: of an image patches of 4 x 4 px and a norm, later a norm and a 2x2 convolution.

    Args:
        width: Channels of the stage.
        in_channels: Channels of what comes in; 3 for an image.
    """

    def __init__(self, width: int, in_channels: int, **kwargs):
        super().__init__(**kwargs)
        self.width, self.in_channels = width, in_channels
        self.is_stem = in_channels == 3
        self.stride = PATCH_SIZE if self.is_stem else 2
        self.norm = _layer_norm("norm")
        self.convolution = keras.layers.Conv2D(
            width, self.stride, self.stride, kernel_initializer=_initial_kernel(), name="convolution"
        )

    def build(self, input_shape=None):
        """Makes the weights, which depend on no size."""
        self.convolution.build((None, None, None, self.in_channels))
        self.norm.build((None, self.width if self.is_stem else self.in_channels))

    def call(self, features):
        if self.is_stem:
            return self.norm(self.convolution(pad_to_multiple(features, self.stride)))
        return self.convolution(pad_to_multiple(self.norm(features), self.stride))


class ConvNeXtBlock(keras.layers.Layer):
    """A depthwise 7x7 convolution, a norm and two linear layers, scaled by channel and added to the input.

    Args:
        width: Channels.
        drop_rate: Stochastic depth.
        layer_scale: What the scale of each channel starts at.
    """

    def __init__(self, width: int, drop_rate: float, layer_scale: float, **kwargs):
        super().__init__(**kwargs)
        self.width, self.layer_scale = width, layer_scale
        self.depthwise = keras.layers.DepthwiseConv2D(
            7, padding="same", depthwise_initializer=_initial_kernel(), name="depthwise"
        )
        self.norm = _layer_norm("norm")
        self.expand = keras.layers.Dense(4 * width, kernel_initializer=_initial_kernel(), name="expand")
        self.project = keras.layers.Dense(width, kernel_initializer=_initial_kernel(), name="project")
        self.drop_path = keras.layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name="drop_path")

    def build(self, input_shape=None):
        """Makes the weights, which depend on no size."""
        self.depthwise.build((None, None, None, self.width))
        self.norm.build((None, self.width))
        self.expand.build((None, self.width))
        self.project.build((None, 4 * self.width))
        # Named as norms name theirs, so that it does not decay, as in the authors' training.
        self.scale = self.add_weight(
            name="gamma", shape=(self.width,), initializer=keras.initializers.Constant(self.layer_scale)
        )

    def call(self, features, training=None):
        hidden = flat_linear(self.expand, self.norm(self.depthwise(features)))
        changed = flat_linear(self.project, ops.gelu(hidden, approximate=False)) * self.scale
        return features + self.drop_path(changed, training=training)


def _initial_kernel() -> keras.initializers.Initializer:
    # The authors truncate at +-2, which is a hundred standard deviations.
    return keras.initializers.RandomNormal(stddev=0.02)


def _layer_norm(name: str) -> keras.layers.Layer:
    return keras.layers.LayerNormalization(epsilon=_LAYER_NORM_EPSILON, name=name)
