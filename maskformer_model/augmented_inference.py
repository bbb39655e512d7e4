"""Test-time augmentation: one answer from a photo seen at several sizes and mirrored.

Semantic scores are averaged over the views, as the reference does (`test_time_augmentation.py`). For panoptic answers
the reference has no such thing, because query 7 of one view need not be query 7 of another. Here each query of the
first view looks for its partner in every other view: the masks overlap by more than half and each is the other's best.
Class and mask probabilities are averaged over the partners that were found, and the averages, as logits, go the
ordinary way through `inference.panoptic_inference` or `inference.instance_inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from maskformer_model import inference, normalization, preprocessing

Tensor = Any  # A tensor of the Keras backend in use.

_MIN_PARTNER_IOU = 0.5
_SMALLEST_PROB = 1e-7


def augmented_logits(
    network: Callable[[Tensor], dict[str, Tensor]],
    photo: Tensor,
    size_px: tuple[Any, Any],
    *,
    shortest_edges_px: Sequence[int],
    max_size_px: int,
    flip: bool = True,
) -> tuple[Tensor, Tensor]:
    """Runs a network on every view of a photo and brings the masks back to one size and side.

    Args:
        network: Normalised image `[1, height, width, 3]` -> dict with `class_logits` and `mask_logits`.
        photo: `[height, width, 3]` uint8 (TensorFlow backend: resizing is `preprocessing`'s).
        size_px: `(height, width)` the masks are merged in, such as the photo's own.
        shortest_edges_px: One view each; the first is the one whose queries `merge_panoptic_views` starts from.
        max_size_px: No view's longest edge is longer.
        flip: Whether each view is also seen mirrored.

    Returns:
        `[views, queries, classes + 1]` class logits and `[views, queries, *size_px]` mask logits, float32.

    Raises:
        ValueError: if `shortest_edges_px` is empty.
    """
    if not shortest_edges_px:
        raise ValueError(f"`shortest_edges_px` must name at least one view. Received: {shortest_edges_px}")
    height_px, width_px = ops.shape(photo)[:2]
    class_logits, mask_logits = [], []
    for shortest_edge_px in shortest_edges_px:
        view_size_px = preprocessing.resized_size(height_px, width_px, shortest_edge_px, max_size_px)
        view = normalization.normalize(preprocessing.resize_image(photo, view_size_px)[None])
        for is_flipped in (False, True) if flip else (False,):
            outputs = network(ops.flip(view, axis=2) if is_flipped else view)
            masks = inference.resize_logits(
                outputs["mask_logits"][0], size_px, padded_size_px=view_size_px, valid_size_px=view_size_px
            )
            class_logits.append(ops.cast(outputs["class_logits"][0], "float32"))
            mask_logits.append(ops.flip(masks, axis=2) if is_flipped else masks)
    return ops.stack(class_logits), ops.stack(mask_logits)


def merge_semantic_views(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Mean of the views' semantic scores.

    Args:
        class_logits: `[views, queries, classes + 1]` float.
        mask_logits: `[views, queries, height, width]` float.

    Returns:
        `[classes, height, width]` float32, for `inference.semantic_map`.
    """
    return ops.mean(inference.semantic_inference(class_logits, mask_logits), axis=0)


def merge_panoptic_views(class_logits: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The first view's queries, each averaged with its partners in the other views; see the module's first lines.

    Args:
        class_logits: `[views, queries, classes + 1]` float.
        mask_logits: `[views, queries, height, width]` float.

    Returns:
        `[queries, classes + 1]` class logits and `[queries, height, width]` mask logits of the averages, float32.
    """
    class_probs = ops.softmax(ops.cast(class_logits, "float32"), axis=-1)
    mask_probs = ops.sigmoid(ops.cast(mask_logits, "float32"))
    partner, has_partner = _partners(class_probs, mask_probs)
    weights = ops.cast(has_partner, "float32")  # [views - 1, queries]
    num_seen = 1.0 + ops.sum(weights, axis=0)
    class_sum, mask_sum = class_probs[0], mask_probs[0]
    for view in range(class_logits.shape[0] - 1):
        weight = weights[view]
        class_sum += weight[:, None] * ops.take(class_probs[view + 1], partner[view], axis=0)
        mask_sum += weight[:, None, None] * ops.take(mask_probs[view + 1], partner[view], axis=0)
    mean_mask = ops.clip(mask_sum / num_seen[:, None, None], _SMALLEST_PROB, 1.0 - _SMALLEST_PROB)
    mean_class = ops.maximum(class_sum / num_seen[:, None], _SMALLEST_PROB)
    return ops.log(mean_class), ops.log(mean_mask) - ops.log1p(-mean_mask)


def _partners(class_probs, mask_probs):
    """`[views - 1, queries]` each: the query that a query of the first view fits best, and whether it is a partner."""
    num_views, num_queries = class_probs.shape[:2]
    inside = ops.reshape(ops.cast(mask_probs >= 0.5, "float32"), (num_views, num_queries, -1))
    area = ops.sum(inside, axis=2)
    shared = ops.einsum("qp,vrp->vqr", inside[0], inside[1:])
    union = area[0][None, :, None] + area[1:][:, None, :] - shared
    iou = shared / ops.maximum(union, 1.0)
    # Among equally good masks the one that means the same; the small number lets masks decide where no class agrees.
    same_class = ops.einsum("qc,vrc->vqr", class_probs[0, :, :-1], class_probs[1:, :, :-1])
    fit = iou * (same_class + 1e-3)
    partner = ops.cast(ops.argmax(fit, axis=2), "int32")
    partners_best = ops.take_along_axis(ops.cast(ops.argmax(fit, axis=1), "int32"), partner, axis=1)
    own_iou = ops.take_along_axis(iou, partner[:, :, None], axis=2)[:, :, 0]
    is_mutual = partners_best == ops.arange(num_queries, dtype="int32")
    return partner, is_mutual & (own_iou > _MIN_PARTNER_IOU)
