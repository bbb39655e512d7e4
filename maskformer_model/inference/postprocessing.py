"""Turns logits into panoptic, semantic and instance results (arXiv:2107.06278, section 3.4; `mask_former_model.py`).

Everything is `keras.ops`: no loop over queries, shapes that follow from the arguments' shapes alone, the same result
eagerly, in a graph, under XLA and on every backend. Every function takes one image or a batch (one more leading axis
on every logit). Masks are upsampled as logits, by `resize_logits`, before they come here; how large, and what of a
padded image is cropped first, is the caller's business (`photo_inference`).

A photo's map is large and most of the 100 queries say "no object". Where shapes may be dynamic, gather the queries of
`kept_queries` before upsampling: the result is the same, several times faster.

A query whose class logits are not finite has no probability above a threshold, so it proposes nothing.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from maskformer_model.modeling.layers.bilinear import bilinear_matrix

Tensor = Any  # A tensor of the Keras backend in use.


def resize_logits(
    mask_logits: Tensor,
    size_px: tuple[Any, Any],
    *,
    padded_size_px: tuple[Any, Any] | None = None,
    valid_size_px: tuple[Any, Any] | None = None,
) -> Tensor:
    """Resizes masks bilinearly with half-pixel centres and without antialiasing, up or down, as the reference does.

    With `padded_size_px` and `valid_size_px` it does the reference's whole way from a padded batch to a photo: up to
    the padded size, crop to the part that is photo, resize to the photo's own size. Bilinear weights of rows and of
    columns are two matrices, and the three steps are their product, so the padded size is never in memory.

    Args:
        mask_logits: `[..., height, width]` float, unbounded.
        size_px: New `(height, width)`. Like the other sizes: numbers, or int32 scalars of a TensorFlow graph.
        padded_size_px: What `mask_logits` cover: the model's input with its padding.
        valid_size_px: The photo's part of the padded size, top left.

    Returns:
        `[..., new height, new width]` float32.

    Raises:
        ValueError: if only one of `padded_size_px` and `valid_size_px` is given.
    """
    rows, columns = resize_weights(
        ops.shape(mask_logits)[-2:], size_px, padded_size_px=padded_size_px, valid_size_px=valid_size_px
    )
    return ops.matmul(ops.matmul(rows, ops.cast(mask_logits, "float32")), ops.transpose(columns))


def resize_weights(
    old_size: tuple[Any, Any],
    size_px: tuple[Any, Any],
    *,
    padded_size_px: tuple[Any, Any] | None = None,
    valid_size_px: tuple[Any, Any] | None = None,
) -> tuple[Tensor, Tensor]:
    """The two matrices of `resize_logits`: rows `[new height, height]` and columns `[new width, width]`, float32.

    A part of the rows gives a part of the new rows, for photos too large to be resized at once.

    Args:
        old_size: `(height, width)` of the masks; the other arguments are those of `resize_logits`.
        size_px: New `(height, width)`.
        padded_size_px: What the masks cover.
        valid_size_px: The photo's part of it.

    Raises:
        ValueError: if only one of `padded_size_px` and `valid_size_px` is given.
    """
    if padded_size_px is None and valid_size_px is None:
        rows, columns = (bilinear_matrix(old_size[axis], size_px[axis]) for axis in (0, 1))
    elif padded_size_px is not None and valid_size_px is not None:
        rows, columns = (
            _weights_through_padding(old_size[axis], padded_size_px[axis], valid_size_px[axis], size_px[axis])
            for axis in (0, 1)
        )
    else:
        raise ValueError(
            "`padded_size_px` and `valid_size_px` are given together or not at all. "
            f"Received: {padded_size_px} and {valid_size_px}"
        )
    return rows, columns


def kept_queries(class_logits: Tensor, object_mask_threshold: float) -> tuple[Tensor, Tensor]:
    """Returns which queries propose a segment, so that a caller can leave the others out before upsampling.

    `panoptic_inference` of `order[:max(1, num_kept)]` equals that of all queries (its lists are shorter by padding).

    Args:
        class_logits: `[queries, classes + 1]` float of one image, the last one is "no object".
        object_mask_threshold: Largest class probability of a query that proposes nothing.

    Returns:
        `order`: `[queries]` int32, kept queries first, both parts in query order.
        `num_kept`: scalar int32, may be 0.
    """
    return kept_first(classify_queries(class_logits, object_mask_threshold)[0])


def kept_first(keep: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what `kept_queries` does, where it is already known which queries are kept: `[queries]` bool."""
    num_queries = ops.shape(keep)[0]
    rank = ops.where(keep, 0, num_queries) + ops.arange(num_queries, dtype="int32")
    return ops.cast(ops.argsort(rank), "int32"), ops.sum(ops.cast(keep, "int32"))


