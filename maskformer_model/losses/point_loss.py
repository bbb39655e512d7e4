"""Mask losses on sampled points instead of all pixels, to save memory (arXiv:2112.01527, section 3.3; PointRend).

The matcher looks at points drawn evenly over the image, the same for all masks of the image. The loss looks at points
of each mask's own: from three times as many, those where the mask is least certain, and some drawn evenly. Points are
`(x, y)` in 0..1 from the top left corner, and masks are read between pixel centres bilinearly, as 0 outside. The exact
loss is in `mask_loss.py`; this one is an option, not the objective of the paper.
"""

from __future__ import annotations

import keras
from keras import ops

from maskformer_model.losses.mask_loss import dice_loss, focal_loss

OVERSAMPLING = 3
UNCERTAIN_SHARE = 0.75


def point_mask_loss_sums(mask_logits, segment_map, matched_query, num_points, seed_generator):
    """Focal and dice loss of every matched mask on points of its own, summed over the masks.

    Args:
        mask_logits: `[batch, queries, height, width]` float32, unbounded.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        matched_query: `[batch, targets]` int32 from the matcher, -1 for none.
        num_points: how many points a mask is looked at.
        seed_generator: a `keras.random.SeedGenerator`.

    Returns:
        `[2]` float32: the focal and the dice sum; 0 where nothing is matched.
    """
    batch, targets = ops.shape(matched_query)
    shape = ops.shape(mask_logits)
    first = ops.expand_dims(ops.arange(batch, dtype="int32") * shape[1], 1)
    row = ops.reshape(first + ops.maximum(matched_query, 0), (-1,))
    logits = ops.take(ops.reshape(mask_logits, (-1, *shape[2:])), row, axis=0)
    points = uncertain_points(ops.stop_gradient(logits), num_points, seed_generator)
    truth = sample_targets(segment_map, ops.reshape(points, (batch, targets, num_points, 2)), targets)
    truth = ops.reshape(truth, (-1, num_points))
    sampled = sample_masks(ops.expand_dims(logits, 1), points)[:, 0]
    is_pair = ops.reshape(ops.cast(matched_query >= 0, "float32"), (-1,))
    return ops.stack([ops.sum(is_pair * loss(sampled, truth)) for loss in (focal_loss, dice_loss)])


def uncertain_points(mask_logits, num_points, seed_generator):
    """Draws points for each mask, three quarters of them where its logit is nearest to 0.

    Args:
        mask_logits: `[masks, height, width]` float32.
        num_points: how many for each mask.
        seed_generator: a `keras.random.SeedGenerator`.

    Returns:
        `[masks, num_points, 2]` float32 in 0..1, x and y.
    """
    masks = ops.shape(mask_logits)[0]
    candidates = keras.random.uniform((masks, OVERSAMPLING * num_points, 2), seed=seed_generator)
    certainty = ops.abs(sample_masks(ops.expand_dims(mask_logits, 1), candidates)[:, 0])
    num_uncertain = int(UNCERTAIN_SHARE * num_points)
    _, chosen = ops.top_k(-certainty, num_uncertain)
    uncertain = ops.take_along_axis(candidates, ops.expand_dims(chosen, 2), axis=1)
    anywhere = keras.random.uniform((masks, num_points - num_uncertain, 2), seed=seed_generator)
    return ops.concatenate([uncertain, anywhere], axis=1)


def even_points(batch_size, num_points, seed_generator):
    """Draws points evenly: `[batch_size, num_points, 2]` float32 in 0..1, x and y."""
    return keras.random.uniform((batch_size, num_points, 2), seed=seed_generator)


def sample_masks(masks, points):
    """Reads masks at points, bilinearly.

    Args:
        masks: `[batch, masks, height, width]` float32.
        points: `[batch, points, 2]` float32 in 0..1, the same for all masks of a batch element.

    Returns:
        `[batch, masks, points]` float32.
    """
    batch, num_masks, height, width = ops.shape(masks)
    flat = ops.reshape(masks, (batch, num_masks, height * width))
    total = 0.0
    for index, weight in _corners(points, height, width):
        index = ops.broadcast_to(ops.expand_dims(index, 1), (batch, num_masks, ops.shape(index)[1]))
        total = total + ops.expand_dims(weight, 1) * ops.take_along_axis(flat, index, axis=2)
    return total


def sample_targets(segment_map, points, num_targets):
    """Reads the mask of each target at points, bilinearly.

    Args:
        segment_map: `[batch, height, width]` integer, 0 for void, k for the k-th target.
        points: `[batch, num_targets, points, 2]` float32 in 0..1, or with a 1 in place of `num_targets`, to read all
            masks at the same points.
        num_targets: how many targets, padding included.

    Returns:
        `[batch, num_targets, points]` float32 in 0..1.
    """
    shape = ops.shape(points)[:3]
    height, width = ops.shape(segment_map)[1:]
    flat = ops.reshape(ops.cast(segment_map, "int32"), (shape[0], -1))
    number = ops.reshape(ops.arange(1, num_targets + 1, dtype="int32"), (1, -1, 1))
    total = 0.0
    for index, weight in _corners(ops.reshape(points, (shape[0], -1, 2)), height, width):
        found = ops.reshape(ops.take_along_axis(flat, index, axis=1), shape)
        weight = ops.reshape(weight, shape)
        total = total + ops.where(found == number, weight, 0.0)
    return total


def _corners(points, height, width):
    """Yields the four pixels around every point: flat index and weight, each `[batch, points]`; outside weighs 0."""
    x = points[:, :, 0] * ops.cast(width, "float32") - 0.5
    y = points[:, :, 1] * ops.cast(height, "float32") - 0.5
    left, top = ops.floor(x), ops.floor(y)
    for column, x_weight in ((left, left + 1.0 - x), (left + 1.0, x - left)):
        for row, y_weight in ((top, top + 1.0 - y), (top + 1.0, y - top)):
            column_index, row_index = ops.cast(column, "int32"), ops.cast(row, "int32")
            inside = (column_index >= 0) & (column_index < width) & (row_index >= 0) & (row_index < height)
            index = ops.clip(row_index, 0, height - 1) * width + ops.clip(column_index, 0, width - 1)
            yield index, ops.where(inside, x_weight * y_weight, 0.0)
