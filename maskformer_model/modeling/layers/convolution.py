"""Convolution with its norm and activation, padded as PyTorch pads.

The reference (detectron2 `layers/wrappers.py`, `batch_norm.py`) pads a stride-2 convolution symmetrically, where "same"
padding would shift the picture by half a pixel. Its batch norms are frozen: constants that are folded into the kernel
here, so that a step neither stores nor scales a full-size map for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

NORM_EPSILON = 1e-5
GROUPS = 32


def xavier_fan_in_uniform() -> keras.initializers.Initializer:
    """Caffe2's Xavier: uniform in +-sqrt(3 / fan_in) (fvcore `c2_xavier_fill`)."""
    return keras.initializers.VarianceScaling(scale=1.0, mode="fan_in", distribution="uniform")


def msra_fan_out_normal() -> keras.initializers.Initializer:
    """Normal with variance 2 / fan_out (fvcore `c2_msra_fill`)."""
    return keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="untruncated_normal")


class FrozenBatchNorm(keras.layers.Layer):
    """Batch norm with constant statistics and a constant affine map (detectron2 `FrozenBatchNorm2d`).

    Nothing of it is trained or updated; `scale_and_shift` is the affine map that it amounts to.
    """

    def __init__(self, epsilon: float = NORM_EPSILON, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", trainable=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", trainable=False)
        self.moving_mean = self.add_weight(name="moving_mean", shape=shape, initializer="zeros", trainable=False)
        self.moving_variance = self.add_weight(name="moving_variance", shape=shape, initializer="ones", trainable=False)

    def scale_and_shift(self):
        """`([channels], [channels])` such that the norm is `x * scale + shift`."""
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def call(self, inputs):
        scale, shift = self.scale_and_shift()
        return inputs * scale + shift

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


class GroupNorm(keras.layers.GroupNormalization):
    """Keras's group norm of `[batch, height, width, channels]`, with the statistics taken channel by channel first.

    A reduction over pixels and over the channels of a group at once, as Keras's, is one of the slowest things that
    TensorFlow does on a CPU. A group's variance is the mean of its channels' variances and the variance of their means.
    """

    def call(self, inputs, training=None):
        features = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        means = mean_over_rows(features)
        mean = self._mean_of_group(means)
        # A shifted mean changes the variance by nothing, to first order, so no gradient goes that way.
        variances = mean_over_rows(ops.square(features - ops.stop_gradient(means)))
        variance = self._mean_of_group(variances + ops.square(means - mean))
        scale = ops.cast(self.gamma, features.dtype) * ops.rsqrt(variance + self.epsilon)
        shift = ops.cast(self.beta, features.dtype) - mean * scale
        if training:
            scale, shift = for_each_row(scale, features), for_each_row(shift, features)
        return ops.cast(features * scale + shift, inputs.dtype)

    def _mean_of_group(self, of_channels):
        """Maps `[batch, 1, 1, channels]` to the same shape, equal within each group."""
        shape = (-1, self.groups, of_channels.shape[-1] // self.groups)
        grouped = ops.reshape(of_channels, shape)
        means = ops.broadcast_to(ops.mean(grouped, axis=-1, keepdims=True), ops.shape(grouped))
        return ops.reshape(means, (-1, 1, 1, of_channels.shape[-1]))


def mean_over_rows(features):
    """Averages `[batch, height, width, channels]` along each row and then over the rows: `[batch, 1, 1, channels]`.

    TensorFlow adds up all pixels one after the other, which loses a digit on large maps: a group norm of 160 x 160
    pixels of noise was off by 2.2e-7, and by 7.8e-8 with sums by rows (PyTorch: 7.1e-8), in no more time.
    """
    return ops.mean(ops.mean(features, axis=2, keepdims=True), axis=1, keepdims=True)


def for_each_row(of_channels, features):
    """Repeats what is the same in every pixel for each row, so that its gradient is summed along rows first.

    TensorFlow adds up the gradients of all pixels one after the other, which loses a digit on large maps. Of 51,200
    pixels of noise, the gradient of a bias was off by 4.6e-6 and that of a norm's shift by 1.8e-6 (PyTorch: 1.5e-7).
    Summed by rows, and then over the rows, both are off by 2.0e-7, in less time.

    Args:
        of_channels: `[channels]` or `[batch, 1, 1, channels]`.
        features: `[batch, height, width, channels]`, what it is added to or multiplied with.

    Returns:
        The same numbers as `[batch, height, 1, channels]`.
    """
    batch, height = ops.shape(features)[:2]
    return ops.broadcast_to(of_channels, (batch, height, 1, features.shape[-1]))


def make_norm(norm: str, name: str = "norm") -> keras.layers.Layer:
    """Returns a normalisation layer by name: "frozen_batch", "batch" or "group" (32 groups), epsilon 1e-5.

    Raises:
        ValueError: if the name is another.
    """
    if norm == "frozen_batch":
        return FrozenBatchNorm(name=name)
    if norm == "batch":
        return keras.layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=0.9, synchronized=False, name=name)
    if norm == "group":
        return GroupNorm(groups=GROUPS, epsilon=NORM_EPSILON, name=name)
    raise ValueError(f"`norm` must be 'frozen_batch', 'batch' or 'group'. Received: {norm!r}")


@dataclasses.dataclass(frozen=True)
class FoldedKernel:
    """A convolution with its bias or the frozen norm behind it.

    Attributes:
        kernel: `[size, size, in, out]`, a tensor or a variable.
        shift: `[out]`, in the same form; None: nothing is added.
    """

    kernel: Any
    shift: Any


