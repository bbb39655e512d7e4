"""Folds frozen norms into the convolutions before them, for graphs whose weights no longer change.

Such a graph reads a kernel that was scaled once, where `ConvNorm` scales it at every call. The results are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from maskformer_model.modeling.layers.convolution import FoldedKernel, FrozenBatchNorm
from maskformer_model.modeling.maskformer import MaskFormer


@contextlib.contextmanager
def frozen_norms_folded(network: MaskFormer) -> Iterator[list[keras.Variable]]:
    """Lets a graph that is traced inside the context read kernels with their frozen norms folded in.

    Such a graph does not see values that are assigned to the network afterwards. The network keeps no trace of the
    context. Only one thread may trace the network at a time.

    Args:
        network: The built network.

    Yields:
        All variables that such a graph reads.
    """
    layers = [layer for layer in network.convolutions() if isinstance(layer.norm, FrozenBatchNorm)]
    replaced = {id(variable) for layer in layers for variable in layer.variables}
    variables = [variable for variable in network.variables if id(variable) not in replaced]
    try:
        for layer in layers:
            folded = layer.fold(keras.backend.result_type(layer.compute_dtype, "float32"))
            constants = [
                keras.Variable(value, dtype=layer.compute_dtype, trainable=False)
                for value in (folded.kernel, folded.shift)
            ]
            layer.folded = FoldedKernel(*constants)
            variables += constants
        yield variables
    finally:
        for layer in layers:
            layer.folded = None
