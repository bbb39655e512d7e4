"""Computes focal and dice loss at full resolution (arXiv:2107.06278, section 3.2; official `criterion.py`).

Predicted masks are enlarged to the size of the padded image, bilinearly with pixel centres at one half, and compared
there with the truth pixel by pixel. That is the largest piece of work of the objective, so it is done by hand: a loop
takes few masks at a time, matched ones only, and the gradient, in closed form, computes them again. No map of the size
of the image outlives its turn, and padding costs nothing. Which mask belongs to which target is decided in
`matcher.py`; normalisation is in `criterion.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.backend.compilation import compiled_for
from maskformer_model.backend.precision import precise_dtype
from maskformer_model.losses.matcher import FOCAL_ALPHA
from maskformer_model.modeling.layers.bilinear import bilinear_matrix

PAIRS_AT_ONCE = (
    2  # Full-size maps of so many masks stay in the processor's cache; more fill a large accelerator better.
)


def focal_loss(mask_logits, target_masks):
    """Computes the focal loss of each mask, mean over its pixels (alpha 0.25, gamma 2; arXiv:1708.02002).

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


def cross_entropy_loss(mask_logits, target_masks):
    """Computes the binary cross-entropy of each mask, mean over its pixels (arXiv:2112.01527, section 3.3).

    Args:
        mask_logits: `[masks, pixels]` float32, unbounded.
        target_masks: `[masks, pixels]` float32 in 0..1.

    Returns:
        `[masks]` float32, at least 0.
    """
    return ops.mean(ops.softplus(mask_logits) - mask_logits * target_masks, axis=1)


