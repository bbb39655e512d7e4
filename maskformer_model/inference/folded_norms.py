"""The convolutions of a network in graphs that answer photos: the same results, but for rounding, sooner.

Wide 3x3 convolutions are done by Winograd's method (`winograd`), and an export holds kernels in the form that is read:
frozen norms folded in, filters transformed. Layers are told so while a graph is traced, by one thread at a time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maskformer_model import winograd
from maskformer_model.config import InferenceConfig
from maskformer_model.export.assets import DIRECT, WINOGRAD
from maskformer_model.modeling.layers.convolution import ConvNorm, FoldedKernel, FrozenBatchNorm
from maskformer_model.modeling.maskformer import MaskFormer

_Form = Callable[[Any], FoldedKernel]

# With fewer channels the transforms of Winograd's method cost what its products save; and a kernel of more elements
# belongs to a map that is too small to pay for a kernel of twice the size.
_MIN_CHANNELS = 256
_MAX_KERNEL_ELEMENTS = 1 << 20


def uses_winograd(config: InferenceConfig) -> bool:
    """What `config.convolution_method` means in this process."""
    device_types = [device.device_type for device in tf.config.list_physical_devices()]
    return chosen_method(config.convolution_method, device_types) == WINOGRAD


def chosen_method(convolution_method: str, device_types: Iterable[str]) -> str:
    """ "direct" or "winograd"; "auto" is "winograd" where TensorFlow sees nothing but processors."""
    if convolution_method == "auto":
        return WINOGRAD if set(device_types) <= {"CPU"} else DIRECT
    return convolution_method


def allows_winograd(layer: ConvNorm) -> bool:
    """Whether Winograd's method gives a convolution's results."""
    return (layer.kernel_size, layer.stride, layer.dilation, layer.compute_dtype) == (3, 1, 1, "float32")


def suits_winograd(layer: ConvNorm) -> bool:
    """Whether it also does so sooner."""
    shape = layer.kernel.shape
    is_wide = min(shape[-2:]) >= _MIN_CHANNELS and np.prod(shape) <= _MAX_KERNEL_ELEMENTS
    return bool(is_wide) and allows_winograd(layer)


@contextlib.contextmanager
def winograd_convolutions(
    network: MaskFormer, enabled: bool = True, suits: Callable[[ConvNorm], bool] = suits_winograd
) -> Iterator[None]:
    """Within it, a graph that is traced of the network does convolutions by Winograd's method.

    A layer that `constant_kernels` gave a form keeps it.

    Args:
        network: Built. Unchanged afterwards.
        enabled: False does nothing.
        suits: Which of the convolutions that allow it.
    """
    layers = [
        layer
        for layer in network.convolutions()
        if enabled and layer.form is None and allows_winograd(layer) and suits(layer)
    ]
    with _given_forms([(layer, functools.partial(_winograd_form, layer)) for layer in layers]):
        yield


@contextlib.contextmanager
def constant_kernels(network: MaskFormer, with_winograd: bool = True) -> Iterator[list[keras.Variable]]:
    """Within it, a graph of the network reads kernels that were scaled and transformed once, and not at every call.

    For graphs that are traced here and whose weights change no more: they do not see what is assigned to the network.

    Args:
        network: Built. Unchanged afterwards.
        with_winograd: Whether convolutions that `suits_winograd` are done so.

    Yields:
        All variables that such a graph reads.
    """
    forms: list[tuple[ConvNorm, _Form]] = []
    replaced: set[int] = set()
    constants: list[keras.Variable] = []
    for layer in network.convolutions():
        frozen = layer.norm.variables if isinstance(layer.norm, FrozenBatchNorm) else []
        # A convolution without a norm is that of the masks, whose kernel is also read elsewhere.
        is_transformed = with_winograd and layer.norm is not None and suits_winograd(layer)
        if frozen or is_transformed:
            dtype = layer.compute_dtype
            folded = _winograd_form(layer, dtype) if is_transformed else layer.fold(dtype)
            form = FoldedKernel(_constant(folded.kernel), _constant(folded.shift), folded.convolve)
            forms.append((layer, _always(form)))
            replaced |= {id(variable) for variable in (layer.kernel, *frozen)}
            constants += [value for value in (form.kernel, form.shift) if value is not None]
    with _given_forms(forms):
        yield [variable for variable in network.variables if id(variable) not in replaced] + constants


@contextlib.contextmanager
def _given_forms(forms: Sequence[tuple[ConvNorm, _Form]]) -> Iterator[None]:
    before = [layer.form for layer, _ in forms]
    try:
        for layer, form in forms:
            layer.form = form
        yield
    finally:
        for (layer, _), earlier in zip(forms, before, strict=True):
            layer.form = earlier


def _winograd_form(layer: ConvNorm, dtype) -> FoldedKernel:
    folded = layer.fold(dtype)
    return FoldedKernel(winograd.transform_filter(folded.kernel), folded.shift, winograd.convolve)


def _always(form: FoldedKernel) -> _Form:
    return lambda dtype: form


def _constant(value) -> keras.Variable | None:
    return None if value is None else keras.Variable(value, dtype=value.dtype, trainable=False)
