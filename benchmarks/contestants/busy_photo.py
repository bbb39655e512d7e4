"""What both sides of `end_to_end_latency` answer for: one photo, and networks that see twenty segments in it.

A network with random weights gives every query nearly the same answer, and nothing would be left to merge. So the last
layers of both heads lose what the queries share and are scaled up: classes differ, masks vary over the photo, and "no
object" gains what leaves `NUM_KEPT` queries, as many as a busy COCO photo has.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np

SIZE_PX = 640
NUM_CLASSES, NUM_THINGS = 133, 80
NUM_KEPT = 20
OBJECT_MASK_THRESHOLD, OVERLAP_THRESHOLD = 0.8, 0.1
CLASS_SPREAD, MASK_SPREAD = 10.0, 4.0


def photo_bytes() -> bytes:
    """Returns a JPEG with structure at every scale."""
    from PIL import Image

    random = np.random.default_rng(0)
    pixels = np.zeros((SIZE_PX, SIZE_PX, 3))
    for cells in (4, 16, 64):
        coarse = Image.fromarray(random.integers(0, 255, (cells, cells, 3), np.uint8))
        pixels += np.asarray(coarse.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)) / 3
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Change:
    """What a last layer's output `x` is turned into: `(x - shift) @ factor + gain`."""

    shift: np.ndarray
    factor: np.ndarray
    gain: np.ndarray


def class_change(logits: np.ndarray) -> Change:
    """Of the class head, whose output on the photo is `[queries, classes + 1]`."""
    shift = logits.mean(axis=0)
    scale = CLASS_SPREAD / (logits - shift).std()
    exps = np.exp(scale * (logits - shift))
    # What "no object" may have beside a class for that to be more probable than the threshold.
    room = np.maximum(exps[:, :-1].max(axis=1) / OBJECT_MASK_THRESHOLD - exps[:, :-1].sum(axis=1), 1e-30)
    margins = np.sort(np.log(room / exps[:, -1]))[::-1]
    gain = np.zeros_like(shift)
    gain[-1] = margins[NUM_KEPT - 1 : NUM_KEPT + 1].mean()
    return Change(shift, scale * np.eye(len(shift), dtype=np.float32), gain)


def mask_change(embeddings: np.ndarray, pixels: np.ndarray) -> Change:
    """Of the mask head: no query is everywhere likelier than the others.

    Args:
        embeddings: `[queries, channels]`, the head's output on the photo.
        pixels: `[pixels, channels]`, what masks are the product with.
    """
    shift = embeddings.mean(axis=0)
    mean = pixels.mean(axis=0)
    level = np.eye(len(mean), dtype=np.float32) - np.outer(mean, mean) / (mean @ mean)
    masks = (embeddings - shift) @ level @ pixels.T
    return Change(shift, level * np.float32(MASK_SPREAD / masks.std()), np.zeros_like(shift))
