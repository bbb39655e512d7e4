"""Computes mask losses on sampled points, to save memory (arXiv:2112.01527, section 3.3; PointRend).

The matcher looks at points drawn evenly over the image, the same for all masks of the image. The loss looks at points
of each mask's own: from some more, those where the mask is least certain, and some drawn evenly. Points are `(x, y)` in
0..1 from the top left corner, and masks are read between pixel centres bilinearly, as 0 outside. The exact loss is in
`mask_loss.py`.

Points come from a `Draw`. The reference draws, in each step, for the final prediction first and then for the others in
order: one set for each image for the matcher, then the loss's candidates ("oversampled"), then its even points
("random"); rows of the latter two are the matched pairs, image by image, by ascending query. A draw that gives these
numbers makes the losses the reference's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.compilation import compiled_for
from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import LossConfig
from maskformer_model.losses.mask_loss import cross_entropy_loss, dice_loss, focal_loss

# `(layer, kind, shape)` -> numbers in [0, 1) of that shape; kinds are "matcher", "oversampled" and "random". Of the
# last two it may give fewer rows: as many as there are matched pairs.
Draw = Callable[[int, str, tuple[Any, ...]], Any]
PIXEL_LOSSES = {"focal": focal_loss, "cross_entropy": cross_entropy_loss}


def random_draw(seed_generator: keras.random.SeedGenerator) -> Draw:
    """Draws evenly, new numbers at each call."""
    return lambda layer, kind, shape: keras.random.uniform(shape, seed=seed_generator)


def point_mask_loss_sums(mask_logits, segment_map, matched_query, config: LossConfig, draw: Draw, layer: int):
    """Computes pixel and dice loss of every matched mask on its own points, summed over the masks.

    Args:
        mask_logits: `[batch, queries, height, width]` float32, unbounded.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        matched_query: `[batch, targets]` int32 from the matcher, -1 for none.
        config: which pixel loss, how many points and how they are chosen.
        draw: where the points come from.
        layer: which prediction it is, for `draw`.

    Returns:
        `[2]` float32: the sum of pixel losses and of dice losses; 0 where nothing is matched.
    """
    image, target, query, is_pair = matched_pairs(matched_query, ops.shape(mask_logits)[1])
    shape = ops.shape(mask_logits)
    points = _loss_points(
        ops.take(ops.reshape(ops.stop_gradient(mask_logits), (-1, *shape[2:])), image * shape[1] + query, axis=0),
        config,
        draw,
        layer,
    )
    rows = ops.shape(points)[0]
    image, target, query, is_pair = (values[:rows] for values in (image, target, query, is_pair))
    sample = compiled_for(segment_map, sample_rows)
    sampled = sample(ops.reshape(mask_logits, (-1, *shape[2:])), image * shape[1] + query, points)
    truth = sample(segment_map, image, points, target + 1)
    pixel_loss = PIXEL_LOSSES[config.pixel_loss]
    return ops.stack([ops.sum(is_pair * loss(sampled, truth)) for loss in (pixel_loss, dice_loss)])


def matched_pairs(matched_query, num_queries):
    """Lists the matched pairs image by image, by ascending query, as the reference does; the rest follows.

    Args:
        matched_query: `[batch, targets]` int32, -1 for none.
        num_queries: how many queries an image has.

    Returns:
        Four of `[batch * targets]`: image, target and query, int32, and 1.0 where it is a pair, else 0.0.
    """
    batch, targets = ops.shape(matched_query)
    flat = ops.reshape(matched_query, (-1,))
    image = ops.reshape(ops.broadcast_to(ops.expand_dims(ops.arange(batch, dtype="int32"), 1), (batch, targets)), (-1,))
    place = image * num_queries + flat
    order = ops.argsort(ops.where(flat >= 0, place, batch * num_queries + ops.arange(ops.size(flat), dtype="int32")))
    order = ops.cast(order, "int32")
    query = ops.take(flat, order, axis=0)
    is_pair = ops.cast(query >= 0, precise_dtype())
    return order // targets, order % targets, ops.maximum(query, 0), is_pair


def _loss_points(mask_logits, config: LossConfig, draw: Draw, layer: int):
    """Returns the points of each mask: those of the candidates where its logit is nearest to 0, then some drawn evenly.

    `[masks, height, width]` -> `[masks, points, 2]`, or fewer rows if `draw` gives fewer.
    """
    masks = ops.shape(mask_logits)[0]
    num_uncertain = int(config.importance_sample_ratio * config.num_points)
    num_candidates = int(config.oversample_ratio * config.num_points)
    chosen = []
    if num_uncertain:
        candidates = draw(layer, "oversampled", (masks, num_candidates, 2))
        rows = ops.arange(ops.shape(candidates)[0], dtype="int32")
        certainty = ops.abs(compiled_for(mask_logits, sample_rows)(mask_logits, rows, candidates))
        _, index = ops.top_k(-certainty, num_uncertain, sorted=False)
        chosen.append(compiled_for(mask_logits, _points_of)(candidates, ops.cast(index, "int32")))
    if config.num_points > num_uncertain:
        chosen.append(draw(layer, "random", (masks, config.num_points - num_uncertain, 2)))
    return ops.concatenate(chosen, axis=1)


def _points_of(points, index):
    """`[masks, candidates, 2]` and `[masks, n]` int32 -> `[masks, n, 2]`."""
    return ops.take_along_axis(points, ops.expand_dims(index, 2), axis=1)


def sample_masks(masks, points):
    """Reads all masks of an image at the same points, bilinearly.

    Args:
        masks: `[batch, masks, height, width]` float32.
        points: `[batch, points, 2]` float32 in 0..1.

    Returns:
        `[batch, masks, points]` float32.
    """
    batch, num_masks, height, width = ops.shape(masks)
    # With the masks last, one gather reads a point of all of them.
    flat = ops.reshape(ops.transpose(ops.reshape(masks, (batch, num_masks, -1)), (0, 2, 1)), (-1, num_masks))
    first = ops.expand_dims(ops.arange(batch, dtype="int32") * (height * width), 1)
    total = 0.0
    for index, weight in _corners(points, height, width):
        total = total + ops.expand_dims(weight, 2) * ops.take(flat, first + index, axis=0)
    return ops.transpose(total, (0, 2, 1))


def sample_rows(masks, rows, points, equal_to=None):
    """Reads a mask at each set of points, bilinearly.

    Args:
        masks: `[masks, height, width]`.
        rows: `[n]` int32, which mask is read.
        points: `[n, points, 2]` float32 in 0..1.
        equal_to: `[n]` int32: read 1 where the mask has this number and 0 elsewhere; None: read the mask's values.

    Returns:
        `[n, points]` float32.
    """
    height, width = ops.shape(masks)[1:]
    flat = ops.reshape(masks, (-1,))
    first = ops.expand_dims(rows * (height * width), 1)
    total = 0.0
    for index, weight in _corners(points, height, width):
        found = ops.take(flat, first + index, axis=0)
        if equal_to is not None:
            found = ops.cast(ops.cast(found, "int32") == ops.expand_dims(equal_to, 1), precise_dtype())
        total = total + weight * found
    return total


def sample_targets(segment_map, points, num_targets):
    """Reads the mask of each target of an image at the same points, bilinearly.

    Args:
        segment_map: `[batch, height, width]` integer, 0 for void, k for the k-th target.
        points: `[batch, points, 2]` float32 in 0..1.
        num_targets: how many targets, padding included.

    Returns:
        `[batch, points, num_targets]` float32 in 0..1.
    """
    height, width = ops.shape(segment_map)[1:]
    flat = ops.reshape(ops.cast(segment_map, "int32"), (ops.shape(points)[0], -1))
    number = ops.arange(1, num_targets + 1, dtype="int32")
    total = 0.0
    for index, weight in _corners(points, height, width):
        found = ops.expand_dims(ops.take_along_axis(flat, index, axis=1), 2)
        total = total + ops.where(found == number, ops.expand_dims(weight, 2), 0.0)
    return total


def _corners(points, height, width):
    """Yields the four pixels around every point: flat index and weight, each `[batch, points]`; outside weighs 0."""
    x = points[:, :, 0] * ops.cast(width, precise_dtype()) - 0.5
    y = points[:, :, 1] * ops.cast(height, precise_dtype()) - 0.5
    left, top = ops.floor(x), ops.floor(y)
    for column, x_weight in ((left, left + 1.0 - x), (left + 1.0, x - left)):
        for row, y_weight in ((top, top + 1.0 - y), (top + 1.0, y - top)):
            column_index, row_index = ops.cast(column, "int32"), ops.cast(row, "int32")
            inside = (column_index >= 0) & (column_index < width) & (row_index >= 0) & (row_index < height)
            index = ops.clip(row_index, 0, height - 1) * width + ops.clip(column_index, 0, width - 1)
            yield index, ops.where(inside, x_weight * y_weight, 0.0)
