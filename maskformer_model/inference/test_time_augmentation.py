"""Combines several views of a photo (sizes, mirrored) into one result: test-time augmentation.

Views are made of the photo as it is resized without augmentation, resized once more, as the reference's
`DatasetMapperTTA` makes them. Semantic scores are averaged over the views, as the reference does
(`test_time_augmentation.py`). For panoptic answers the reference has no such thing, because query 7 of one view need
not be query 7 of another. Here each query of the first view looks for its partner in every other view: the masks
overlap by more than half and each is the other's best.
Class and mask probabilities are averaged over the partners that were found, and the averages, as logits, go the
ordinary way through `postprocessing.panoptic_inference` or `postprocessing.instance_inference`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from keras import ops

from maskformer_model.config import InferenceConfig
from maskformer_model.config.task import INPUT_SIZE
from maskformer_model.data import normalization, preprocessing
from maskformer_model.inference import postprocessing

Tensor = Any  # A tensor of the Keras backend in use.

_MIN_PARTNER_IOU = 0.5
_SMALLEST_PROB = 1e-7


@dataclasses.dataclass(frozen=True)
class View:
    """The network's output for one view of a photo, and which part of the view is photo.

    Attributes:
        class_logits: `[queries, classes + 1]` float32.
        mask_logits: `[queries, view height / 4, view width / 4]`, facing as the view does.
        padded_size_px: `(height, width)` that the masks cover.
        valid_size_px: The part of it that is photo, from the top left.
        is_flipped: Whether the view is mirrored.
    """

    class_logits: Tensor
    mask_logits: Tensor
    padded_size_px: tuple[Any, Any]
    valid_size_px: tuple[Any, Any]
    is_flipped: bool = False

    def resize_weights(self, size_px: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
        """Rows and columns of `postprocessing.resize_weights` to that size; they turn a mirrored view back."""
        rows, columns = postprocessing.resize_weights(
            ops.shape(self.mask_logits)[1:],
            size_px,
            padded_size_px=self.padded_size_px,
            valid_size_px=self.valid_size_px,
        )
        return rows, ops.flip(columns, axis=0) if self.is_flipped else columns

    def resized(self, size_px: tuple[Any, Any]) -> Tensor:
        """Returns `[queries, height, width]` float32 mask logits of that size."""
        rows, columns = self.resize_weights(size_px)
        return ops.matmul(ops.matmul(rows, ops.cast(self.mask_logits, "float32")), ops.transpose(columns))

    def semantic_scores(self, size_px: tuple[Any, Any], fusion_size: str) -> Tensor:
        """Returns `[classes, height, width]` float32 of that size, fused at the input's or at that size."""
        if fusion_size != INPUT_SIZE:
            return postprocessing.semantic_inference(self.class_logits, self.resized(size_px))
        masks = postprocessing.resize_logits(self.mask_logits, self.padded_size_px)
        masks = masks[:, : self.valid_size_px[0], : self.valid_size_px[1]]
        scores = postprocessing.resize_logits(postprocessing.semantic_inference(self.class_logits, masks), size_px)
        return ops.flip(scores, axis=2) if self.is_flipped else scores


def augmented_panoptic(
    network: Callable[[Tensor], dict[str, Tensor]],
    photo: Tensor,
    isthing: Tensor,
    config: InferenceConfig,
    *,
    object_mask_threshold: Any = None,
    overlap_threshold: Any = None,
) -> dict[str, Tensor]:
    """Returns the panoptic answer for a photo from all its views, at the photo's own size.

    Views are merged at the resolution that the first one's masks have; only queries that can become a segment are
    enlarged from there. So memory grows by a quarter-size map per query and view, not by a full one.

    Args:
        network: Normalised image `[1, height, width, 3]` -> dict with `class_logits` and `mask_logits`.
        photo: `[height, width, 3]` uint8 (TensorFlow backend: resizing is `preprocessing`'s).
        isthing: `[classes]` bool.
        config: Names the views in `augmented_edges_px`, and pads them as `size_divisibility` says.
        object_mask_threshold: In place of the config's.
        overlap_threshold: In place of the config's.

    Returns:
        As `postprocessing.panoptic_inference`, whose lists may be shorter than the number of queries.

    Raises:
        ValueError: if the config names no view.
    """
    if object_mask_threshold is None:
        object_mask_threshold = config.object_mask_threshold
    if overlap_threshold is None:
        overlap_threshold = config.overlap_threshold
    class_logits, mask_logits = merged_queries(network, photo, config)
    order, num_kept = postprocessing.kept_queries(class_logits, object_mask_threshold)
    kept = order[: ops.maximum(num_kept, 1)]
    mask_logits = postprocessing.resize_logits(ops.take(mask_logits, kept, axis=0), ops.shape(photo)[:2])
    class_logits = ops.take(class_logits, kept, axis=0)
    return postprocessing.panoptic_inference(
        class_logits, mask_logits, isthing, object_mask_threshold, overlap_threshold, config.pixel_threshold
    )


