"""Tests of `pipeline.local_run.summary`."""

import dataclasses
import json

import pytest

from maskformer_model.config import ExperimentConfig
from pipeline.config import IngestStepConfig, PipelineConfig
from pipeline.local_run.run_record import CACHED, FAILED, RAN, ArtifactRecord, NodeFailedError, NodeRecord
from pipeline.local_run.summary import build_summary, describe, remove_summary, write_summary


@pytest.fixture
def config(tmp_path):
    return PipelineConfig(
        root=str(tmp_path),
        data=IngestStepConfig(data_dir="/data"),
        experiment_name="generated_scenes",
        experiment=ExperimentConfig(),
    )


@pytest.fixture
def evaluation_dir(tmp_path):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    quality = {
        "all": {"pq": 0.5, "sq": 0.8, "rq": 0.625, "num_classes": 3},
        "things": {"pq": 0.25, "sq": 0.5, "rq": 0.5, "num_classes": 2},
        "stuff": {"pq": 1.0, "sq": 1.0, "rq": 1.0, "num_classes": 1},
    }
    (folder / "metrics.json").write_text(json.dumps({"num_images": 7, "summary": quality}))
    (folder / "gate.json").write_text(json.dumps({"blessed": True, "reasons": [{"words": "PQ reaches the floor."}]}))
    (folder / "report.html").write_text("<html></html>")
    return folder


def node(node_id, state=RAN, **outputs):
    artifacts = {key: (ArtifactRecord(uri=str(uri), properties=values),) for key, (uri, values) in outputs.items()}
    return NodeRecord(node_id=node_id, state=state, seconds=1.23456, peak_memory_mb=321.09, outputs=artifacts)


def full_records(tmp_path, evaluation_dir, pushed_properties, pusher_state=RAN):
    examples_dir = tmp_path / "examples"
    examples_dir.mkdir()
    lines = [{"reason": "missing_photo", "file": "a.jpg"}, {"reason": "unknown_category"}, {"reason": "missing_photo"}]
    (examples_dir / "kept_aside.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (examples_dir / "notices.jsonl").write_text('{"reason": "box_leaves_photo"}\n' * 3 + '{"reason": "other_file"}\n')
    return [
        node("CocoExampleGen", CACHED, examples=(examples_dir, {})),
        node("PanopticEvaluator", evaluation=(evaluation_dir, {}), blessing=("/b", {"blessed": 1})),
        node("Pusher", pusher_state, pushed_model=("/p", pushed_properties)),
    ]


def test_a_semantic_run_tells_its_iou_first(config, tmp_path, evaluation_dir):
    path = evaluation_dir / "metrics.json"
    scores = {name: {"value": value} for name, value in (("mean_iou", 0.41), ("pixel_accuracy", 0.8), ("ap", None))}
    slices = {"all images": {"scores": scores | {"pq": {"value": 0.5, "low": None, "high": None}}, "changes": {}}}
    metrics = json.loads(path.read_text()) | {"task": "semantic", "analysis": {"slices": slices}}
    path.write_text(json.dumps(metrics))
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, {"pushed": 0}))
    assert (summary["task"], summary["mean_iou"], summary["pixel_accuracy"]) == ("semantic", 0.41, 0.8)
    assert (summary["ap"], summary["frequency_weighted_iou"]) == (None, None)
    assert describe(summary)[0] == "mIoU 0.4100, fwIoU -, accuracy 0.8000"
    assert describe(summary)[1].startswith("PQ 0.5000")


def test_a_pushed_model_s_numbers_are_at_the_top(config, tmp_path, evaluation_dir):
    pushed = {"pushed": 1, "pushed_destination": "/serving/5", "already_serving": 0}
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, pushed))
    assert summary["state"] == "succeeded"
    assert summary["failure"] is None
    numbers = {name: summary[name] for name in ("pq", "sq", "rq", "pq_things", "pq_stuff", "images")}
    assert numbers == {"pq": 0.5, "sq": 0.8, "rq": 0.625, "pq_things": 0.25, "pq_stuff": 1.0, "images": 7}
    assert summary["blessed"] is True
    assert (summary["pushed_model"], summary["pushed_now"]) == ("/serving/5", True)
    assert summary["report"] == str(evaluation_dir / "report.html")
    assert summary["verdict"] == ["PQ reaches the floor."]
    assert summary["kept_aside"] == {"missing_photo": 2, "unknown_category": 1}
    assert summary["noticed"] == {"box_leaves_photo": 3, "other_file": 1}
    words = f"Noticed: 3 box_leaves_photo, 1 other_file; listed in {tmp_path}/examples/notices.jsonl"
    assert words in describe(summary)
    assert summary["components"]["CocoExampleGen"] == {
        "state": "cached",
        "seconds": 1.235,
        "peak_memory_mb": 321.1,
        "attempts": 1,
    }


def test_a_model_that_already_serves_is_named_but_was_not_pushed_now(config, tmp_path, evaluation_dir):
    serving = {"pushed": 0, "pushed_destination": "/serving/5", "already_serving": 1}
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, serving))
    assert (summary["pushed_model"], summary["pushed_now"]) == ("/serving/5", False)
    lines = describe(summary)
    assert "Already serving: /serving/5" in lines
    assert "Try it: maskformer serve --model /serving, then open http://127.0.0.1:8501/" in lines
    assert f"Improve it: --init {config.root} starts the next run from this model." in lines


