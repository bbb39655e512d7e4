"""Warns of what an evaluation cannot tell: classes that were never evaluated, and scores on a few images only."""

from __future__ import annotations

import numpy as np

from components.panoptic_evaluator.scoring.evaluation import Evaluation

FEW_IMAGES = 30
_MOST_NAMES = 10


def evaluation_warnings(evaluation: Evaluation) -> list[str]:
    """Returns a sentence for each; none where every class occurs in the truth of at least `FEW_IMAGES` images."""
    num_images, names = len(evaluation.images), evaluation.categories.names
    if not num_images:
        return []
    warnings = []
    if num_images < FEW_IMAGES:
        images = "1 image was" if num_images == 1 else f"{num_images} images were"
        warnings.append(f"Only {images} evaluated: with fewer than {FEW_IMAGES}, the scores can change by chance.")
    counts = evaluation.counts
    absent = np.flatnonzero(counts.true_positives + counts.false_negatives == 0)
    if absent.size:
        shown = ", ".join(names[index] for index in absent[:_MOST_NAMES])
        more = f" and {absent.size - _MOST_NAMES} more" if absent.size > _MOST_NAMES else ""
        verb = "was" if absent.size == 1 else "were"
        warnings.append(
            f"{absent.size} of {len(names)} classes {verb} never evaluated, since no evaluated image has one: "
            f"{shown}{more}."
        )
    return warnings
