"""Fits a published ViT's patch embedding and positions to other patches and sizes, as timm does when it loads one.

DINOv2 was trained on patches of 14 px in a square of 37 x 37; EoMT reads patches of 16 px, and 40 x 40 of them.
Positions are resized. The patch embedding is chosen so that a resized patch gives what the patch itself gave (FlexiViT,
arXiv:2212.08013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from maskformer_model.pretrained.eomt.names import BACKBONE

_POSITIONS, _CLASS_TOKEN = f"{BACKBONE}.pos_embed", f"{BACKBONE}.cls_token"
_EMBEDDINGS = (f"{BACKBONE}.patch_embed.proj.weight", f"{BACKBONE}.patch_embed.patch_embeddings.weight")


def fitted(arrays: Mapping[str, np.ndarray], patch_size: int, grid: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Returns a ViT's arrays for patches of that size and that many rows and columns of them.

    A position of the class token, which EoMT has not, is added to the token.

    Args:
        arrays: Official name -> array.
        patch_size: Edge of a patch in px.
        grid: Rows and columns of patches.
    """
    arrays = dict(arrays)
    for name in _EMBEDDINGS:
        if name in arrays and arrays[name].shape[-1] != patch_size:
            arrays[name] = resampled_patches(arrays[name], patch_size)
    if _POSITIONS not in arrays:
        return arrays
    positions = arrays[_POSITIONS]
    edge = math.isqrt(positions.shape[1])
    if edge * edge + 1 == positions.shape[1]:
        arrays[_CLASS_TOKEN] = arrays[_CLASS_TOKEN] + positions[:, :1]
        positions = positions[:, 1:]
    if edge * edge == positions.shape[1] and grid != (edge, edge):
        rows, columns = (bicubic_matrix(edge, length) for length in grid)
        table = positions.reshape(edge, edge, -1).astype(np.float64)
        resized = np.einsum("yh,hwc,xw->yxc", rows, table, columns)
        positions = resized.reshape(1, math.prod(grid), -1).astype(np.float32)
    return {**arrays, _POSITIONS: positions}


def resampled_patches(kernel: np.ndarray, patch_size: int) -> np.ndarray:
    """Returns `[dim, channels, patch, patch]` for another patch size."""
    inverse = np.linalg.pinv(bicubic_matrix(kernel.shape[-1], patch_size).T)
    return np.einsum("yh,dchw,xw->dcyx", inverse, kernel.astype(np.float64), inverse).astype(np.float32)


def bicubic_matrix(length: int, new_length: int) -> np.ndarray:
    """Returns `[new_length, length]` float64: bicubic resizing with antialiasing, as Pillow and PyTorch do it."""
    scale = length / new_length
    stretch = max(scale, 1.0)
    centres = scale * (np.arange(new_length) + 0.5)
    distances = np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / stretch
    near = ((1.5 * distances - 2.5) * distances) * distances + 1.0
    far = ((-0.5 * distances + 2.5) * distances - 4.0) * distances + 2.0
    weights = np.where(distances < 1, near, np.where(distances < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)