def test_a_push_of_an_earlier_run_is_not_claimed_by_a_cached_pusher(config, tmp_path, evaluation_dir):
    pushed = {"pushed": 1, "pushed_destination": "/serving/5"}
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, pushed, CACHED))
    assert (summary["pushed_model"], summary["pushed_now"]) == ("/serving/5", False)


def test_a_model_that_was_not_blessed_is_nowhere(config, tmp_path, evaluation_dir):
    records = full_records(tmp_path, evaluation_dir, {"pushed": 0, "already_serving": 0})
    records[1] = node("PanopticEvaluator", evaluation=(evaluation_dir, {}), blessing=("/b", {"blessed": 0}))
    summary = build_summary(config, records)
    assert (summary["blessed"], summary["pushed_model"], summary["pushed_now"]) == (False, None, False)
    assert "Nothing was pushed." in describe(summary)


def test_a_failed_run_names_the_node_and_has_no_numbers(config):
    failure = NodeFailedError("CocoExampleGen", "12 of 40 records are bad.")
    summary = build_summary(config, [node("CocoExampleGen", FAILED)], failure)
    assert summary["state"] == "failed"
    assert summary["failure"] == {"component": "CocoExampleGen", "reason": "12 of 40 records are bad."}
    empty = ("pq", "sq", "rq", "pq_things", "pq_stuff", "images", "blessed", "pushed_model", "report", "verdict")
    assert [summary[name] for name in empty] == [None] * len(empty)
    assert (summary["kept_aside"], summary["noticed"]) == ({}, {})
    assert summary["components"]["CocoExampleGen"]["state"] == "failed"
    assert describe(summary) == ["FAILED in CocoExampleGen: 12 of 40 records are bad."]


def test_a_quality_that_is_not_a_number_becomes_null(config, tmp_path, evaluation_dir):
    metrics = json.loads((evaluation_dir / "metrics.json").read_text())
    metrics["summary"]["things"]["pq"] = float("nan")
    (evaluation_dir / "metrics.json").write_text(json.dumps(metrics))
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, {}))
    assert summary["pq_things"] is None
    json.loads(json.dumps(summary, allow_nan=False))
    assert describe(summary)[0].startswith("PQ 0.5000 (things -, stuff 1.0000)")


def test_a_kind_without_an_evaluated_class_has_a_dash_and_warnings_follow_the_verdict(config, tmp_path, evaluation_dir):
    metrics = json.loads((evaluation_dir / "metrics.json").read_text()) | {"warnings": ["Only 7 images."]}
    metrics["summary"]["stuff"] = {"pq": 0.0, "sq": 0.0, "rq": 0.0, "num_classes": 0}
    (evaluation_dir / "metrics.json").write_text(json.dumps(metrics))
    summary = build_summary(config, full_records(tmp_path, evaluation_dir, {}))
    assert summary["pq_stuff"] is None
    assert describe(summary)[:3] == [
        "PQ 0.5000 (things 0.2500, stuff -), SQ 0.8000, RQ 0.6250 on 7 images",
        "PQ reaches the floor.",
        "Only 7 images.",
    ]


def test_an_earlier_summary_is_taken_away_and_a_new_one_is_written_whole(tmp_path):
    remove_summary(tmp_path)  # There may be none.
    path = write_summary(tmp_path, {"pq": 0.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"pq": 0.5}
    assert path == str(tmp_path / "summary.json")
    with pytest.raises(ValueError, match="JSON"):
        write_summary(tmp_path, {"pq": float("nan")})
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    remove_summary(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_serve_is_not_pushed_and_the_reason_is_said(config, tmp_path, evaluation_dir):
    records = full_records(tmp_path, evaluation_dir, {"pushed": 0, "already_serving": 0})
    records.insert(2, node("InfraValidator", blessing=("/i", {"blessed": 0, "reason": "It hangs."})))
    summary = build_summary(config, records)
    assert (summary["can_serve"], summary["cannot_serve_because"]) == (False, "It hangs.")
    assert describe(summary)[-3:-1] == ["Nothing was pushed.", "The model cannot serve: It hangs."]


@pytest.mark.parametrize(
    ("node_id", "cause", "at_fault"),
    [
        ("DriftGate", ValueError("drifted"), True),
        ("CocoExampleGen", ValueError("too many"), True),
        ("CocoExampleGen", OSError(28, "No space left on device"), False),
        ("Trainer", ValueError("a setting"), False),
        ("data", None, True),
    ],
)
def test_a_failure_says_whether_the_data_is_at_fault(config, node_id, cause, at_fault):
    failure = NodeFailedError(node_id, "no.")
    failure.__cause__ = cause
    assert build_summary(config, [], failure)["data_at_fault"] is at_fault
    assert build_summary(config, [])["data_at_fault"] is False


def test_a_run_that_was_to_stop_before_training_says_that_validation_passed(config):
    summary = build_summary(dataclasses.replace(config, validates_only=True, span="span-3"), [])
    assert describe(summary) == ["Data validation passed."]
    assert summary["span"] == "span-3"
