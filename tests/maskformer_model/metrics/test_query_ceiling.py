"""The query ceiling: PQ that a limited number of queries leaves, by hand and on real data."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest

from maskformer_model.config import INSTANCE, PANOPTIC, SEMANTIC
from maskformer_model.metrics.query_ceiling import SegmentRanks, ceiling_sentence

CELL, SKY = 0, 1
ISTHING = np.array([True, False])


def ranks_of(*photos, kind=PANOPTIC):
    """Photos as lists of (class, area) or (class, area, crowd)."""
    ranks = SegmentRanks(ISTHING, kind)
    for photo in photos:
        rows = [(*segment, False)[:3] for segment in photo]
        ranks.add_photo([c for c, _, _ in rows], [a for _, a, _ in rows], [crowd for _, _, crowd in rows])
    return ranks


def test_the_smallest_segments_are_missed_and_count_half_in_the_denominator():
    ranks = ranks_of([(CELL, 5), (CELL, 4), (CELL, 3)], [(CELL, 9)])
    # 1 query: 2 found, 2 missed: 2 / (2 + 2 / 2). 2 queries: 3 / (3 + 1 / 2).
    assert ranks.ceiling(1).all.pq == pytest.approx(2 / 3)
    assert ranks.ceiling(2).all.pq == pytest.approx(6 / 7)
    assert ranks.ceiling(3).all.pq == ranks.ceiling(200).all.pq == 1.0


def test_stuff_takes_a_query_from_things_where_it_is_larger_and_gives_way_where_it_is_smaller():
    large = ranks_of([(SKY, 100), (CELL, 5), (CELL, 4)]).ceiling(2)
    assert (large.stuff.pq, large.things.pq, large.all.pq) == (1.0, pytest.approx(2 / 3), pytest.approx(5 / 6))
    small = ranks_of([(SKY, 1), (CELL, 5), (CELL, 4)]).ceiling(2)
    assert (small.stuff.pq, small.things.pq, small.all.pq) == (0.0, 1.0, 0.5)


def test_crowds_are_not_counted_stuff_is_not_an_instance_and_a_class_is_one_semantic_segment():
    photo = [(SKY, 100), (CELL, 50, True), (CELL, 5), (CELL, 4)]
    assert ranks_of(photo).most_segments == 3
    assert ranks_of(photo, kind=INSTANCE).most_segments == 2
    assert ranks_of(photo, kind=SEMANTIC).most_segments == 2
    assert ranks_of(photo, kind=SEMANTIC).ceiling(1).all.pq == 0.5


def test_the_number_that_allows_an_aim_is_the_smallest_one():
    ranks = ranks_of(*[[(CELL, 1.0)] * count for count in (1, 2, 3, 10)])
    # Of 16 cells a limit of 5 finds 11: 11 / 13.5 = 0.815; 6: 12 / 14 = 0.857.
    assert (ranks.queries_for(0.82), ranks.queries_for(0.81), ranks.queries_for(1.0)) == (6, 5, 10)


def test_no_photo_and_a_photo_without_segments_need_one_query():
    assert ranks_of().queries_for() == ranks_of([]).queries_for() == 1
    assert ranks_of([]).num_photos == 1


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", [0.576, 0.818, 0.932, 0.987, 0.998]), ("val", [0.557, 0.802, 0.928, 0.984, 0.993])],
)
def test_ceilings_of_real_nuclei(shared_dir, split, expected):
    document = json.loads((shared_dir / "data" / "nuclei" / "annotations" / f"instances_{split}.json").read_text())
    areas = collections.defaultdict(list)
    for entry in document["annotations"]:
        areas[entry["image_id"]].append(entry["area"])
    ranks = SegmentRanks(np.array([True]))
    for image in document["images"]:
        photo = areas[image["id"]]
        ranks.add_photo([0] * len(photo), photo, [False] * len(photo))
    assert [round(ranks.ceiling(count).all.pq, 3) for count in (20, 50, 100, 200, 300)] == expected


def test_a_low_ceiling_is_a_warning_with_the_settings_that_would_allow_more():
    ranks = ranks_of([(CELL, 1)] * 30)
    words = ceiling_sentence("train", ranks, num_queries=50, max_targets=20)
    # 20 of 30 found: 20 / 25. 30 / 30.1 needs all but none: 29 of 30 are 29 / 29.5 = 0.983.
    assert words.startswith("WARNING: query ceiling of train: PQ 0.800 at best with num_queries=50 and max_targets=20;")
    assert words.endswith("0.99 needs 30: task.model.num_queries=30,task.train_data.parser.max_targets=30")
    assert ceiling_sentence("eval", ranks, 30, 40) == (
        "query ceiling of eval: PQ 1.000 at best with num_queries=30 and max_targets=40."
    )
    assert "WARNING" not in ceiling_sentence("train", ranks, 29, 29)
    crowded = ranks_of([(CELL, 1)] * 400)
    assert "0.99 needs 393, but max_targets is 255 at most, which allows 0.779" in ceiling_sentence(
        "x", crowded, 99, 99
    )
