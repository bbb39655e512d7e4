"""Tests of `pipeline.local_run.stepwise_runner`, on pipelines of small function components."""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import pathlib

import pytest
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel, standard_artifacts

from pipeline.local_run.run_record import NodeFailedError, find_artifact
from pipeline.local_run.stepwise_runner import Retries, StepwiseLocalDagRunner


@component
def Writer(model: OutputArtifact[standard_artifacts.Model], text: Parameter[str]):
    pathlib.Path(model.uri, "text").write_text(text)
    model.set_int_custom_property("length", len(text))


@component
def Reader(model: InputArtifact[standard_artifacts.Model], forbidden: Parameter[str]):
    if pathlib.Path(model.uri, "text").read_text() == forbidden:
        raise ValueError(f"the text must not be {forbidden!r}.")


class Collector:
    def __init__(self):
        self.begun, self.records = [], []

    def node_begins(self, node_id, position, num_nodes):
        self.begun.append((node_id, position, num_nodes))

    def node_ends(self, record):
        self.records.append(record)

    @property
    def states(self):
        return [record.state for record in self.records]


def run(root, run_id, text="hello", forbidden="", uncached=frozenset()):
    writer = Writer(text=text)
    latest = Resolver(strategy_class=LatestArtifactStrategy, model=Channel(type=standard_artifacts.Model)).with_id(
        "latest"
    )
    latest.add_upstream_node(writer)
    reader = Reader(model=writer.outputs["model"], forbidden=forbidden)
    reader.add_upstream_node(latest)
    pipeline = Pipeline(
        pipeline_name="p",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        components=[writer, latest, reader],
        enable_cache=True,
    )
    collector = Collector()
    try:
        StepwiseLocalDagRunner(run_id, collector, uncached).run(pipeline)
    except NodeFailedError as error:
        return collector, error
    return collector, None


def test_a_run_reports_every_node_with_its_artifacts(tmp_path):
    collector, error = run(tmp_path, "run1")
    assert error is None
    assert collector.begun == [("Writer", 1, 3), ("latest", 2, 3), ("Reader", 3, 3)]
    assert collector.states == ["ran", "cached", "ran"]
    written, found = (
        find_artifact(collector.records, "Writer", "model"),
        find_artifact(collector.records, "latest", "model"),
    )
    assert pathlib.Path(written.uri, "text").read_text() == "hello"
    assert written.properties["length"] == 5
    assert found.uri == written.uri
    assert all(record.seconds > 0 and record.peak_memory_mb > 50 for record in collector.records)


def test_an_unchanged_run_reuses_what_the_first_one_made(tmp_path):
    first, _ = run(tmp_path, "run1")
    second, _ = run(tmp_path, "run2")
    assert second.states == ["cached", "cached", "cached"]
    assert find_artifact(second.records, "Writer", "model") == find_artifact(first.records, "Writer", "model")


def test_a_changed_parameter_re_runs_its_node_and_what_follows(tmp_path):
    run(tmp_path, "run1")
    assert run(tmp_path, "run2", forbidden="other")[0].states == ["cached", "cached", "ran"]
    assert run(tmp_path, "run3", text="bye")[0].states == ["ran", "cached", "ran"]


def test_a_node_can_be_kept_from_the_cache(tmp_path):
    run(tmp_path, "run1")
    assert run(tmp_path, "run2", uncached=frozenset({"Reader"}))[0].states == ["cached", "cached", "ran"]


def test_a_node_that_fails_is_named_with_its_reason_and_fails_again_the_next_time(tmp_path):
    for run_id in ("run1", "run2"):
        collector, error = run(tmp_path, run_id, forbidden="hello")
        assert (error.node_id, error.reason) == ("Reader", "the text must not be 'hello'.")
        assert collector.states[-1] == "failed"
        assert collector.records[-1].outputs == {}


def test_inputs_that_are_gone_fail_the_run_though_tfx_goes_on(tmp_path):
    writer = Writer(text="hello")
    lonely = Reader(model=writer.outputs["model"], forbidden="")
    pipeline = Pipeline(
        pipeline_name="p",
        pipeline_root=str(tmp_path / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
        components=[writer, lonely],
    )
    from tfx.dsl.compiler.compiler import Compiler

    ir = Compiler().compile(pipeline)
    del ir.nodes[0]  # As if the writer had never been in this run.
    with pytest.raises(NodeFailedError, match="Reader failed: its inputs were not found"):
        StepwiseLocalDagRunner("run1", Collector()).run_with_ir(ir)


@component
def Flaky(model: OutputArtifact[standard_artifacts.Model], counter: Parameter[str], failures: Parameter[int]):
    file = pathlib.Path(counter)
    count = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(count))
    if count <= failures:
        raise ConnectionError(f"attempt {count} found nobody.")
    pathlib.Path(model.uri, "text").write_text("hello")


@component
def Wrong(model: OutputArtifact[standard_artifacts.Model]):
    raise ValueError("a wrong value stays wrong.")


class TrainingInterruptedError(RuntimeError):
    """By its name what a training raises that was asked to stop."""


@component
def Stopped(model: OutputArtifact[standard_artifacts.Model], counter: Parameter[str]):
    with open(counter, "a") as file:
        file.write("x")
    raise TrainingInterruptedError("stopped on request.")


def run_alone(root, node, retries):
    pipeline = Pipeline(
        pipeline_name="p",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        components=[node],
    )
    collector = Collector()
    try:
        StepwiseLocalDagRunner("run1", collector, retries=retries).run(pipeline)
    except NodeFailedError as error:
        return collector.records[0], error
    return collector.records[0], None


@pytest.mark.parametrize(("failures", "state", "attempts"), [(0, "ran", 1), (2, "ran", 3), (3, "failed", 3)])
def test_a_node_that_fails_is_tried_as_often_as_it_is_told(tmp_path, failures, state, attempts):
    node = Flaky(counter=str(tmp_path / "count"), failures=failures)
    record, error = run_alone(tmp_path, node, Retries(attempts=3))
    assert (record.state, record.attempts, error is None) == (state, attempts, state == "ran")
    if state == "ran":
        [artifact] = record.outputs["model"]
        assert pathlib.Path(artifact.uri, "text").read_text() == "hello"
    else:
        assert error.reason == "attempt 3 found nobody."


def test_an_answer_about_the_data_and_a_wish_to_stop_are_not_tried_again(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    gate = Flaky(counter=str(tmp_path / "count"), failures=9).with_id("DriftGate")
    assert run_alone(tmp_path / "a", gate, Retries(attempts=3))[0].attempts == 1
    run_alone(tmp_path / "b", Stopped(counter=str(tmp_path / "stops")), Retries(attempts=3))
    assert (tmp_path / "stops").read_text() == "x"
    record, error = run_alone(tmp_path / "c", Wrong(), Retries(attempts=3))
    assert (record.attempts, error.reason) == (1, "a wrong value stays wrong.")
