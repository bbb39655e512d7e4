"""Computes focal and dice loss at full resolution (arXiv:2107.06278, section 3.2; official `criterion.py`).

Predicted masks are enlarged to the size of the padded image, bilinearly with pixel centres at one half, and compared
there with the truth pixel by pixel. That is the largest piece of work of the objective, so it is done by hand: a loop
takes few masks at a time, matched ones only, and the gradient, in closed form, computes them again. No map of the size
of the image outlives its turn, and padding costs nothing. Enlarging is in `enlargement.py`. Which mask belongs to which
target is decided in `matcher.py`; normalisation is in `criterion.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.backend.compilation import compiled_for
from maskformer_model.backend.precision import precise_dtype
from maskformer_model.losses.enlargement import make_enlargement
from maskformer_model.losses.matcher import FOCAL_ALPHA

# Of each image. Full-size maps of few masks stay in the processor's cache; more fill a large accelerator better.
PAIRS_AT_ONCE = 1


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
        losses, overlap_and_total = compiled_for(segment_map, _loss_sums)(logits, segment_map, matched_query)

        def gradient(*args, upstream=None):
            # TensorFlow and JAX pass what flows back by position, PyTorch by name.
            flow = args[0] if upstream is None else upstream
            return compiled_for(segment_map, _gradient)(logits, segment_map, matched_query, overlap_and_total, flow)

        return losses, gradient

    return sums(mask_logits)


def _loss_sums(logits, segment_map, matched_query):
    """Returns `[2]`, the sums of the losses, and `[pairs, 2]`, what the gradient needs to know of each whole mask."""
    pairs = _Pairs(logits, segment_map, matched_query)
    focal, overlap, total = pairs.sums_over_pixels()
    dice = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
    losses = ops.stack([focal / pairs.num_pixels, ops.where(pairs.is_real, dice, 0.0)])
    return ops.sum(losses, axis=1), ops.stack([overlap, total], axis=1)


def _gradient(logits, segment_map, matched_query, overlap_and_total, flow):
    return _Pairs(logits, segment_map, matched_query).gradient(overlap_and_total, flow)


class _Pairs:
    """The matched masks of a batch, a few at a time."""

    def __init__(self, logits, segment_map, matched_query):
        self.shape = ops.shape(logits)
        self.flat_logits = ops.reshape(logits, (-1, *self.shape[2:]))
        self.at_once = PAIRS_AT_ONCE * self.shape[0]
        full_height, full_width = ops.shape(segment_map)[1:]
        self.enlargement = make_enlargement(self.shape[2:], (full_height, full_width))
        self.segment_map = self.enlargement.order(segment_map)
        self.num_pixels = ops.cast(full_height * full_width, precise_dtype())
        self.query = ops.reshape(matched_query, (-1,))
        self.num_targets = ops.shape(matched_query)[1]
        number = ops.cumsum(ops.ones_like(self.query)) - 1
        self.order = ops.argsort(ops.where(self.query >= 0, number, number + ops.size(self.query)))  # Real ones first.
        queries = ops.reshape(ops.arange(self.shape[1], dtype="int32"), (1, -1, 1))
        self.is_matched = ops.any(queries == ops.expand_dims(matched_query, 1), axis=2)
        self.num_pairs = ops.sum(ops.cast(self.query >= 0, "int32"))
        self.is_real = number < self.num_pairs  # Of the pairs in this order.

    def sums_over_pixels(self):
        """Returns three `[pairs]`: focal loss, predicted probability on the target, and the sum of both areas.

        In the order of the loop; 0 where there is no pair. A turn enlarges the masks of the next one: what is handed on
        is written out, whereas XLA would merge enlarging and logarithms into one loop of twice the time.
        """
        num_rows = ops.size(self.query) + self.at_once
        sums = ops.zeros((num_rows, 3), precise_dtype())

        def unfinished(first, full, sums):
            # NaN stays NaN: the rest can be left out. (Also, no step starts before the last one has freed its memory.)
            return (first < self.num_pairs) & ops.logical_not(ops.any(ops.isnan(sums)))

        def add(first, full, sums):
            _, truth, is_pair = self._take(first)
            wrong, right, cost = _wrong_right_and_cost(ops.where(truth, -full, full))
            focal = ops.where(truth, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA) * ops.square(wrong) * cost
            maps = (focal, ops.where(truth, right, 0.0), ops.where(truth, 1.0 + right, wrong))
            rows = ops.where(ops.expand_dims(is_pair, 1), ops.stack([_sum_of_pixels(m) for m in maps], axis=1), 0.0)
            sums = ops.slice_update(sums, (first, 0), rows)
            return first + self.at_once, self._enlarged(first + self.at_once), sums

        sums = ops.while_loop(unfinished, add, (0, self._enlarged(0), sums))[2]
        sums = sums[: ops.size(self.query)]
        return sums[:, 0], sums[:, 1], sums[:, 2]

    def gradient(self, overlap_and_total, flow):
        """Returns the gradient by the logits, `flow` `[2]` being that by the sums.

        A turn enlarges masks, takes the gradient by those of the turn before and shrinks that of the one before it.
        """
        # Every matched mask is overwritten by its gradient, in place; one spare row takes what is no pair.
        work = ops.concatenate([self.flat_logits, ops.zeros_like(self.flat_logits[:1])], axis=0)
        overlap, total = overlap_and_total[:, 0], overlap_and_total[:, 1]
        off_target = flow[1] * (2.0 * overlap + 1.0) / ops.square(total + 1.0)
        on_target = off_target - flow[1] * 2.0 / (total + 1.0)

        def slope(first, full):
            """Returns the gradient by the enlarged masks."""
            _, truth, _ = self._take(first)
            place = ops.minimum(self._places(first), ops.size(self.query) - 1)
            by_pair = (-1, *[1] * (len(truth.shape) - 1))
            on, off = (ops.reshape(ops.take(values, place, axis=0), by_pair) for values in (on_target, off_target))
            wrong, right, cost = _wrong_right_and_cost(ops.where(truth, -full, full))
            scale = flow[0] / self.num_pixels
            focal = ops.where(truth, -FOCAL_ALPHA * scale, (1.0 - FOCAL_ALPHA) * scale) * wrong
            return wrong * (focal * (2.0 * right * cost + wrong) + ops.where(truth, on, off) * right)

        def unfinished(first, full, slopes, work):
            return first < self.num_pairs + self.at_once

        def overwrite(first, full, slopes, work):
            before = ops.maximum(first - self.at_once, 0)
            row, _, is_pair = self._take(before)
            row = ops.where(is_pair & (first > 0), row, ops.shape(self.flat_logits)[0])
            work = ops.scatter_update(work, ops.expand_dims(row, 1), self.enlargement.shrink(slopes))
            return first + self.at_once, self._enlarged(first + self.at_once), slope(first, full), work

        full = self._enlarged(0)
        work = ops.while_loop(unfinished, overwrite, (0, full, ops.zeros_like(full), work))[3]
        work = ops.where(ops.reshape(self.is_matched, (-1, 1, 1)), work[:-1], 0.0)
        return ops.reshape(work, self.shape)

    def _enlarged(self, first):
        row, _, _ = self._take(first)
        return self.enlargement.enlarge(ops.take(self.flat_logits, row, axis=0))

    def _places(self, first):
        return first + ops.arange(self.at_once, dtype="int32")

    def _take(self, first):
        """Returns row of `flat_logits`, truth (bool, in the enlargement's order), and whether it is a pair."""
        place = self._places(first)
        item = ops.take(self.order, ops.minimum(place, ops.size(self.query) - 1), axis=0)
        image, target = item // self.num_targets, item % self.num_targets
        truth = ops.take(self.segment_map, image, axis=0)
        number = ops.cast(target + 1, self.segment_map.dtype)
        truth = truth == ops.reshape(number, (-1, *[1] * (len(truth.shape) - 1)))
        row = image * self.shape[1] + ops.maximum(ops.take(self.query, item, axis=0), 0)
        return row, truth, place < self.num_pairs


def _wrong_right_and_cost(wrong_logits):
    """Returns the probabilities of the wrong and the right answer and the cross-entropy, from one exponential."""
    # Below -80 all three are as good as 0, 1 and 0, and the exponential would be infinite.
    wrong_logits = ops.where(wrong_logits < -80.0, -80.0, wrong_logits)
    odds = ops.exp(-wrong_logits)
    wrong = 1.0 / (1.0 + odds)
    return wrong, odds * wrong, wrong_logits + ops.log(1.0 + odds)


def _sum_of_pixels(maps):
    """Sums `[pairs, ...]` to `[pairs]`, by products with ones: XLA spreads them over vector registers, unlike a sum."""
    width = ops.shape(maps)[-1]
    rows = ops.matmul(ops.reshape(maps, (-1, width)), ops.ones((width, 1), precise_dtype()))
    return ops.sum(ops.reshape(rows, (ops.shape(maps)[0], -1)), axis=1)
