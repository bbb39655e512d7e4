"""Focal and dice loss of matched masks at full resolution (arXiv:2107.06278, section 3.2; official `criterion.py`).

Predicted masks are enlarged to the size of the padded image, bilinearly with pixel centres at one half, and compared
there with the truth pixel by pixel. Which mask belongs to which target is decided in `matcher.py`; sums over masks and
their normalisation are in `losses.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.matcher import FOCAL_ALPHA


def focal_loss(mask_logits, target_masks):
    """Focal loss of each mask, mean over its pixels (alpha 0.25, gamma 2; arXiv:1708.02002).

    Args:
        mask_logits: `[masks, pixels]` float32, unbounded.
        target_masks: `[masks, pixels]` float32 in 0..1.

    Returns:
        `[masks]` float32, at least 0.
    """
    probs = ops.sigmoid(mask_logits)
    cross_entropy = ops.softplus(mask_logits) - mask_logits * target_masks
    miss = probs + target_masks - 2.0 * probs * target_masks  # Probability of the wrong answer.
    alpha = (1.0 - FOCAL_ALPHA) + (2.0 * FOCAL_ALPHA - 1.0) * target_masks
    return ops.mean(alpha * ops.square(miss) * cross_entropy, axis=1)


def dice_loss(mask_logits, target_masks):
    """One minus the smoothed Dice overlap of each mask with its target.

    Args:
        mask_logits: `[masks, pixels]` float32, unbounded.
        target_masks: `[masks, pixels]` float32 in 0..1.

    Returns:
        `[masks]` float32 in [0, 1).
    """
    probs = ops.sigmoid(mask_logits)
    overlap = 2.0 * ops.sum(probs * target_masks, axis=1)
    total = ops.sum(probs, axis=1) + ops.sum(target_masks, axis=1)
    return 1.0 - (overlap + 1.0) / (total + 1.0)


def exact_mask_losses(mask_logits, segment_map, image_index, target_index):
    """Focal and dice loss of each matched mask against all pixels of its target.

    Args:
        mask_logits: `[pairs, height, width]` float32, the masks of the matched queries.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        image_index: `[pairs]` int32, the row of `segment_map` that a mask belongs to.
        target_index: `[pairs]` int32, its target in that image counted from 0, or -1: no pair, the losses are 0.

    Returns:
        Two `[pairs]` float32: focal and dice loss.
    """
    height, width = ops.shape(segment_map)[1:]
    full = ops.image.resize(
        ops.expand_dims(mask_logits, 3), (height, width), interpolation="bilinear", data_format="channels_last"
    )
    full = ops.reshape(full, (ops.shape(full)[0], -1))
    truth = ops.cast(ops.take(segment_map, image_index, axis=0), "int32")
    truth = truth == ops.reshape(target_index + 1, (-1, 1, 1))
    truth = ops.reshape(ops.cast(truth, "float32"), (ops.shape(full)[0], -1))
    is_pair = target_index >= 0
    return ops.where(is_pair, focal_loss(full, truth), 0.0), ops.where(is_pair, dice_loss(full, truth), 0.0)