def panoptic_inference(
    class_logits: Tensor,
    mask_logits: Tensor,
    isthing: Tensor,
    object_mask_threshold: float,
    overlap_threshold: float,
    pixel_threshold: float = 0.0,
) -> dict[str, Tensor]:
    """Merges the queries of an image into one panoptic map.

    A query is kept when its best class is not "no object" and more probable than `object_mask_threshold`. Each pixel
    goes to the kept query with the largest class times mask probability. In query order, a query that owns less than
    `overlap_threshold` of the pixels where its mask probability is at least one half is dropped and its pixels stay
    void; a stuff query joins the first segment of its class.

    Args:
        class_logits: `[queries, classes + 1]` float, the last one is "no object".
        mask_logits: `[queries, height, width]` float at the size of the wanted map.
        isthing: `[classes]` bool.
        object_mask_threshold: In 0..1.
        overlap_threshold: In 0..1.
        pixel_threshold: A pixel whose query gives it a smaller mask probability stays void, and a query that is left
            without any pixel is dropped: 0 in MaskFormer, 0.5 in Mask2Former.

    Returns:
        `segment_map`: `[height, width]` int32, 0 = void, else segment ids from 1, in query order.
        `segment_classes`: `[queries]` int32, the class of segment i + 1; -1 beyond the last segment.
        `segment_scores`: `[queries]` float32, the class probability of its (first) query; 0 beyond.
        `num_segments`: scalar int32.
        All with one more leading axis where the arguments have it.
    """
    if len(class_logits.shape) == 2:
        batch = panoptic_inference(
            class_logits[None], mask_logits[None], isthing, object_mask_threshold, overlap_threshold, pixel_threshold
        )
        return {name: value[0] for name, value in batch.items()}
    keep, classes, scores = classify_queries(class_logits, object_mask_threshold)
    owner, owned_areas, own_area = assign_pixels(keep, scores, mask_logits, pixel_threshold)
    segments = merge_queries(keep, classes, scores, owned_areas, own_area, isthing, overlap_threshold)
    segment_ids = segments.pop("segment_ids")
    num_images, num_owners = ops.shape(segment_ids)
    flat_owner = owner + ops.arange(num_images, dtype="int32")[:, None, None] * num_owners
    return {"segment_map": ops.take(ops.reshape(segment_ids, (-1,)), flat_owner), **segments}