def augmented_semantic(
    network: Callable[[Tensor], dict[str, Tensor]], photo: Tensor, config: InferenceConfig
) -> Tensor:
    """Returns the mean of the views' semantic scores at the photo's own size, added up one view after the other.

    Args:
        network: As for `augmented_panoptic`, like the other arguments.
        photo: `[height, width, 3]` uint8.
        config: Names the views.

    Returns:
        `[classes, height, width]` float32, for `postprocessing.semantic_map`.

    Raises:
        ValueError: if the config names no view.
    """
    total, num_views = 0.0, 0
    for view in views_of(network, photo, config):
        scores = view.semantic_scores(ops.shape(photo)[:2], config.semantic_fusion_size)
        total, num_views = total + scores, num_views + 1
    return total / num_views


def merged_queries(network: Callable[[Tensor], dict[str, Tensor]], photo: Tensor, config: InferenceConfig):
    """Returns the queries of all views as one, before anything has the photo's size.

    Args:
        network: As for `augmented_panoptic`, like the other arguments.
        photo: `[height, width, 3]` uint8.
        config: Names the views.

    Returns:
        `[queries, classes + 1]` class logits and `[queries, first view's height / 4, width / 4]` mask logits, float32,
        which cover the photo without padding.

    Raises:
        ValueError: if the config names no view.
    """
    views = list(views_of(network, photo, config))
    merged_size_px = tuple((edge + 3) // 4 for edge in views[0].valid_size_px)
    class_logits = ops.stack([view.class_logits for view in views])
    return merge_panoptic_views(class_logits, ops.stack([view.resized(merged_size_px) for view in views]))


def views_of(network: Callable[[Tensor], dict[str, Tensor]], photo: Tensor, config: InferenceConfig) -> Iterator[View]:
    """Runs the network on one view after the other.

    Raises:
        ValueError: if the config names no view.
    """
    if not config.augmented_edges_px:
        raise ValueError(f"`augmented_edges_px` must name at least one view. Received: {config.augmented_edges_px}")
    resized = preprocessing.resize_for_inference(photo, config)
    height_px, width_px = ops.shape(resized)[:2]
    for shortest_edge_px in config.augmented_edges_px:
        view_size_px = preprocessing.resized_size(height_px, width_px, shortest_edge_px, config.augmented_max_size_px)
        view = preprocessing.resize_image(resized, view_size_px)[None]
        padding = [-edge % max(1, config.size_divisibility) for edge in view_size_px]
        for is_flipped in (False, True) if config.augmented_flip else (False,):
            seen = ops.flip(view, axis=2) if is_flipped else view
            paddings = [[0, 0], [0, padding[0]], [0, padding[1]], [0, 0]]
            if config.pads_with_black:
                seen = normalization.normalize(ops.pad(seen, paddings))
            else:  # Behind the normalisation, so padding is exact zeros, as in training.
                seen = ops.pad(normalization.normalize(seen), paddings)
            outputs = network(seen)
            yield View(
                class_logits=ops.cast(outputs["class_logits"][0], "float32"),
                mask_logits=outputs["mask_logits"][0],
                padded_size_px=tuple(edge + missing for edge, missing in zip(view_size_px, padding, strict=True)),
                valid_size_px=view_size_px,
                is_flipped=is_flipped,
            )


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
