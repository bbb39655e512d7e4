"""The picture and the targets that both sides of a comparison compute on."""

from __future__ import annotations

from typing import Any

SIZE_PX, NUM_TARGETS, NUM_CLASSES = 640, 12, 133


def scene() -> tuple[Any, Any, Any]:
    """Returns `[1, 640, 640, 3]` uint8, `[1, 640, 640]` uint8 of target numbers from 1, `[1, 12]` int32 of classes."""
    import numpy as np

    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (1, SIZE_PX // 16, SIZE_PX // 16, 3))
    image = np.clip(np.kron(blocks, np.ones((1, 16, 16, 1))) + rng.normal(0, 20, (1, SIZE_PX, SIZE_PX, 3)), 0, 255)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    centres = rng.integers(0, SIZE_PX, (NUM_TARGETS, 2))
    distance = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in centres]
    segment_map = (np.argmin(distance, axis=0) + 1).astype(np.uint8)[None]
    return image.astype(np.uint8), segment_map, rng.integers(0, NUM_CLASSES, (1, NUM_TARGETS)).astype(np.int32)
