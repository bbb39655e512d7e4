"""The correspondence between a PyTorch model's named weights and our variables, used in both directions.

A table is a list of `Weight`s, made by walking our model (`maskformer_names`, `efficientnet_weights`). Reading a
checkpoint through it either uses every array or says which are left over and which are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


class CheckpointMismatchError(ValueError):
    """A checkpoint and a model do not fit: arrays left over, missing, or of the wrong shape."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one foreign array becomes one or several of ours.

    Attributes:
        axes: The foreign axis that each of our axes takes its values from.
        parts: The foreign array is this many of ours, stacked along its first axis.
        leading: So many axes of length 1, which ours lack, stand in front of the foreign array's others.
    """

    axes: tuple[int, ...]
    parts: int = 1
    leading: int = 0

    def to_ours(self, array: np.ndarray) -> list[np.ndarray]:
        """Our arrays, from the foreign one."""
        array = array.reshape(array.shape[self.leading :])
        return [part.transpose(self.axes) for part in np.split(array, self.parts)]

    def from_ours(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the foreign array, from ours."""
        array = np.concatenate([array.transpose(np.argsort(self.axes)) for array in arrays])
        return array.reshape((1,) * self.leading + array.shape)


VECTOR = Layout((0,))
TABLE = Layout((0, 1))  # A matrix that both sides index in the same order, such as an embedding.
TOKENS = Layout((0, 1), leading=1)  # The same, for a batch of one.
LINEAR = Layout((1, 0))  # [out, in] -> [in, out].
CONVOLUTION = Layout((2, 3, 1, 0))  # [out, in, height, width] -> [height, width, in, out].
DEPTHWISE = Layout((2, 3, 0, 1))  # [channels, 1, height, width] -> [height, width, channels, 1].
GATED_LINEAR, GATED_VECTOR = Layout((1, 0), parts=2), Layout((0,), parts=2)
QKV_LINEAR = Layout((1, 0), parts=3)
QKV_VECTOR = Layout((0,), parts=3)


@dataclasses.dataclass(frozen=True)
class Weight:
    """One foreign weight and the Keras variables that hold it.

    Attributes:
        name: In the foreign state dict.
        variables: Ours, in the order of the layout's parts.
        layout: See `Layout`.
    """

    name: str
    variables: tuple[Any, ...]
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the foreign array."""
        ours = self.variables[0].shape
        first, *rest = (ours[self.layout.axes.index(axis)] for axis in range(len(ours)))
        return (*(1,) * self.layout.leading, first * self.layout.parts, *rest)

    def assign(self, array: np.ndarray) -> None:
        """Writes a foreign array of `shape` into our variables."""
        for variable, part in zip(self.variables, self.layout.to_ours(array), strict=True):
            variable.assign(part)

    def read(self, values: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Returns the foreign array for `values`, one per variable: by default what the variables hold."""
        from keras import ops

        if values is None:
            values = [ops.convert_to_numpy(variable.value) for variable in self.variables]
        return self.layout.from_ours([np.asarray(value) for value in values])


def weights_of(name: str, layer: Any, kernel_layout: Layout) -> list[Weight]:
    """`name.weight` and, where the layer has a bias, `name.bias` of a convolution or dense layer."""
    found = [Weight(f"{name}.weight", (layer.kernel,), kernel_layout)]
    if layer.bias is not None:
        found.append(Weight(f"{name}.bias", (layer.bias,), VECTOR))
    return found


def norm_weights_of(name: str, layer: Any) -> list[Weight]:
    """Scale and offset of a normalisation layer and, where it has them, its running statistics."""
    found = [Weight(f"{name}.weight", (layer.gamma,), VECTOR), Weight(f"{name}.bias", (layer.beta,), VECTOR)]
    if hasattr(layer, "moving_mean"):
        found.append(Weight(f"{name}.running_mean", (layer.moving_mean,), VECTOR))
        found.append(Weight(f"{name}.running_var", (layer.moving_variance,), VECTOR))
    return found


def conv_norm_weights_of(name: str, layer: Any) -> list[Weight]:
    """Kernel, and bias or norm, of a `ConvNorm`."""
    found = [Weight(f"{name}.weight", (layer.kernel,), CONVOLUTION)]
    if layer.use_bias:
        found.append(Weight(f"{name}.bias", (layer.bias,), VECTOR))
    if layer.norm is not None:
        found += norm_weights_of(f"{name}.norm", layer.norm)
    return found


def attention_weights_of(prefix: str, attention: Any) -> list[Weight]:
    """Query, key and value in one, as PyTorch has them, and the output projection of an `Attention`."""
    projections = (attention.query, attention.key, attention.value)
    return [
        Weight(f"{prefix}.in_proj_weight", tuple(layer.kernel for layer in projections), QKV_LINEAR),
        Weight(f"{prefix}.in_proj_bias", tuple(layer.bias for layer in projections), QKV_VECTOR),
        *weights_of(f"{prefix}.out_proj", attention.output_projection, LINEAR),
    ]


def write_weights(table: Iterable[Weight], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes every array into the variables that it belongs to.

    Args:
        table: The model's weights; each must be in `arrays`.
        arrays: Foreign name -> array; each must be in `table`.

    Raises:
        CheckpointMismatchError: naming every array that is left over, missing or of the wrong shape; nothing is
            written then.
    """
    by_name = {weight.name: weight for weight in table}
    left_over = sorted(set(arrays) - set(by_name))
    missing = sorted(set(by_name) - set(arrays))
    misshapen = [
        f"{name} {arrays[name].shape} for {weight.shape}"
        for name, weight in by_name.items()
        if name in arrays and arrays[name].shape != weight.shape
    ]
    if left_over or missing or misshapen:
        raise CheckpointMismatchError(
            "Every array of the checkpoint must belong to a weight of the model, and the other way round. "
            f"Left over: {_listing(left_over)}. Missing: {_listing(missing)}. Wrong shape: {_listing(misshapen)}."
        )
    for name, weight in by_name.items():
        weight.assign(arrays[name])


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
