"""The convolutions of a network in graphs that answer photos: the same results, but for rounding, sooner.

Wide 3x3 convolutions are done by Winograd's method (`winograd`), and an export holds kernels in the form that is read:
frozen norms folded in, taps summed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from maskformer_model import winograd
from maskformer_model.convolution import ConvNorm, FoldedKernel, FrozenBatchNorm
from maskformer_model.maskformer import MaskFormer

# With fewer channels the sums of Winograd's method cost what its products save; and a kernel of more elements belongs
# to a map that is too small to pay for a kernel of twice the size.
_MIN_CHANNELS = 256
_MAX_KERNEL_ELEMENTS = 1 << 20


def suits_winograd(layer: ConvNorm, min_channels: int = _MIN_CHANNELS) -> bool:
    """Whether a convolution is one that Winograd's method does, and sooner than a direct one."""
    shape = layer.kernel.shape
    return (
        (layer.kernel_size, layer.stride, layer.dilation) == (3, 1, 1)
        and min(shape[-2:]) >= min_channels
        and np.prod(shape) <= _MAX_KERNEL_ELEMENTS
        and layer.compute_dtype == "float32"
    )


@contextlib.contextmanager
def winograd_convolutions(
    network: MaskFormer, wanted: bool = True, min_channels: int = _MIN_CHANNELS
) -> Iterator[None]:
    """Within it, a graph that is traced of the network does the convolutions by Winograd's method that it suits.

    Args:
        network: Built. Unchanged afterwards.
        wanted: False does nothing.
        min_channels: Of the input and of the output of such a convolution.
    """
    layers = [layer for layer in network.convolutions if wanted and suits_winograd(layer, min_channels)]
    try:
        for layer in layers:
            layer.convolve_by = winograd.convolve
        yield
    finally:
        for layer in layers:
            layer.convolve_by = None


@contextlib.contextmanager
def constant_kernels(network: MaskFormer, with_winograd: bool = True) -> Iterator[list[keras.Variable]]:
    """Within it, a graph of the network reads kernels that were scaled and summed once, and not at every call.

    For graphs that are traced here and whose weights change no more: they do not see what is assigned to the network.

    Args:
        network: Built. Unchanged afterwards.
        with_winograd: Whether the graphs are those of `winograd_convolutions`.

    Yields:
        All variables that such a graph reads.
    """
    replaced: set[int] = set()
    constants: list[keras.Variable] = []
    layers = []
    try:
        for layer in network.convolutions:
            is_frozen = isinstance(layer.norm, FrozenBatchNorm)
            # A convolution without a norm is that of the masks, whose kernel is also read elsewhere.
            is_summed = with_winograd and layer.norm is not None and suits_winograd(layer)
            if not (is_frozen or is_summed):
                continue
            folded = layer.fold(layer.compute_dtype)
            kernel = _constant(layer, winograd.sum_taps(folded.kernel) if is_summed else folded.kernel)
            shift = None if folded.shift is None else _constant(layer, folded.shift)
            layers.append(layer)
            layer.folded = FoldedKernel(kernel, shift)
            replaced |= {id(variable) for variable in (layer.variables if is_frozen else [layer.kernel])}
            constants += [variable for variable in (kernel, shift) if variable is not None]
        yield [variable for variable in network.variables if id(variable) not in replaced] + constants
    finally:
        for layer in layers:
            layer.folded = None


def _constant(layer: ConvNorm, value) -> keras.Variable:
    return keras.Variable(value, dtype=layer.compute_dtype, trainable=False)
