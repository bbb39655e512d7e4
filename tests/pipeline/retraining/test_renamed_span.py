"""A span that is renamed while it is read is neither set aside nor half read, and is run when it is found again."""

from __future__ import annotations

import pytest

from components.coco_example_gen import data_manifest
from pipeline.retraining import mixed_data
from pipeline.retraining.span_states import FAILED, PUSHED
from tests.pipeline.retraining.test_loop import BAD_DATA
from tests.pipeline.retraining.test_loop import loop as loop  # The fixture.


def renames(function, folder, *, at: str, after: bool = False):
    """The function, before (or after) whose first call with an argument that names `at` the folder is renamed."""

    def called(*arguments, **keywords):
        names_it = any(at in str(getattr(value, "path", value)) for value in arguments)
        result = function(*arguments, **keywords) if after else None
        if names_it and folder.exists():
            folder.rename(folder.with_name("being-moved"))
        return result if after else function(*arguments, **keywords)

    return called


MOMENTS = {
    "its manifest is read": (data_manifest, "read_manifest", "manifest.json", False),
    "its files are listed": (data_manifest, "build_manifest", "", False),
    "a photo is hashed": (data_manifest, "file_sha256", "train2017", False),
    "a photo was hashed": (data_manifest, "file_sha256", "train2017", True),
    "its classes are compared": (mixed_data, "check_categories", "", False),
    "its photos were looked up": (mixed_data, "_read_panoptic_json", "", True),
    "its photos are copied": (mixed_data, "_bring", "train2017", False),
}


# Of an earlier span only its list and its photos are read; one that is gone before that is left out.
EARLIER = ("its photos were looked up", "its photos are copied")


@pytest.mark.parametrize(
    ("renamed", "moment"), [*(("span-2", moment) for moment in MOMENTS), *(("span-1", moment) for moment in EARLIER)]
)
def test_a_span_that_is_renamed_while_it_is_read_is_run_whole_under_its_next_name(loop, monkeypatch, moment, renamed):
    module, name, argument, after = MOMENTS[moment]
    loop.arrive(1)
    loop.run_pass()
    loop.arrive(2)
    folder = loop.spans / renamed
    with monkeypatch.context() as patch:
        at = f"{folder}{argument and '/'}"
        function = renames(getattr(module, name), folder, at=at, after=after)
        patch.setattr(module, name, function)
        loop.run_pass()
    assert loop.found in ({"span-1": PUSHED}, {"span-1": PUSHED, "span-2": FAILED})
    assert all(f"{renamed} was renamed" in state.reason for state in loop.states.all() if state.state == FAILED)
    (loop.spans / "being-moved").rename(loop.spans / ("span-3" if renamed == "span-2" else "span-1"))
    assert loop.run_pass()
    last = max(loop.states.all(), key=lambda state: state.number)
    assert (last.state, last.mix["train"]) == (PUSHED, {f"span-{last.number}": 6, "span-1": 6})


def test_a_span_that_is_renamed_while_it_is_validated_is_not_set_aside(loop):
    loop.arrive(1)
    runs = loop.runs

    class Renaming(type(runs)):
        def __call__(self, flags):
            if loop.spans.joinpath("span-1").exists():
                loop.spans.joinpath("span-1").rename(loop.spans / "span-4")
            return super().__call__(flags)

    runs.__class__ = Renaming
    runs.outcomes = {"span-1": BAD_DATA}
    assert not loop.run_pass()
    [state] = loop.states.all()
    assert state.state == FAILED and "span-1 was renamed" in state.reason
    assert loop.run_pass()
    assert loop.found == {"span-4": PUSHED}
