"""The page on a published checkpoint: from random weights with labels to a server, and to a pipeline for Kubeflow."""

from __future__ import annotations

import json
import shutil

import pytest

from pipeline.compiled.spec_file import read_spec
from tests.examples.page import Page
from tests.maskformer_model.serve.running_server import free_port
from tests.maskformer_model.test_export_weights import hugging_face_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.takes(seconds=150)]
NUM_CLASSES = 133


def test_a_checkpoint_is_served_asked_compiled_fine_tuned_scheduled_and_rolled_back(
    drawn, cvat_export, project_dir, tmp_path
):
    (tmp_path / "checkpoint").mkdir()
    golden = project_dir / "tests" / "golden" / "tiny_swin_fpn"
    hugging_face_folder(golden, tmp_path / "checkpoint", "maskformer", NUM_CLASSES)
    shutil.copytree(cvat_export, tmp_path / "export")
    shutil.copy(next(iter((drawn / "new").iterdir())), tmp_path / "photo.jpg")
    page = Page("published-checkpoint.md", tmp_path, STEPS="5", PORT=str(free_port()))

    told = page.next_block("maskformer convert")
    assert "131 things, 2 stuff; stuff is what `label_ids_to_fuse` lists" in told
    assert "maskformer serve --model model/1" in told

    page.next_block("maskformer serve")
    [answer] = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    assert answer["num_segments"] == len([name for name in answer["class_names"] if name])
    assert answer["panoptic_png_bytes"]["b64"]

    page.next_block("mkdir")
    page.next_block("cat > cluster.yaml")
    spec = read_spec(str(tmp_path / "spec.yaml"))
    parameters = spec.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    manifest = json.loads((tmp_path / "cluster/bucket/gcs/photos/export/manifest.json").read_text())
    assert spec.pipeline_root == "s3://artifacts/maskformer"
    assert parameters["data_dir"]["defaultValue"] == "gs://photos/export"
    assert parameters["data_sha256"]["defaultValue"] == manifest["digest"]
    assert str(tmp_path) not in (tmp_path / "spec.yaml").read_text()

    told = page.next_block("maskformer pipeline test")
    [path] = (tmp_path / "cluster" / "runs").glob("*/summary.json")
    summary = json.loads(path.read_text())
    assert {task["state"] for task in summary["tasks"].values()} == {"SUCCEEDED"}
    root = tmp_path / "cluster" / "bucket" / "gcs" / "models" / "maskformer"
    first, second = sorted((version.name for version in (root / "serving").iterdir()), key=int)
    assert (first, summary["pushed_model"]) == ("1", str(root / "serving" / second))
    assert f"pushed: {summary['pushed_model']}" in told
    assert summary["report"].startswith(str(tmp_path / "cluster" / "bucket" / "s3" / "artifacts" / "maskformer"))
    categories = json.loads(next((root / "serving" / second).rglob("categories.json")).read_text())
    assert sorted(category["name"] for category in categories) == [
        *("ball", "crate", "grass", "ring", "sky", "tent", "water")
    ]

    page.next_block("maskformer pipeline schedule")
    request = json.loads((tmp_path / "schedule.json").read_text())
    assert request["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert request["pipeline_spec"]["pipeline_spec"] == spec.pipeline_spec

    assert f"Withdrawn: {second}\nServes: {first}\n" in page.next_block("maskformer pipeline rollback")
    assert page.is_finished()
