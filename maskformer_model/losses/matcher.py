"""The one-to-one match of queries and targets that the losses are computed on (arXiv:2107.06278, section 3.2).

A query pays for a target `-probability of its class + 20 * focal + 1 * dice`, the two mask terms at the resolution of
the prediction, to which the truth is taken down as PyTorch's nearest rule does (official `matcher.py`). The weights of
the official recipe are the defaults. The assignment itself is in `linear_assignment.py`, the loss of a matched pair in
`criterion.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.losses import linear_assignment

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2


def match(
    class_logits, mask_logits, segment_map, segment_classes, *, class_weight=1.0, mask_weight=20.0, dice_weight=1.0
):
    """Finds the query of each target. No gradient flows.

    Args:
        class_logits: `[batch, queries, classes + 1]` float, the last class is "no object".
        mask_logits: `[batch, queries, height, width]` float, unbounded.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        segment_classes: `[batch, targets]` int32 class index, -1 for padding.
        class_weight: what a class probability of 1 earns.
        mask_weight: price of the focal term.
        dice_weight: price of the dice term.

    Returns:
        `[batch, targets]` int32 index of the query, -1 for padding and for targets beyond the number of queries.
    """
    target_masks = downsampled_targets(segment_map, ops.shape(mask_logits)[2:], segment_classes.shape[1])
    cost = matching_cost(
        class_logits,
        mask_logits,
        target_masks,
        segment_classes,
        class_weight=class_weight,
        mask_weight=mask_weight,
        dice_weight=dice_weight,
    )
    return linear_assignment.linear_sum_assignment(cost, segment_classes >= 0)


def matching_cost(
    class_logits,
    mask_logits,
    target_masks,
    segment_classes,
    *,
    class_weight=1.0,
    mask_weight=20.0,
    dice_weight=1.0,
    pixel_loss="focal",
):
    """Returns what each pair of query and target would cost, in float32. No gradient flows.

    Args:
        class_logits: `[batch, queries, classes + 1]` float.
        mask_logits: `[batch, queries, ...]` float, its pixels or points in any number of axes.
        target_masks: `[batch, pixels, targets]` float32 in {0, 1} (or between, where points are sampled).
        segment_classes: `[batch, targets]` int32, -1 for padding.
        class_weight: what a class probability of 1 earns.
        mask_weight: price of the pixel term.
        dice_weight: price of the dice term.
        pixel_loss: the pixel term, a key of `PAIRWISE_LOSSES`.

    Returns:
        `[batch, queries, targets]` float32; NaN or infinite where a logit was. Columns of padding mean nothing.
    """
    class_logits = ops.cast(ops.stop_gradient(class_logits), precise_dtype())
    mask_logits = ops.cast(ops.stop_gradient(mask_logits), precise_dtype())
    shape = ops.shape(mask_logits)
    mask_logits = ops.reshape(mask_logits, (shape[0], shape[1], -1))
    probability = _probability_of(ops.softmax(class_logits, axis=-1), segment_classes)
    pixels = PAIRWISE_LOSSES[pixel_loss](mask_logits, target_masks)
    dice = pairwise_dice(mask_logits, target_masks)
    return mask_weight * pixels + dice_weight * dice - class_weight * probability


def _probability_of(class_probs, segment_classes):
    """`[batch, queries, classes + 1]` and `[batch, targets]` -> `[batch, queries, targets]`; padding reads class 0."""
    classes = ops.expand_dims(ops.maximum(ops.cast(segment_classes, "int32"), 0), 1)
    classes = ops.broadcast_to(classes, (*ops.shape(class_probs)[:2], ops.shape(classes)[2]))
    return ops.take_along_axis(class_probs, classes, axis=2)


def pairwise_focal(mask_logits, target_masks):
    """Computes the mean focal loss over pixels of every mask and target (alpha 0.25, gamma 2; arXiv:1708.02002).

    Args:
        mask_logits: `[batch, queries, pixels]` float32.
        target_masks: `[batch, pixels, targets]` float32 in 0..1.

    Returns:
        `[batch, queries, targets]` float32, at least 0.
    """
    probs = ops.sigmoid(mask_logits)
    loss_of_zero = ops.softplus(mask_logits)  # Cross entropy where the target is 0; minus the logit where it is 1.
    if_one = FOCAL_ALPHA * ops.square(1.0 - probs) * (loss_of_zero - mask_logits)
    if_zero = (1.0 - FOCAL_ALPHA) * ops.square(probs) * loss_of_zero
    total = ops.matmul(if_one - if_zero, target_masks) + ops.sum(if_zero, axis=2, keepdims=True)
    return total / ops.cast(ops.shape(mask_logits)[2], precise_dtype())


def pairwise_cross_entropy(mask_logits, target_masks):
    """Computes the mean binary cross-entropy over pixels for every pair of mask and target.

    Args:
        mask_logits: `[batch, queries, pixels]` float32.
        target_masks: `[batch, pixels, targets]` float32 in 0..1.

    Returns:
        `[batch, queries, targets]` float32, at least 0.
    """
    # A pixel costs softplus(logit) where the target is 0, and the logit less where it is 1.
    total = ops.sum(ops.softplus(mask_logits), axis=2, keepdims=True) - ops.matmul(mask_logits, target_masks)
    return total / ops.cast(ops.shape(mask_logits)[2], precise_dtype())


PAIRWISE_LOSSES = {"focal": pairwise_focal, "cross_entropy": pairwise_cross_entropy}


def pairwise_dice(mask_logits, target_masks):
    """Computes one minus the smoothed Dice overlap of every pair of mask and target.

    Args:
        mask_logits: `[batch, queries, pixels]` float32.
        target_masks: `[batch, pixels, targets]` float32 in 0..1.

    Returns:
        `[batch, queries, targets]` float32 in [0, 1).
    """
    probs = ops.sigmoid(mask_logits)
    overlap = 2.0 * ops.matmul(probs, target_masks)
    total = ops.sum(probs, axis=2, keepdims=True) + ops.sum(target_masks, axis=1, keepdims=True)
    return 1.0 - (overlap + 1.0) / (total + 1.0)


def downsampled_targets(segment_map, size, num_targets):
    """Resizes every target to the size of the predicted masks, by the nearest pixel.

    Args:
        segment_map: `[batch, height, width]` integer, 0 for void, k for the k-th target.
        size: the new height and width, as numbers or scalar tensors.
        num_targets: how many targets, padding included.

    Returns:
        `[batch, new_height * new_width, num_targets]` float32 in {0, 1}.
    """
    height, width = ops.shape(segment_map)[1:]
    small = ops.take(segment_map, nearest_indices(height, size[0]), axis=1)
    small = ops.take(small, nearest_indices(width, size[1]), axis=2)
    small = ops.reshape(ops.cast(small, "int32"), (ops.shape(segment_map)[0], -1, 1))
    return ops.cast(small == ops.arange(1, num_targets + 1, dtype="int32"), precise_dtype())


def nearest_indices(length, new_length):
    """Which of `length` samples each of `new_length` shows: PyTorch's rule, `floor(index * length / new_length)`.

    The scale is rounded to float32 first, as PyTorch does. (`tf.image.resize` samples at pixel centres instead.)

    Args:
        length: samples there are, as number or scalar tensor.
        new_length: samples wanted, as number or scalar tensor.

    Returns:
        `[new_length]` int32 in `0..length-1`.
    """
    scale = ops.cast(length, "float32") / ops.cast(new_length, "float32")
    index = ops.floor(ops.cast(ops.arange(new_length, dtype="int32"), "float32") * scale)
    return ops.minimum(ops.cast(index, "int32"), ops.cast(length, "int32") - 1)
