"""Ways to damage a field of a json, and what must hold of a conversion afterwards, for tests.

`FUZZ_EXAMPLES=5000 pytest tests/components/coco_example_gen tests/pipeline/retraining -k damaged` tries that many
random examples of each test in place of the fixed few.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from components.coco_example_gen.conversion.conversion_step import convert_shard, read_notices, read_report
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.records.reference_files import SplitRequest, plan_split
from maskformer_model.data.input_pipeline import open_records

GONE = object()


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


DAMAGES = [
    *(GONE, None, True, "", "0", "text", "half\ud83d", -1, 0, 1.0, 2.5, float("nan"), 1e300, 2**70, [], [None], {}),
    *({"a": 1}, "../x", "/etc/hostname", "a" * 300, nested(60)),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside of a json."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [place for key, part in items for place in places(part, (*path, key))]
    return [path, *inner] if path else inner


def damage(document: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        document = document[key]
    if value is GONE:
        del document[place[-1]]
    else:
        document[place[-1]] = copy.deepcopy(value)  # A further damage may change it.


def damaged(data: st.DataObject, document: Any, most: int = 1) -> Any:
    """A copy of a json in which up to so many values are others; a list where the whole json is gone."""
    whole = {"document": json.loads(json.dumps(document))}
    for _ in range(data.draw(st.integers(1, most))):
        if found := places(whole):
            damage(whole, data.draw(st.sampled_from(found)), data.draw(st.sampled_from(DAMAGES)))
    return whole.get("document", [])


def fuzzed(num_examples: int) -> settings:
    """The settings of a test with so many fixed examples, or with `FUZZ_EXAMPLES` random ones."""
    wanted = os.environ.get("FUZZ_EXAMPLES")
    return settings(
        max_examples=int(wanted or num_examples),
        derandomize=wanted is None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def check_conversion(
    source: SplitSource, folder: pathlib.Path, num_photos: int, not_records: tuple[str, ...] = (), named: str = ""
) -> None:
    """Converts, and compares what is written and what is named with the number of photos.

    Args:
        source: What is converted.
        folder: Has `work` and `out`.
        num_photos: All photos of the source, good and bad.
        not_records: The notices that say that a photo is no record.
        named: What a refusal must say, such as the damaged file.
    """
    try:
        request = SplitRequest(split="out", num_shards=1, allow_empty_shards=True)
        plan = plan_split(request, source, str(folder / "work"))
    except (ValueError, FileNotFoundError) as error:  # The file is refused, in one line.
        assert str(error) and "\n" not in str(error) and named in str(error)
        return
    [shard] = plan.shards
    (folder / "out" / "Split-out").mkdir(exist_ok=True, parents=True)
    convert_shard(shard, plan.categories, str(folder / "out"), str(folder / "work"))
    kept_aside = [*plan.kept_aside, *read_report(shard, str(folder / "work"))]
    written = 0
    if len(kept_aside) < plan.num_records:
        written = sum(1 for _ in open_records(str(folder / "out" / shard.path))[1])
    notices = [*plan.notices, *read_notices(shard, str(folder / "work"))]
    left_out = sum(notice.reason in not_records for notice in notices)
    assert written + len(kept_aside) == plan.num_records == num_photos - left_out
    assert all(entry.reason and entry.detail for entry in (*kept_aside, *notices))
    assert not [entry for entry in kept_aside if entry.reason == "unexpected_error"]
