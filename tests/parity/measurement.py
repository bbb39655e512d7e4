"""What our code computes for a golden folder, in the official code's names and axes: what the rows are made from."""

from __future__ import annotations

import dataclasses

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass
class Measurement:
    """A whole trajectory of a model of any family, as plain arrays.

    Attributes:
        num_parameters: Trained numbers.
        outputs: Every tensor of the forward pass at step 0 that the golden folder names, channels first.
        queries: Per layer, `[batch, targets]`: the query that each target was matched with at step 0, -1 for none.
        steps: Every loss term, `total` and `grad_norm`, before each update.
        gradients: Unclipped gradient of every trained parameter at step 0.
        groups: Learning rate and weight decay of every trained parameter.
        final: Every trained parameter after the last update.
        exact_losses: Loss terms on every pixel centre before the first update, of a family that samples points.
        maps: Label maps by name, of which a few pixels may differ.
        given: Names in the folder's outputs that are inputs.
        parts: How many of our variables a parameter stacks (3: query, key and value); 1 where it is not named.
    """

    num_parameters: int
    outputs: Arrays
    queries: list[np.ndarray]
    steps: list[dict[str, float]]
    gradients: Arrays
    groups: dict[str, tuple[float, float]]
    final: Arrays
    parts: dict[str, int]
    exact_losses: dict[str, float] = dataclasses.field(default_factory=dict)
    maps: Arrays = dataclasses.field(default_factory=dict)
    given: frozenset[str] = frozenset()


def split_parts(arrays: Arrays, parts: dict[str, int]) -> Arrays:
    """Splits stacked parameters: query, key and value are parameters of their own, `name[0]` to `name[2]`.

    A softmax does not see a bias of its keys, so the gradient of that third is rounding error alone.
    """
    split: Arrays = {}
    for name, array in arrays.items():
        count = parts.get(name, 1)
        if count == 1:
            split[name] = array
        else:
            split |= {f"{name}[{index}]": part for index, part in enumerate(np.split(array, count))}
    return split
