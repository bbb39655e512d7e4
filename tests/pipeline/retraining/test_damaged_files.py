"""A field of a file that retraining reads is damaged: its span waits or is set aside, or one line names the file."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.coco_example_gen import data_manifest
from components.coco_example_gen.options import IngestOptions
from components.coco_example_gen.sources import sources_of
from pipeline.local_run import runs_page
from pipeline.retraining import mixed_data
from pipeline.retraining.config import RetrainConfig
from pipeline.retraining.loop import Retraining
from pipeline.retraining.mixed_data import OtherDataError, Source
from pipeline.retraining.span_decisions import NOTHING, RUN, WAIT, decide
from pipeline.retraining.span_states import FAILED, PUSHED, RUNNING, SpanState, SpanStates
from pipeline.retraining.spans import find_spans, stated_manifest
from tests.components.coco_example_gen.damages import damaged, fuzzed
from tests.pipeline.span_folders import seal


@pytest.fixture(scope="module")
def spans(drawn_spans, tmp_path_factory):
    """A folder with two spans of its own."""
    folder = tmp_path_factory.mktemp("damaged")
    for number in (1, 2):
        shutil.copytree(drawn_spans / f"span-{number}", folder / f"span-{number}")
    return folder


def written(path: pathlib.Path, document) -> str:
    """Writes a json and returns its text."""
    path.write_text(json.dumps(document))
    return path.read_text()


@fuzzed(25)
@given(data=st.data())
def test_a_span_whose_manifest_is_damaged_waits(spans, data):
    path = spans / "span-2" / data_manifest.MANIFEST_FILE
    whole = path.read_text()
    document = damaged(data, json.loads(whole))
    try:
        written(path, document)
        span = find_spans(str(spans))[1]
        decision = decide(span, SpanStates(str(spans / "root")))
        assert decision.action == (RUN if document == json.loads(whole) else WAIT)
        assert decision.why and "\n" not in decision.why
        if document != json.loads(whole):
            with pytest.raises((ValueError, FileNotFoundError)) as raised:
                data_manifest.stated_digest(span.path, sources_of(span.path, IngestOptions()).values())
            assert "\n" not in str(raised.value)
    finally:
        path.write_text(whole)


@pytest.fixture(scope="module")
def root(spans, tmp_path_factory):
    """A root that has trained on span 1 and was interrupted in span 2; its files of states by span."""
    root = tmp_path_factory.mktemp("root")
    states, files = SpanStates(str(root)), {}
    for span, word in zip(find_spans(str(spans)), (PUSHED, RUNNING), strict=True):
        digest = data_manifest.manifest_digest(stated_manifest(span))
        plan = {"initial": "", "why_cold": "--cold", "history": [*files], "forced": False}
        mix = {"train": {span.name: 6}, "eval": {"fixed": 3}, "digests": {span.name: digest}}
        state = SpanState(
            digest=digest, span=span.name, number=span.number, path=span.path, state=word, plan=plan, mix=mix, pq=0.25
        )
        states.write(state)
        files[digest] = root / "retrain" / "spans" / f"{digest}.json"
    return root, files


def pretended_run(root: pathlib.Path):
    """In place of `run_local.py`: every run ends well, without a model."""
    fields = ("failure", "pushed_model", "cannot_serve_because", "pq", "model_run")
    summary = dict.fromkeys(fields) | {"data_at_fault": False, "verdict": ["PQ is worse."]}

    def run(flags) -> int:
        (root / "summary.json").write_text(json.dumps(summary))
        return 0

    return run


@fuzzed(25)
@given(data=st.data())
def test_a_damaged_state_of_a_span_is_named_in_a_line_or_says_something_else(spans, root, data):
    folder, files = root
    texts = {path: path.read_text() for path in files.values()}
    path = data.draw(st.sampled_from(sorted(texts)))
    document = damaged(data, json.loads(texts[path]), 2)
    config = RetrainConfig(spans_dir=str(spans), root=str(folder), run_args=("--experiment", "generated_scenes"))
    try:
        written(path, document)
        retraining = Retraining(config, pretended_run(folder))
        try:
            decisions = retraining.decisions()
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return
        assert [decision.action in (RUN, NOTHING) for decision in decisions] == [True, True]
        assert retraining.run_pass() in (True, False)
        assert {state.digest for state in SpanStates(str(folder)).all()} == set(files)
        assert (folder / "index.html").read_text().count('<li class="run"') >= len(files)
    finally:
        for other, text in texts.items():
            other.write_text(text)


@fuzzed(20)
@given(data=st.data())
def test_the_page_of_runs_is_written_whatever_the_last_pass_has_left(tmp_path, data):
    span = {"span": "span-1", "state": FAILED, "reason": "No.", "pq": 0.25}
    path = tmp_path / runs_page.SPANS_FILE
    path.parent.mkdir(exist_ok=True)
    written(path, damaged(data, {"spans": [span, span]}))
    page = tmp_path / runs_page.write_index(str(tmp_path), str(tmp_path / "serving"))
    assert "All runs" in page.read_text("utf-8")


@pytest.mark.parametrize(("field", "value"), [("path", "half\ud83d"), ("pushed_model", "half\ud83d")])
def test_half_of_an_emoji_in_a_span_s_state_is_named(root, field, value):
    _, files = root
    path = sorted(files.values())[0]
    text = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(text) | {field: value}))
        with pytest.raises(ValueError, match=f"(?s){path.name}.*`{field}` is of the wrong kind"):
            SpanStates(str(root[0])).all()
    finally:
        path.write_text(text)


@fuzzed(25)
@given(data=st.data())
def test_a_damaged_json_of_a_span_costs_its_photos_or_sets_it_aside(spans, tmp_path_factory, data):
    split = data.draw(st.sampled_from((mixed_data.TRAIN, mixed_data.VAL)))
    path = spans / "span-2" / "annotations" / f"panoptic_{split}.json"
    whole = path.read_text()
    target = tmp_path_factory.mktemp("mix") / "mix"
    try:
        written(path, damaged(data, json.loads(whole), 2))
        seal(spans / "span-2")
        fixed, new = (Source(span.name, span.path, stated_manifest(span)) for span in find_spans(str(spans)))
        try:
            mixed_data.check_categories(new.path, fixed.path)
            counts = mixed_data.build_mix(str(target), new, [fixed], fixed, history_share=0.5)
        except OtherDataError as error:
            assert str(error) and "\n" not in str(error)
            return
        for part, folder in (("train", mixed_data.TRAIN), ("eval", mixed_data.VAL)):
            document = json.loads((target / "annotations" / f"panoptic_{folder}.json").read_text())
            photos = [file for file in (target / folder).rglob("*") if file.is_file()]
            assert len(document["images"]) == len(photos) == sum(counts[part].values())
            assert counts["eval"]["fixed"] == 3 and counts["eval"].get("new", 0) <= 3
    finally:
        path.write_text(whole)
        seal(spans / "span-2")
