"""The mask product: per-query embeddings and per-pixel embeddings -> mask logits (arXiv:2107.06278, section 3.3)."""

from __future__ import annotations

from keras import ops


def mask_product(embeddings, mask_features):
    """Mask logits of every query: how far its embedding agrees with each pixel's.

    Args:
        embeddings: `[batch, queries, mask_dim]` float.
        mask_features: `[batch, height, width, mask_dim]` float.

    Returns:
        `[batch, queries, height, width]`.
    """
    shape = ops.shape(mask_features)
    pixels = ops.reshape(mask_features, (shape[0], shape[1] * shape[2], shape[3]))
    mask_logits = ops.einsum("bqc,bpc->bqp", embeddings, pixels)
    return ops.reshape(mask_logits, (shape[0], ops.shape(embeddings)[1], shape[1], shape[2]))
