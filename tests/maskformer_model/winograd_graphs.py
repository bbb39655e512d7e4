"""How a test sees whether a graph does convolutions by Winograd's method."""

from __future__ import annotations

from maskformer_model.winograd import NUM_PRODUCTS


def num_winograd_convolutions(graph) -> int:
    """Convolutions of a `tf.Graph` that have as many groups as a tile has products."""
    convolutions = [op for op in graph.get_operations() if op.type == "Conv2D"]
    return sum(op.inputs[0].shape[-1] == NUM_PRODUCTS * op.inputs[1].shape[-2] for op in convolutions)