def dice_loss(mask_logits, target_masks):
    """Computes one minus the smoothed Dice overlap of each mask with its target.

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


def matched_mask_loss_sums(mask_logits, segment_map, matched_query):
    """Computes focal and dice loss of every matched mask against all pixels of its target, summed over the masks.

    Equal to `focal_loss` and `dice_loss` of the enlarged masks, in value and gradient.

    Args:
        mask_logits: `[batch, queries, height, width]` float32, unbounded.
        segment_map: `[batch, full_height, full_width]` integer, 0 for void, k for the k-th target.
        matched_query: `[batch, targets]` int32 from the matcher, -1 for none.

    Returns:
        `[2]` float32: the focal and the dice sum; 0 where nothing is matched.
    """

    @ops.custom_gradient
    def sums(logits):
        logits = ops.stop_gradient(logits)

        def gradient(*args, upstream=None):
            # TensorFlow and JAX pass what flows back by position, PyTorch by name.
            flow = args[0] if upstream is None else upstream
            return compiled_for(segment_map, _gradient)(logits, segment_map, matched_query, flow)

        return compiled_for(segment_map, _loss_sums)(logits, segment_map, matched_query), gradient

    return sums(mask_logits)


def _loss_sums(logits, segment_map, matched_query):
    return _Pairs(logits, segment_map, matched_query).loss_sums()


def _gradient(logits, segment_map, matched_query, flow):
    return _Pairs(logits, segment_map, matched_query).gradient(flow)


class _Pairs:
    """The matched masks of a batch, a few at a time."""

    def __init__(self, logits, segment_map, matched_query):
        self.shape = ops.shape(logits)
        self.flat_logits = ops.reshape(logits, (-1, *self.shape[2:]))
        self.segment_map = segment_map
        self.at_once = PAIRS_AT_ONCE * self.shape[0]
        full_height, full_width = ops.shape(segment_map)[1:]
        self.rows = bilinear_matrix(self.shape[2], full_height)
        self.columns = bilinear_matrix(self.shape[3], full_width)
        self.num_pixels = ops.cast(full_height * full_width, precise_dtype())
        self.query = ops.reshape(matched_query, (-1,))
        self.num_targets = ops.shape(matched_query)[1]
        number = ops.cumsum(ops.ones_like(self.query)) - 1
        self.order = ops.argsort(ops.where(self.query >= 0, number, number + ops.size(self.query)))  # Real ones first.
        queries = ops.reshape(ops.arange(self.shape[1], dtype="int32"), (1, -1, 1))
        self.is_matched = ops.any(queries == ops.expand_dims(matched_query, 1), axis=2)
        self.num_pairs = ops.sum(ops.cast(self.query >= 0, "int32"))

    def loss_sums(self):
        """Returns `[2]`: focal and dice losses, summed."""

        def unfinished(first, sums):
            # NaN stays NaN: the rest can be left out. (Also, no step starts before the last one has freed its memory.)
            return (first < self.num_pairs) & ops.logical_not(ops.any(ops.isnan(sums)))

        def add(first, sums):
            row, truth, is_pair = self._take(first)
            wrong_logits = self._wrong_logits(ops.take(self.flat_logits, row, axis=0), truth)
            wrong = ops.sigmoid(wrong_logits)
            focal = ops.where(truth, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA) * ops.square(wrong) * ops.softplus(wrong_logits)
            focal = ops.sum(focal, axis=(1, 2)) / self.num_pixels
            overlap, total = _overlap_and_total(wrong, truth)
            losses = ops.stack([focal, 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)])
            return first + self.at_once, sums + ops.sum(ops.where(is_pair, losses, 0.0), axis=1)

        return ops.while_loop(unfinished, add, (0, ops.zeros((2,), precise_dtype())))[1]

    def gradient(self, flow):
        """Returns the gradient by the logits, `flow` `[2]` being that by the sums."""
        # Every matched mask is overwritten by its gradient, in place; one spare row takes what is no pair.
        work = ops.concatenate([self.flat_logits, ops.zeros_like(self.flat_logits[:1])], axis=0)

        def unfinished(first, work):
            return first < self.num_pairs

        def overwrite(first, work):
            row, truth, is_pair = self._take(first)
            slope = self._slope(ops.take(work, row, axis=0), truth, flow)
            row = ops.where(is_pair, row, ops.shape(self.flat_logits)[0])
            return first + self.at_once, ops.scatter_update(work, ops.expand_dims(row, 1), self._shrink(slope))

        work = ops.while_loop(unfinished, overwrite, (0, work))[1]
        work = ops.where(ops.reshape(self.is_matched, (-1, 1, 1)), work[:-1], 0.0)
        return ops.reshape(work, self.shape)

    def _take(self, first):
        """Returns row of `flat_logits`, truth `[pairs, full_height, full_width]` bool, and whether it is a pair."""
        place = first + ops.arange(self.at_once, dtype="int32")
        item = ops.take(self.order, ops.minimum(place, ops.size(self.query) - 1), axis=0)
        image, target = item // self.num_targets, item % self.num_targets
        truth = ops.take(self.segment_map, image, axis=0)
        truth = truth == ops.cast(ops.reshape(target + 1, (-1, 1, 1)), self.segment_map.dtype)
        row = image * self.shape[1] + ops.maximum(ops.take(self.query, item, axis=0), 0)
        return row, truth, place < self.num_pairs

    def _wrong_logits(self, logits, truth):
        """Enlarges masks; returns the logit of the wrong answer at every pixel, which tells all the losses need."""
        full = ops.matmul(self.rows, ops.matmul(logits, ops.transpose(self.columns)))
        return ops.where(truth, -full, full)

    def _slope(self, logits, truth, flow):
        """Returns the gradient by the enlarged masks."""
        wrong_logits = self._wrong_logits(logits, truth)
        wrong = ops.sigmoid(wrong_logits)
        right = 1.0 - wrong
        overlap, total = _overlap_and_total(wrong, truth)
        off_target = ops.reshape(flow[1] * (2.0 * overlap + 1.0) / ops.square(total + 1.0), (-1, 1, 1))
        on_target = off_target - ops.reshape(flow[1] * 2.0 / (total + 1.0), (-1, 1, 1))
        dice = ops.where(truth, on_target, off_target) * right
        scale = flow[0] / self.num_pixels
        focal = ops.where(truth, -FOCAL_ALPHA * scale, (1.0 - FOCAL_ALPHA) * scale) * wrong
        return wrong * (focal * (2.0 * right * ops.softplus(wrong_logits) + wrong) + dice)

    def _shrink(self, slope):
        """Carries a gradient back through the enlargement."""
        return ops.matmul(ops.matmul(ops.transpose(self.rows), slope), self.columns)


def _overlap_and_total(wrong, truth):
    """Of each pair: predicted probability on the target, and the sum of both areas; `[pairs]` float32."""
    area = ops.sum(ops.cast(truth, precise_dtype()), axis=(1, 2))
    overlap = ops.sum(ops.where(truth, 1.0 - wrong, 0.0), axis=(1, 2))
    return overlap, area + overlap + ops.sum(ops.where(truth, 0.0, wrong), axis=(1, 2))
