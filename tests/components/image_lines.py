"""Lines of `images.jsonl` and classes for tests of what is made of them."""

from __future__ import annotations

import json

from components.panoptic_predictor.counts import SegmentCounts
from components.panoptic_predictor.image_measures import ALL, VARIANTS, ImageMeasures
from maskformer_model.categories import CategoryTable

CATEGORIES = CategoryTable.from_coco(
    [
        {"id": 5, "name": "sky", "isthing": 0},
        {"id": 2, "name": "cat", "isthing": 1},
        {"id": 9, "name": "dog", "isthing": 1},
    ]
)


def measures(rows: list[list[float]] = (), pixels=(), confusion=()) -> ImageMeasures:
    """Measures of an image: rows of class index, IoU sum, TP, FP, FN."""
    panoptic = dict.fromkeys(VARIANTS, ())
    panoptic[ALL] = tuple((index, SegmentCounts(*counts)) for index, *counts in rows)
    return ImageMeasures(panoptic=panoptic, pixels=tuple(pixels), confusion=tuple(confusion), instances={})


def sums_text(rows: list[list[float]], confusion=()) -> str:
    """The content of `counts.json` for rows of class index, IoU sum, TP, FP, FN."""
    sums = [[["panoptic", ALL, index], counts] for index, *counts in rows]
    return json.dumps(sums + [[["confusion", true, predicted], [count]] for true, predicted, count in confusion])


def image_line(
    source_id: str,
    pq: float | None = 0.5,
    rows: list[list[float]] = (),
    attributes=None,
    pixels=(),
    **statistics: float,
) -> str:
    """One image of 6 x 4 px, without counts where no `rows` of them are given."""
    return json.dumps(
        {
            "source_id": source_id,
            "filename": f"{source_id}.jpg",
            "height_px": 4,
            "width_px": 6,
            "statistics": statistics,
            "pq": pq,
            "attributes": attributes or {},
            "measures": measures(rows, pixels).to_json(),
        }
    )
