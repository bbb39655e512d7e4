"""A spec that a platform would refuse is refused here, with what is wrong."""

from __future__ import annotations

import pytest
import yaml

from pipeline.compiled.spec_validation import InvalidSpecError, validate_spec
from tests.pipeline.small_spec import dag_tasks, greeting_pipeline


def validate(tmp_path, *documents):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    validate_spec(path)


def test_a_whole_spec_passes_for_both_platforms(tmp_path):
    spec = greeting_pipeline()
    validate(tmp_path, spec)
    validate(tmp_path, spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}})
    validate(tmp_path, {"pipelineSpec": spec, "displayName": "greeting", "labels": {"team": "vision"}})


def broken(change):
    spec = greeting_pipeline()
    change(spec)
    return spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.update(colour="red"), "colour"),
        (lambda spec: spec["deploymentSpec"]["executors"]["Write_executor"]["container"].update(gpu=1), "gpu"),
        (lambda spec: dag_tasks(spec)["Shout"].update(dependentTasks=["Nobody"]), "waits for Nobody"),
        (lambda spec: dag_tasks(spec)["Shout"]["componentRef"].update(name="Nobody"), "component Nobody"),
        (lambda spec: spec["components"]["Shout"].update(executorLabel="none"), "executor none"),
        (
            lambda spec: dag_tasks(spec)["Shout"]["inputs"]["artifacts"]["text"]["taskOutputArtifact"].update(
                outputArtifactKey="song"
            ),
            r"text from Write\.song",
        ),
        (
            lambda spec: dag_tasks(spec)["Write"]["inputs"]["parameters"].update(
                weight={"componentInputParameter": "mass"}
            ),
            "parameter mass",
        ),
    ],
)
def test_a_broken_spec_is_refused(tmp_path, change, words):
    with pytest.raises(InvalidSpecError, match=words):
        validate(tmp_path, broken(change))


def test_what_kubeflow_cannot_do_is_refused_for_it_and_not_for_vertex(tmp_path):
    spec = greeting_pipeline()
    spec["schemaVersion"] = "2.0.0"
    spec["deploymentSpec"]["executors"]["Status_executor"] = {"resolver": {"outputArtifactQueries": {}}}
    container = spec["deploymentSpec"]["executors"]["Write_executor"]["container"]
    container["lifecycle"] = {"preCacheCheck": {"command": ["python"]}}
    dag_tasks(spec)["Shout_2"] = dag_tasks(spec).pop("Shout")
    validate(tmp_path, {"pipelineSpec": spec, "displayName": "greeting"})
    with pytest.raises(InvalidSpecError) as caught:
        validate(tmp_path, spec)
    for words in ("schemaVersion", "resolver", "driver", "Shout_2"):
        assert words in str(caught.value)
