"""Builds `summary.json`, the result of one run, for people and for programs.

It is built from the run's node records and the nodes' files, including those that an earlier run made. Numbers that a
run has not computed are null.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections import Counter
from typing import Any

from components.panoptic_evaluator.files import GATE_FILE, METRICS_FILE, REPORT_FILE
from maskformer_model.config import INSTANCE, SEMANTIC
from maskformer_model.config.files import KEPT_ASIDE_FILE, NOTICES_FILE
from maskformer_model.config.scores import SCORE_LABELS, SCORES_OF_TASK
from pipeline.config import PipelineConfig
from pipeline.local_run.run_record import RAN, ArtifactRecord, NodeFailedError, NodeRecord, find_artifact
from pipeline.whole_files import write_durably

SUMMARY_FILE = "summary.json"
# The scores of models that are not judged by PQ.
_OTHER_SCORES = (*SCORES_OF_TASK[SEMANTIC], *SCORES_OF_TASK[INSTANCE])


def build_summary(
    config: PipelineConfig, records: list[NodeRecord], failure: NodeFailedError | None = None
) -> dict[str, Any]:
    """Returns the summary of a run, read from its records and their files.

    Args:
        config: The config of the run.
        records: The records of the nodes that ran, in order.
        failure: Why the run stopped, if it did.

    Returns:
        `state` ("succeeded" or "failed"); `task` of the model; `failure` (`component` and `reason`, or None);
        `data_at_fault` (whether it would fail again on the same data); `pq`, `sq`, `rq`, `pq_things` and `pq_stuff`,
        `mean_iou`, `frequency_weighted_iou`, `pixel_accuracy`, `ap`, `ap50` and `ap75` in 0..1; `pq_interval` (both
        ends) and `pq_change` (against the last blessed model), or None; `images` (number evaluated); `outcome` (of the
        comparison); `blessed`; `verdict` (the gate's reasons in words); `warnings` (what the scores say nothing about);
        `can_serve` and `cannot_serve_because` (what InfraValidator found);
        `pushed_model` (folder of the version that serves this model, or None) and `pushed_now` (False where it already
        served); `report` (path); `kept_aside` (count per reason) and `kept_aside_list` (path); `noticed` and
        `noticed_list`, the same for what was left out or is unusual and cost no record; `components` (by node id:
        `state`, `seconds`, `peak_memory_mb`, `attempts`); `experiment`, `data`, `data_fingerprint` (of its content),
        `root`; `span` (what the data is called) and `validates_only` (whether the run was to stop before training);
        `model_run` (folder of the trained weights, to start another training from).
    """
    examples = find_artifact(records, "CocoExampleGen", "examples")
    evaluation = find_artifact(records, "PanopticEvaluator", "evaluation")
    blessing = find_artifact(records, "PanopticEvaluator", "blessing")
    model_run = find_artifact(records, "Trainer", "model_run")
    return {
        "state": "failed" if failure else "succeeded",
        "failure": {"component": failure.node_id, "reason": failure.reason} if failure else None,
        "data_at_fault": _is_data_at_fault(failure),
        **_metrics(evaluation),
        "blessed": bool(blessing.properties.get("blessed")) if blessing else None,
        **_infra(records),
        **_pushed(records),
        "report": _existing(evaluation, REPORT_FILE),
        "kept_aside": _count_reasons(_existing(examples, KEPT_ASIDE_FILE)),
        "kept_aside_list": _existing(examples, KEPT_ASIDE_FILE),
        "noticed": _count_reasons(_existing(examples, NOTICES_FILE)),
        "noticed_list": _existing(examples, NOTICES_FILE),
        "components": {
            record.node_id: {
                "state": record.state,
                "seconds": round(record.seconds, 3),
                "peak_memory_mb": round(record.peak_memory_mb, 1),
                "attempts": record.attempts,
            }
            for record in records
        },
        "experiment": config.experiment_name,
        "data": config.data.data_dir,
        "data_fingerprint": examples.properties.get("input_fingerprint") if examples else None,
        "root": config.root,
        "span": config.span,
        "validates_only": config.validates_only,
        "model_run": model_run.uri if model_run else None,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """Returns a summary as a few lines for the terminal."""
    if summary["failure"]:
        return [f"FAILED in {summary['failure']['component']}: {summary['failure']['reason']}"]
    if summary["validates_only"]:
        return ["Data validation passed.", *_describe_left_out(summary)]
    pq, sq, rq, things, stuff = (
        "-" if summary[name] is None else f"{summary[name]:.4f}" for name in ("pq", "sq", "rq", "pq_things", "pq_stuff")
    )
    lines = [
        *_task_line(summary),
        f"PQ {pq} (things {things}, stuff {stuff}), SQ {sq}, RQ {rq} on {summary['images']} images",
        *summary["verdict"],
        *summary["warnings"],
        *_describe_left_out(summary),
    ]
    if summary["pushed_model"]:
        lines.append(f"{'Pushed' if summary['pushed_now'] else 'Already serving'}: {summary['pushed_model']}")
        versions_dir = os.path.dirname(summary["pushed_model"])
        lines.append(f"Try it: maskformer serve --model {versions_dir}, then open http://127.0.0.1:8501/")
        lines.append(f"Improve it: --init {summary['root']} starts the next run from this model.")
    else:
        lines.append("Nothing was pushed.")
    if summary["cannot_serve_because"]:
        lines.append(f"The model cannot serve: {summary['cannot_serve_because']}")
    return [*lines, f"Report: {summary['report']}"]


def _task_line(summary: dict[str, Any]) -> list[str]:
    """Returns the scores of a task that is not judged by PQ."""
    names = [name for name in SCORES_OF_TASK.get(summary["task"], ()) if name in _OTHER_SCORES]
    texts = [f"{SCORE_LABELS[name]} {'-' if summary[name] is None else f'{summary[name]:.4f}'}" for name in names]
    return [", ".join(texts)] if texts else []


def _describe_left_out(summary: dict[str, Any]) -> list[str]:
    lines = []
    for title, key in (("Skipped", "kept_aside"), ("Noticed", "noticed")):
        if summary[key]:
            counts = ", ".join(f"{count} {reason}" for reason, count in summary[key].items())
            lines.append(f"{title}: {counts}; listed in {summary[f'{key}_list']}")
    return lines


def write_summary(root: str, summary: dict[str, Any]) -> str:
    """Writes `<root>/summary.json`, whole or not at all, and returns its path."""
    path = os.path.join(root, SUMMARY_FILE)
    write_durably(path, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return path


def remove_summary(root: str) -> None:
    """Removes an earlier run's summary, so that an interrupted run leaves none that looks like its own."""
    pathlib.Path(root, SUMMARY_FILE).unlink(missing_ok=True)


def _is_data_at_fault(failure: NodeFailedError | None) -> bool:
    """Returns whether the data caused a failure, and not the machine."""
    if failure is None:
        return False
    if failure.node_id in ("data", "AnomalyGate", "DriftGate"):
        return True
    return failure.node_id == "CocoExampleGen" and isinstance(failure.__cause__, ValueError | FileNotFoundError)


def _metrics(evaluation: ArtifactRecord | None) -> dict[str, Any]:
    path = _existing(evaluation, METRICS_FILE)
    if path is None:
        names = ("pq", "sq", "rq", "pq_things", "pq_stuff", "images", "pq_interval", "pq_change", "outcome", "verdict")
        return dict.fromkeys(("task", *names, *_OTHER_SCORES)) | {"warnings": []}
    metrics, gate = _read_json(path), _read_json(os.path.join(os.path.dirname(path), GATE_FILE))
    quality = metrics["summary"]
    others = {name: _of_all_images(metrics, "scores", name) for name in _OTHER_SCORES}
    return {
        "task": metrics.get("task"),
        **{name: None if found is None else _number(found["value"]) for name, found in others.items()},
        "pq": _mean(quality["all"], "pq"),
        "sq": _mean(quality["all"], "sq"),
        "rq": _mean(quality["all"], "rq"),
        "pq_things": _mean(quality["things"], "pq"),
        "pq_stuff": _mean(quality["stuff"], "pq"),
        "images": metrics["num_images"],
        "warnings": metrics.get("warnings", []),
        "pq_interval": _interval(metrics),
        "pq_change": _change(metrics),
        "outcome": gate.get("outcome"),
        "verdict": [reason["words"] for reason in gate["reasons"]],
    }


def _interval(metrics: dict[str, Any]) -> list[float] | None:
    """Returns both ends of PQ's confidence interval, or None if it is unknown."""
    pq = _of_all_images(metrics, "scores", "pq")
    return None if pq is None or pq["low"] is None else [pq["low"], pq["high"]]


def _change(metrics: dict[str, Any]) -> float | None:
    change = _of_all_images(metrics, "changes", "pq")
    return None if change is None else change["value"]


def _of_all_images(metrics: dict[str, Any], kind: str, score: str) -> dict[str, Any] | None:
    slices = metrics.get("analysis", {}).get("slices", {})
    return slices.get("all images", {}).get(kind, {}).get(score)


def _infra(records: list[NodeRecord]) -> dict[str, Any]:
    blessing = find_artifact(records, "InfraValidator", "blessing")
    if blessing is None:
        return {"can_serve": None, "cannot_serve_because": None}
    can_serve = bool(blessing.properties.get("blessed"))
    return {"can_serve": can_serve, "cannot_serve_because": None if can_serve else blessing.properties.get("reason")}


def _pushed(records: list[NodeRecord]) -> dict[str, Any]:
    pushed_model = find_artifact(records, "Pusher", "pushed_model")
    properties = pushed_model.properties if pushed_model else {}
    pushed, already_serving = bool(properties.get("pushed")), bool(properties.get("already_serving"))
    destination = properties.get("pushed_destination") if pushed or already_serving else None
    by_this_run = any(record.node_id == "Pusher" and record.state == RAN for record in records)
    return {"pushed_model": destination, "pushed_now": pushed and by_this_run}


def _count_reasons(path: str | None) -> dict[str, int]:
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:
        counts = Counter(json.loads(line)["reason"] for line in file if line.strip())
    return dict(sorted(counts.items()))


def _read_json(path: str) -> dict[str, Any]:
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def _existing(artifact: ArtifactRecord | None, name: str) -> str | None:
    path = os.path.join(artifact.uri, name) if artifact else None
    return path if path and os.path.exists(path) else None


def _mean(quality: dict[str, Any], score: str) -> float | None:
    """Returns a mean over classes, or None where there is no class to average."""
    return _number(quality[score]) if quality["num_classes"] else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
