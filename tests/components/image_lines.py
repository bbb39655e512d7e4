"""Lines of `images.jsonl` and classes for tests of what is made of them."""

from __future__ import annotations

import json

from maskformer_model.categories import CategoryTable

CATEGORIES = CategoryTable.from_coco(
    [
        {"id": 5, "name": "sky", "isthing": 0},
        {"id": 2, "name": "cat", "isthing": 1},
        {"id": 9, "name": "dog", "isthing": 1},
    ]
)


def image_line(source_id: str, pq: float | None = 0.5, **statistics: float) -> str:
    """One image of 6 x 4 px without counts."""
    return json.dumps(
        {
            "source_id": source_id,
            "filename": f"{source_id}.jpg",
            "height_px": 4,
            "width_px": 6,
            "statistics": statistics,
            "pq": pq,
            "counts": [],
        }
    )
