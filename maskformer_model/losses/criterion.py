"""The training objective: class and mask losses of every decoder layer (arXiv:2107.06278, section 3.2).

Each layer's predictions are matched on their own (deep supervision); a matched query learns its target's class and
mask, every other query learns "no object". Sums are divided by counts over the whole global batch, which follow from
the targets alone: so the losses of all replicas add up to the loss of the batch, however it was cut, and on one
replica they are the official numbers (`criterion.py`). Pixels are compared in `mask_loss.py`.

A logit that is not finite makes the three losses of its layer and image NaN, and with them the total, whether or not
its query was matched: whoever trains looks at the total and decides. The matcher itself neither hangs nor raises.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from maskformer_model.backend.compilation import compiled_for
from maskformer_model.backend.precision import precise_dtype
from maskformer_model.backend.replicas import sum_over_replicas
from maskformer_model.config import LossConfig
from maskformer_model.losses import linear_assignment, mask_loss, matcher, point_loss

OFFICIAL_WEIGHTS = LossConfig()


def maskformer_losses(
    outputs,
    segment_map,
    segment_classes,
    config: LossConfig = OFFICIAL_WEIGHTS,
    *,
    matched: tuple[Any, Any] | None = None,
    normalizers: tuple[Any, Any] | None = None,
    seed_generator: Any = None,
    draw: point_loss.Draw | None = None,
) -> dict[str, Any]:
    """Returns every term of the objective, weighted; their sum is what is minimised.

    Args:
        outputs: what `MaskFormer` returns: `class_logits` `[batch, queries, classes + 1]`, `mask_logits`
            `[batch, queries, height, width]`, and `aux_outputs`, a list of the same for the earlier layers.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        segment_classes: `[batch, targets]` int32 class index, -1 for padding.
        config: the weights of the terms.
        matched: what `match_layers` gives, where the caller has it already.
        normalizers: what `loss_normalizers` gives, where this is one part of a batch that was counted as a whole.
        seed_generator: a `keras.random.SeedGenerator`; needed for `mask_loss="points"` only.
        draw: where points come from in its place.

    Returns:
        Float32 scalars: `loss_ce`, `loss_mask`, `loss_dice` of the last layer, and `loss_ce_0` etc. of the others. With
        several replicas these are parts, which add up to the terms of the global batch.

    Raises:
        ValueError: if points are to be sampled without `seed_generator`.
    """
    draw = draw or _draw_from(seed_generator, config)
    layers = [*outputs["aux_outputs"], {key: outputs[key] for key in ("class_logits", "mask_logits")}]
    num_queries = layers[0]["class_logits"].shape[1]
    if normalizers is None:
        normalizers = loss_normalizers(
            segment_classes, num_queries, config.background_cls_weight, config.mask_normalizer
        )
    num_masks, class_weight_sum = normalizers
    queries, finite = matched or match_layers(layers, segment_map, segment_classes, config, draw=draw)
    losses = {}
    for index, (layer, query) in enumerate(zip(layers, queries, strict=True)):
        suffix = f"_{index}" if index < len(layers) - 1 else ""
        class_sum = class_loss_sum(layer["class_logits"], query, segment_classes, config.background_cls_weight)
        mask_logits = ops.cast(layer["mask_logits"], precise_dtype())
        if draw is not None:
            mask_sums = point_loss.point_mask_loss_sums(mask_logits, segment_map, query, config, draw, index)
        else:
            mask_sums = mask_loss.matched_mask_loss_sums(mask_logits, segment_map, query)
        poison = ops.where(finite[index], 1.0, float("nan"))
        losses[f"loss_ce{suffix}"] = poison * config.class_weight * class_sum / class_weight_sum
        losses[f"loss_mask{suffix}"] = poison * config.mask_weight * mask_sums[0] / num_masks
        losses[f"loss_dice{suffix}"] = poison * config.dice_weight * mask_sums[1] / num_masks
    return losses


def loss_normalizers(segment_classes, num_queries, background_cls_weight=0.1, mask_normalizer="targets"):
    """Counts over the global batch what the losses are divided by; it follows from the targets alone.

    Args:
        segment_classes: `[batch, targets]` int32, -1 for padding.
        num_queries: how many queries each image has.
        background_cls_weight: weight of a query without target.
        mask_normalizer: "targets" or "pairs", as of `LossConfig`.

    Returns:
        Two float32 scalars: the number of targets or of pairs, at least 1, and the sum of the class weights of all
        queries.
    """
    num_targets = ops.sum(ops.cast(segment_classes >= 0, precise_dtype()), axis=1)
    num_matched = ops.minimum(num_targets, float(num_queries))
    weights = num_matched + background_cls_weight * (num_queries - num_matched)
    counted = num_matched if mask_normalizer == "pairs" else num_targets
    num_masks, class_weight_sum = sum_over_replicas([ops.sum(counted), ops.sum(weights)])
    return ops.maximum(num_masks, 1.0), class_weight_sum


def _draw_from(seed_generator: Any, config: LossConfig) -> point_loss.Draw | None:
    if config.mask_loss == "exact":
        return None
    if seed_generator is None:
        raise ValueError('`task.losses.mask_loss="points"` needs a `seed_generator`. Received: None')
    return point_loss.random_draw(seed_generator)


def match_layers(
    layers,
    segment_map,
    segment_classes,
    config: LossConfig = OFFICIAL_WEIGHTS,
    seed_generator: Any = None,
    *,
    draw: point_loss.Draw | None = None,
):
    """Matches the predictions of each layer separately, in one assignment.

    Args:
        layers: dicts of `class_logits` and `mask_logits`, one for each decoder layer.
        segment_map: `[batch, full_height, full_width]` integer.
        segment_classes: `[batch, targets]` int32, -1 for padding.
        config: the prices of the terms.
        seed_generator: for points, as in `maskformer_losses`.
        draw: Draws points, as in `matched_pairs`.

    Returns:
        A list of `[batch, targets]` int32, the query of each target or -1, and a list of bool scalars: whether all
        costs of the layer were finite.
    """
    look = _what_the_matcher_sees(
        segment_map, segment_classes.shape[1], config, draw or _draw_from(seed_generator, config)
    )
    # One operation a layer: else all layers' intermediate maps, ten times the logits, would be in memory together.
    matching_cost = compiled_for(segment_map, matcher.matching_cost)
    costs = [
        matching_cost(
            layer["class_logits"],
            *look(index, layer["mask_logits"]),
            segment_classes,
            class_weight=config.class_cost,
            mask_weight=config.mask_weight,
            dice_weight=config.dice_weight,
            pixel_loss=config.pixel_loss,
        )
        for index, layer in enumerate(layers)
    ]
    valid = ops.tile(segment_classes >= 0, (len(layers), 1))
    query = linear_assignment.linear_sum_assignment(ops.concatenate(costs, axis=0), valid)
    return ops.split(query, len(layers), axis=0), [ops.all(ops.isfinite(cost)) for cost in costs]


def _what_the_matcher_sees(segment_map, num_targets, config: LossConfig, draw: point_loss.Draw | None):
    """Returns `(layer index, mask logits) -> (predicted masks, true masks)` at the same pixels or points."""
    if draw is None:
        truth_of_size: dict[tuple[Any, ...], Any] = {}

        def at_all_pixels(layer, mask_logits):
            size = tuple(mask_logits.shape[2:])
            if size not in truth_of_size:  # All layers have one.
                truth_of_size[size] = matcher.downsampled_targets(segment_map, ops.shape(mask_logits)[2:], num_targets)
            return mask_logits, truth_of_size[size]

        return at_all_pixels

    def at_points(layer, mask_logits):
        points = draw(layer, "matcher", (ops.shape(segment_map)[0], config.num_points, 2))
        logits = ops.cast(ops.stop_gradient(mask_logits), precise_dtype())
        return point_loss.sample_masks(logits, points), point_loss.sample_targets(segment_map, points, num_targets)

    return at_points


def class_loss_sum(class_logits, matched_query, segment_classes, background_cls_weight=0.1):
    """Cross-entropy of every query with its target's class, or "no object", weighted and summed.

    Args:
        class_logits: `[batch, queries, classes + 1]` float, the last class is "no object".
        matched_query: `[batch, targets]` int32 from the matcher, -1 for none.
        segment_classes: `[batch, targets]` int32, -1 for padding.
        background_cls_weight: weight of a query that learns "no object"; the others weigh 1.

    Returns:
        Float32 scalar, not yet divided by the sum of the weights.
    """
    class_logits = ops.cast(class_logits, precise_dtype())
    num_queries, no_object = class_logits.shape[1], class_logits.shape[2] - 1
    is_pair = ops.expand_dims(matched_query, 1) == ops.reshape(ops.arange(num_queries, dtype="int32"), (1, -1, 1))
    target_class = ops.where(is_pair, ops.expand_dims(ops.cast(segment_classes, "int32"), 1), -1)
    target_class = ops.max(target_class, axis=2)
    is_matched = target_class >= 0
    target_class = ops.where(is_matched, target_class, no_object)
    log_probs = ops.log_softmax(class_logits, axis=-1)
    loss = -ops.take_along_axis(log_probs, ops.expand_dims(target_class, 2), axis=2)[:, :, 0]
    return ops.sum(ops.where(is_matched, 1.0, background_cls_weight) * loss)
