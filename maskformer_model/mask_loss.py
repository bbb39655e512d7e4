"""Focal and dice loss of matched masks at full resolution (arXiv:2107.06278, section 3.2; official `criterion.py`).

Predicted masks are enlarged to the size of the padded image, bilinearly with pixel centres at one half, and compared
there with the truth pixel by pixel. Value and gradient are computed in one pass, in closed form: what is kept for the
backward pass are gradients of the size of the prediction, never maps of the size of the image. Which mask belongs to
which target is decided in `matcher.py`; sums over masks and their normalisation are in `losses.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.bilinear import bilinear_matrix
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
    truth = ops.take(segment_map, image_index, axis=0)
    truth = ops.equal(truth, ops.cast(ops.reshape(target_index + 1, (-1, 1, 1)), segment_map.dtype))
    is_pair = ops.cast(target_index >= 0, "float32")

    @ops.custom_gradient
    def weighted(logits):
        losses, gradients = _losses_and_gradients(logits, truth)

        def gradient(*args, upstream=None):
            # TensorFlow and JAX pass what flows back by position, PyTorch by name.
            flow = args[0] if upstream is None else upstream
            return sum(ops.reshape(flow[row], (-1, 1, 1)) * gradients[row] for row in (0, 1))

        return ops.stack(losses), gradient

    both = weighted(mask_logits) * is_pair
    return both[0], both[1]


def _losses_and_gradients(logits, truth):
    """Focal and dice loss `[pairs]` and their gradients by the logits `[pairs, height, width]`."""
    (height, width), (full_height, full_width) = ops.shape(logits)[1:], ops.shape(truth)[1:]
    rows, columns = bilinear_matrix(height, full_height), bilinear_matrix(width, full_width)
    sign = 1.0 - 2.0 * ops.cast(truth, "float32")
    # Everything is told by the logit of the wrong answer and its probability.
    wrong_logits = sign * ops.matmul(ops.matmul(rows, logits), ops.transpose(columns))
    wrong = ops.sigmoid(wrong_logits)
    right = 1.0 - wrong
    cross_entropy = ops.softplus(wrong_logits)
    num_pixels = ops.cast(full_height * full_width, "float32")
    scale = (0.5 + (0.5 - FOCAL_ALPHA) * sign) / num_pixels  # alpha / pixels on the target, (1 - alpha) / pixels off.
    weighted = scale * ops.square(wrong)
    focal = ops.sum(weighted * cross_entropy, axis=(1, 2))
    focal_slope = weighted * (2.0 * right * cross_entropy + wrong) * sign
    area = ops.sum(ops.cast(truth, "float32"), axis=(1, 2))
    overlap = ops.sum(ops.where(truth, right, 0.0), axis=(1, 2))
    total = area + overlap + ops.sum(ops.where(truth, 0.0, wrong), axis=(1, 2)) + 1.0
    dice = 1.0 - (2.0 * overlap + 1.0) / total
    off_slope = ops.reshape((2.0 * overlap + 1.0) / ops.square(total), (-1, 1, 1))
    on_slope = off_slope - ops.reshape(2.0 / total, (-1, 1, 1))
    dice_slope = ops.where(truth, on_slope, off_slope) * wrong * right
    reduced = [ops.matmul(ops.matmul(ops.transpose(rows), slope), columns) for slope in (focal_slope, dice_slope)]
    return (focal, dice), reduced