class ConvNorm(keras.layers.Layer):
    """Square convolution, then an optional norm, then an optional ReLU: `[batch, height, width, channels]` float.

    Args:
        filters: Output channels.
        kernel_size: Odd edge length of the kernel.
        stride: Output size is ceil(size / stride).
        dilation: Distance between kernel taps; only with `stride` 1 or a first tap pattern as the reference's.
        norm: None, "frozen_batch", "batch" or "group".
        activation: None or "relu".
        use_bias: A bias instead of the norm's shift.
        kernel_initializer: Default: Caffe2's Xavier.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: str | None = None,
        activation: str | None = None,
        use_bias: bool = False,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd. Received: {kernel_size}")
        if use_bias and norm:
            raise ValueError(f"`use_bias` and `norm` exclude each other. Received: {use_bias} and {norm!r}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.dilation = dilation
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_initializer = kernel_initializer or xavier_fan_in_uniform()
        self.norm = make_norm(norm) if norm else None
        # Constants that `folded_norms` puts in place of `fold` while a graph is traced.
        self.folded: FoldedKernel | None = None

    def build(self, input_shape):
        size = self.kernel_size
        self.kernel = self.add_weight(
            name="kernel", shape=(size, size, input_shape[-1], self.filters), initializer=self.kernel_initializer
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        if self.norm is not None:
            self.norm.build((*input_shape[:-1], self.filters))

    def call(self, inputs, training=None):
        folded = self.folded or self.fold(inputs.dtype)
        outputs = self._convolve(inputs, ops.cast(folded.kernel, inputs.dtype))
        if folded.shift is not None:
            shift = ops.cast(folded.shift, outputs.dtype)
            # In half precision the sum of the bias's gradient is better in one piece, which adds up in float32.
            by_rows = (
                self.use_bias and training and keras.backend.standardize_dtype(outputs.dtype).endswith(("32", "64"))
            )
            outputs = ops.add(outputs, for_each_row(shift, outputs) if by_rows else shift)
        if self.norm is not None and not isinstance(self.norm, FrozenBatchNorm):
            outputs = self.norm(outputs, training=training)
        return ops.relu(outputs) if self.activation == "relu" else outputs

    def fold(self, dtype) -> FoldedKernel:
        """What the kernel and the bias or a frozen norm amount to."""
        kernel = ops.cast(self.kernel, dtype)
        if isinstance(self.norm, FrozenBatchNorm):
            scale, shift = self.norm.scale_and_shift()
            return FoldedKernel(kernel * ops.cast(scale, dtype), ops.cast(shift, dtype))
        return FoldedKernel(kernel, self.bias if self.use_bias else None)

    def _convolve(self, inputs, kernel):
        padding, stride = "same", self.stride
        if stride > 1 and self.kernel_size == 1 and (inputs.shape[-1] % 16 or self.filters % 16):
            # The gradient of oneDNN's strided 1x1 convolution writes past its buffers if channels do not fill a vector.
            inputs, stride = inputs[:, ::stride, ::stride], 1
        if stride > 1 and self.kernel_size > 1:
            margin = self.dilation * (self.kernel_size // 2)
            inputs = ops.pad(inputs, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
            padding = "valid"
        return ops.conv(inputs, kernel, strides=stride, padding=padding, dilation_rate=self.dilation)


class NormedConvolution:
    """A convolution without a bias, the norm behind it, and ReLU6 where it is asked for.

    No layer itself: both layers are the owner's, under the names that weight files have. A frozen norm is folded into
    the kernel, as in `ConvNorm`.

    Args:
        convolution: The layer of the convolution, which its owner builds.
        norm: The layer of the norm, which its owner builds.
        has_relu6: Whether ReLU6 comes last.
    """

    def __init__(self, convolution: keras.layers.Layer, norm: keras.layers.Layer, *, has_relu6: bool = True):
        self.convolution = convolution
        self.norm = norm
        self.has_relu6 = has_relu6
        self.folded: FoldedKernel | None = None  # As in `ConvNorm`.

    @property
    def compute_dtype(self) -> str:
        """Returns what the layers compute in."""
        return self.convolution.compute_dtype

    @property
    def variables(self) -> list[keras.Variable]:
        """Returns those of both layers."""
        return [*self.convolution.variables, *self.norm.variables]

    def __call__(self, features, training=None):
        if isinstance(self.norm, FrozenBatchNorm):
            folded = self.folded or self.fold(features.dtype)
            outputs = self._convolve(features, ops.cast(folded.kernel, features.dtype))
            outputs = ops.add(outputs, ops.cast(folded.shift, features.dtype))
        else:
            outputs = self.norm(self.convolution(features), training=training)
        return ops.relu6(outputs) if self.has_relu6 else outputs

    def fold(self, dtype) -> FoldedKernel:
        """Returns what the kernel and the frozen norm amount to."""
        scale, shift = (ops.cast(value, dtype) for value in self.norm.scale_and_shift())
        kernel = ops.cast(self.convolution.kernel, dtype)
        # A depthwise kernel is `[size, size, channels, 1]`.
        return FoldedKernel(kernel * (scale[:, None] if self._is_depthwise else scale), shift)

    def _convolve(self, features, kernel):
        convolve = ops.depthwise_conv if self._is_depthwise else ops.conv
        return convolve(features, kernel, strides=self.convolution.strides, padding="same")

    @property
    def _is_depthwise(self) -> bool:
        return isinstance(self.convolution, keras.layers.DepthwiseConv2D)


def build_chain(layers: Sequence[ConvNorm], input_shape) -> None:
    """Makes the weights of convolutions that follow each other; `input_shape` is the first one's."""
    for layer in layers:
        layer.build(input_shape)
        input_shape = (*input_shape[:-1], layer.filters)
