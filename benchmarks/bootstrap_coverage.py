"""How often the evaluator's 95 % intervals hold the truth: data sets are drawn from a population whose PQ is known.

40 classes, from frequent to rare; images are easy or hard, for both models. The peer of PQ's interval is the
percentile one, which is not used because rare classes fall out of resamples and PQ of a resample is too low.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from benchmarks.row import Row, main

NUM_CLASSES, POPULATION = 40, 40_000
NUM_DATA_SETS, NUM_RESAMPLES = 200, 300
IMAGES = (60, 300)
SKILLS = (0.75, 0.70)  # Of candidate and baseline: how likely a segment of an easy image is found.


def measure() -> Iterable[Row]:
    """Rows per number of images: PQ, its change, and the one-sided bound of the change."""
    from components.panoptic_evaluator.scoring.bootstrap import resample
    from components.panoptic_evaluator.scoring.scores import CountLayout
    from maskformer_model.categories import CategoryTable

    table = CategoryTable.from_coco({"id": k + 1, "name": f"class {k}", "isthing": k % 2} for k in range(NUM_CLASSES))
    layout = CountLayout(categories=table)
    generator = np.random.default_rng(3)
    whole = [np.zeros(layout.size) for _ in SKILLS]
    for _ in range(POPULATION // 1000):
        for total, vectors in zip(whole, draw_images(generator, layout, 1000), strict=True):
            total += vectors.sum(axis=0)
    true, true_baseline = (float(layout.scores(total)["pq"]) for total in whole)
    for num_images in IMAGES:
        held = np.zeros(4)
        for _ in range(NUM_DATA_SETS):
            found = resample(layout, *draw_images(generator, layout, num_images), num_resamples=NUM_RESAMPLES)
            (low, high, _), value = _ends(found.scores["pq"]), found.scores["pq"].value
            change_low, change_high, bound = _ends(found.changes["pq"])
            held += [
                low <= true <= high,
                2 * value - high <= true <= 2 * value - low,
                change_low <= true - true_baseline <= change_high,
                bound <= true - true_baseline,
            ]
        basic, percentile, of_change, of_bound = (100 * held / NUM_DATA_SETS).tolist()
        remark = f"{NUM_DATA_SETS} data sets; PQ {true:.3f}, change {true - true_baseline:+.3f}"
        yield _row(f"interval of PQ holds it, {num_images} images", basic, remark, percentile)
        yield _row(f"interval of a change of PQ holds it, {num_images} images", of_change, remark)
        yield _row(f"one-sided bound of a change of PQ is below it, {num_images} images", of_bound, remark)


def draw_images(generator: np.random.Generator, layout, num_images: int) -> list[np.ndarray]:
    """Count vectors `[images, size]` of candidate and baseline on the same new images."""
    shape = (num_images, NUM_CLASSES)
    likely = 0.8 / (1 + np.arange(NUM_CLASSES)) ** 0.8  # The rarest class is in 4 % of the images.
    num_true = (generator.random(shape) < likely) * (1 + generator.poisson(1.0, shape))
    ease = generator.beta(4, 1.5, (num_images, 1))
    models = []
    for skill in SKILLS:
        found = generator.binomial(num_true, skill * ease)
        iou_sum = found * np.clip(0.6 + 0.35 * ease + generator.normal(0, 0.05, shape), 0.5, 1)
        false = generator.poisson(0.15 * likely, shape)
        vectors = np.zeros((num_images, *layout.shape))
        vectors[:, 0] = np.stack([iou_sum, found, false, num_true - found], axis=-1)
        models.append(
            np.concatenate([vectors.reshape(num_images, -1), np.zeros((num_images, 3 * NUM_CLASSES))], axis=1)
        )
    return models


def _ends(interval) -> list[float]:
    """Lower end, upper end, and the one-sided bound, which are there for more than one image."""
    return [float(end) for end in (interval.low, interval.high, interval.lower_bound)]


def _row(name: str, share: float, remark: str, percentile: float | None = None) -> Row:
    return Row(
        name=name,
        ours=share,
        unit="%",
        peer=percentile,
        peer_name="" if percentile is None else "percentile interval",
        remark=f"95 % asked for; {remark}",
    )


if __name__ == "__main__":
    main(measure)
