"""The places that a cluster's spec names, on this machine."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipeline.compiled.local_places import LocalPlaces
from pipeline.compiled.platform_config import PROJECT_DIR
from pipeline.compiled.spec_file import CompiledSpec
from tests.pipeline.small_spec import dag_tasks, executor_of, greeting_pipeline

ROOT = pathlib.Path("/r")


def places_of(constant, platform_spec=None):
    spec = greeting_pipeline()
    dag_tasks(spec)["Write"]["inputs"]["parameters"]["weight"]["runtimeValue"]["constant"] = constant
    compiled = CompiledSpec(pipeline_spec=spec, platform_spec=platform_spec)
    return LocalPlaces.of(compiled, ROOT), compiled


def test_the_image_s_project_folder_becomes_this_checkout():
    places, spec = places_of("/opt/other/components/coco_example_gen/schema.pbtxt")
    executor_of(spec.pipeline_spec, "Write")["args"] = ["--setup_file=/opt/other/setup.py", "--x=/opt/otherwise/a"]
    local = places.localize(spec).pipeline_spec
    constant = dag_tasks(local)["Write"]["inputs"]["parameters"]["weight"]["runtimeValue"]["constant"]
    assert constant == f"{PROJECT_DIR}/components/coco_example_gen/schema.pbtxt"
    assert pathlib.Path(constant).is_file()
    assert executor_of(local, "Write")["args"] == [f"--setup_file={PROJECT_DIR}/setup.py", "--x=/opt/otherwise/a"]
    assert executor_of(spec.pipeline_spec, "Write")["args"][0] == "--setup_file=/opt/other/setup.py"


def test_a_spec_of_this_checkout_stays_as_it_is():
    places, spec = places_of(f"{PROJECT_DIR}/components/coco_example_gen/schema.pbtxt")
    assert places.localize(spec) == spec


def test_buckets_are_folders_also_inside_json_and_flags():
    places, _ = places_of("x")
    destination = {"filesystem": {"base_directory": "gs://b/m/serving"}}
    assert json.loads(places.to_local(json.dumps(destination))) == {
        "filesystem": {"base_directory": "/r/bucket/gcs/b/m/serving"}
    }
    twice = places.to_local(json.dumps({"inner": json.dumps(destination)}))
    assert "gs:" not in twice and json.loads(json.loads(twice)["inner"])["filesystem"]
    assert places.to_local("--temp_location=gs://b/tmp") == "--temp_location=/r/bucket/gcs/b/tmp"
    assert places.to_local("/gcs/b/coco") == "/r/bucket/gcs/b/coco"


@pytest.mark.parametrize("text", ["s3://b/k", "minio://b/k", "rags://b", "see:gs://b", ""])
def test_other_texts_stay(text):
    assert places_of("x")[0].to_local(text) == text


def test_artifacts_keep_their_address():
    places, spec = places_of("x")
    spec.pipeline_spec["defaultPipelineRoot"] = "gs://b/artifacts"
    assert places.localize(spec).pipeline_root == "gs://b/artifacts"


def test_volumes_are_folders_named_by_their_claim():
    mount = {"mountPath": "/data", "constant": "coco"}
    kubernetes = {"deploymentSpec": {"executors": {"Write_executor": {"pvcMount": [mount]}}}}
    places, _ = places_of("x", {"platforms": {"kubernetes": kubernetes}})
    assert places.to_local("/data/val") == "/r/volumes/coco/val"
    assert places.to_local("/database/val") == "/database/val"