def classify_queries(class_logits: Tensor, object_mask_threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """`[..., queries]` each: whether a query is kept (bool), its best class (int32), the probability of it (float32).

    Args:
        class_logits: `[..., queries, classes + 1]` float, the last one is "no object".
        object_mask_threshold: In 0..1.
    """
    probs = ops.softmax(ops.cast(class_logits, "float32"), axis=-1)
    classes = ops.cast(ops.argmax(probs, axis=-1), "int32")
    scores = ops.max(probs, axis=-1)
    return (classes < probs.shape[-1] - 1) & (scores > object_mask_threshold), classes, scores


def assign_pixels(
    keep: Tensor, scores: Tensor, mask_logits: Tensor, pixel_threshold: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Assigns a query to each pixel, the first step of `panoptic_inference`, without looking at its neighbours.

    So it may be given a photo in pieces: the areas of the pieces add up.

    Args:
        keep: `[batch, queries]` bool.
        scores: `[batch, queries]` float32, not negative.
        mask_logits: `[batch, queries, height, width]` float.
        pixel_threshold: As of `panoptic_inference`.

    Returns:
        `owner`: `[batch, height, width]` int32, the query with the largest product of both probabilities; the number
            of queries is added where its mask probability is below `pixel_threshold`.
        `owned_areas`: `[batch, 2, queries]` int32, the pixels that a query owns: those it paints, and those below.
        `own_area`: `[batch, queries]` int32, the pixels where its mask probability is at least one half.
    """
    mask_probs = ops.sigmoid(ops.cast(mask_logits, "float32"))
    own_area = ops.sum(ops.cast(mask_probs >= 0.5, "int32"), axis=(2, 3))
    # Negative, and so behind every kept query, where a query is not kept.
    weighted = ops.where(keep, scores, -1.0)[:, :, None, None] * mask_probs
    # The bits of a float that is not negative, read as an integer, sort in the same order; -0.0 and everything negative
    # is below 0 as an integer too, which keeps a mask probability that underflowed behind. Integers need no care for
    # NaN and signed zeros, on which `argmax` of floats spends most of its time. The last axis of 1 gives `view` a
    # static size.
    owner = ops.cast(ops.argmax(ops.view(weighted[..., None], dtype="int32")[..., 0], axis=1), "int32")
    num_images, num_queries = ops.shape(keep)
    if pixel_threshold > 0:
        is_painted = ops.take_along_axis(mask_probs, owner[:, None], axis=1)[:, 0] >= pixel_threshold
        owner = ops.where(is_painted, owner, owner + num_queries)
    flat_owner = ops.reshape(owner + ops.arange(num_images, dtype="int32")[:, None, None] * (2 * num_queries), (-1,))
    owned_areas = ops.segment_sum(ops.ones_like(flat_owner), flat_owner, num_segments=2 * num_images * num_queries)
    return owner, ops.reshape(owned_areas, (num_images, 2, num_queries)), own_area


def merge_queries(
    keep: Tensor,
    classes: Tensor,
    scores: Tensor,
    owned_areas: Tensor,
    own_area: Tensor,
    isthing: Tensor,
    overlap_threshold: float,
) -> dict[str, Tensor]:
    """Decides which queries become which segments: the second step of `panoptic_inference`, after `assign_pixels`.

    Args:
        keep: `[batch, queries]` bool; like the next two from `proposals`.
        classes: `[batch, queries]` int32.
        scores: `[batch, queries]` float32.
        owned_areas: `[batch, 2, queries]` int32 of the whole image; like the next from `assign_pixels`.
        own_area: `[batch, queries]` int32.
        isthing: `[classes]` bool.
        overlap_threshold: In 0..1.

    Returns:
        `segment_ids`: `[batch, 2 * queries]` int32, the segment of an `owner`, 0 for void; and `segment_classes`,
        `segment_scores` and `num_segments` as `panoptic_inference` has them.
    """
    share = ops.cast(ops.sum(owned_areas, axis=1), "float32") / ops.cast(ops.maximum(own_area, 1), "float32")
    valid = keep & (owned_areas[:, 0] > 0) & (own_area > 0) & (share >= overlap_threshold)
    segment_ids, is_first = _number_segments(valid, classes, isthing)
    return {
        "segment_ids": ops.concatenate([segment_ids, ops.zeros_like(segment_ids)], axis=1),
        "segment_classes": _listed(is_first, segment_ids, classes + 1) - 1,
        "segment_scores": _listed(is_first, segment_ids, scores),
        "num_segments": ops.sum(ops.cast(is_first, "int32"), axis=1),
    }


def semantic_inference(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Computes every class's score at every pixel: class times mask probabilities, summed over queries.

    Args:
        class_logits: `[queries, classes + 1]` float, the last one is "no object".
        mask_logits: `[queries, height, width]` float.

    Returns:
        `[classes, height, width]` float32, not negative; `semantic_map` makes a label map of it.
    """
    class_probs = ops.softmax(ops.cast(class_logits, "float32"), axis=-1)[..., :-1]
    mask_probs = ops.sigmoid(ops.cast(mask_logits, "float32"))
    return ops.einsum("...qc,...qhw->...chw", class_probs, mask_probs)


def semantic_map(semantic_scores: Tensor) -> Tensor:
    """The best class of every pixel: `[classes, height, width]` scores -> `[height, width]` int32 class index."""
    return ops.cast(ops.argmax(semantic_scores, axis=-3), "int32")


def instance_inference(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    isthing: Tensor | None = None,
    max_instances: int = 100,
) -> dict[str, Tensor]:
    """The most probable (query, class) pairs as instances (as Mask2Former does it; MaskFormer has no such answer).

    Args:
        class_logits: `[queries, classes + 1]` float, the last one is "no object".
        mask_logits: `[queries, height, width]` float at the size of the wanted masks.
        isthing: `[classes]` bool for a model trained on things and stuff: pairs with a stuff class are left out,
            after the choice, as in the reference. None keeps every class.
        max_instances: How many pairs are chosen; at most queries x classes.

    Returns:
        `masks`: `[instances, height, width]` bool, where the mask logit is positive.
        `classes`: `[instances]` int32, -1 for a pair that was left out.
        `scores`: `[instances]` float32, class probability x mean mask probability inside the mask; 0 if left out.
        All with one more leading axis where the arguments have it.
    """
    if len(class_logits.shape) == 2:
        batch = instance_inference(class_logits[None], mask_logits[None], isthing=isthing, max_instances=max_instances)
        return {name: value[0] for name, value in batch.items()}
    mask_logits = ops.cast(mask_logits, "float32")
    queries, classes, scores = instance_pairs(
        class_logits, _mean_prob_inside(mask_logits), isthing=isthing, max_instances=max_instances
    )
    masks = ops.take_along_axis(mask_logits > 0, queries[:, :, None, None], axis=1)
    return {"masks": masks, "classes": classes, "scores": scores}


def instance_pairs(
    class_logits: Tensor, mean_mask_probs: Tensor, *, isthing: Tensor | None = None, max_instances: int = 100
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the pairs of `instance_inference`, for a caller that makes the masks itself.

    Args:
        class_logits: `[batch, queries, classes + 1]` float.
        mean_mask_probs: `[batch, queries]` float32, mean mask probability where the mask logit is positive.
        isthing: As in `instance_inference`, like `max_instances`.
        max_instances: How many pairs are chosen.

    Returns:
        `[batch, instances]` each: query int32, class int32 (-1 if left out), score float32 (0 if left out).
    """
    class_probs = ops.softmax(ops.cast(class_logits, "float32"), axis=-1)[..., :-1]
    num_images, num_queries, num_classes = ops.shape(class_probs)
    pair_probs = ops.reshape(class_probs, (num_images, num_queries * num_classes))
    pair_probs, pairs = ops.top_k(pair_probs, min(max_instances, num_queries * num_classes))
    queries, classes = ops.cast(pairs // num_classes, "int32"), ops.cast(pairs % num_classes, "int32")
    scores = pair_probs * ops.take_along_axis(mean_mask_probs, queries, axis=1)
    if isthing is not None:
        is_kept = ops.take(ops.convert_to_tensor(isthing, dtype="bool"), classes)
        classes, scores = ops.where(is_kept, classes, -1), ops.where(is_kept, scores, 0.0)
    return queries, classes, scores


def _weights_through_padding(old, padded, valid, new):
    """Returns `[new, old]` float32: up to `padded`, cut to `valid`, resize to `new`."""
    return ops.matmul(bilinear_matrix(valid, new), bilinear_matrix(old, padded)[:valid])


def _number_segments(valid, classes, isthing):
    """`[batch, queries]` each: the segment id of a query (0 if dropped) and whether it is its segment's first."""
    is_stuff = ~ops.take(ops.append(ops.convert_to_tensor(isthing, dtype="bool"), True), classes)
    stuff = valid & is_stuff
    same_stuff = (classes[:, :, None] == classes[:, None, :]) & stuff[:, :, None] & stuff[:, None, :]
    queries = ops.arange(ops.shape(valid)[1], dtype="int32")
    first_of_class = ops.cast(ops.argmax(ops.cast(same_stuff, "int32"), axis=2), "int32")
    first = ops.where(stuff, first_of_class, queries)
    is_first = valid & (first == queries)
    id_of_first = ops.cumsum(ops.cast(is_first, "int32"), axis=1)
    return ops.where(valid, ops.take_along_axis(id_of_first, first, axis=1), 0), is_first


def _listed(is_first, segment_ids, values):
    """Returns `[batch, queries]` values in the order of their segments' ids, 0 beyond the last."""
    rows = ops.arange(ops.shape(values)[1], dtype="int32")[:, None] + 1
    chosen = is_first[:, None, :] & (segment_ids[:, None, :] == rows)
    return ops.sum(ops.where(chosen, values[:, None, :], ops.zeros_like(values)[:, None, :]), axis=2)


def _mean_prob_inside(mask_logits):
    """Returns `[batch, queries]` mean mask probability where the logit is positive, 0 for an empty mask."""
    inside = ops.cast(mask_logits > 0, "float32")
    area = ops.sum(inside, axis=(2, 3))
    # The reference divides by the area plus 1e-6.
    return ops.sum(ops.sigmoid(mask_logits) * inside, axis=(2, 3)) / (area + 1e-6)
