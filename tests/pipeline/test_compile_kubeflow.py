"""The real pipeline, compiled for both platforms, run task by task, and held against a local run of the same.

Every task's process is forked from one that has imported TFX (`forked_tasks`). MASKFORMER_TEST_RUNNER=run_compiled has
each of them import it anew, as `python pipeline/run_compiled.py` does, which takes more than twice as long.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from pipeline import compile_kubeflow, recurring_runs, run_local
from pipeline.compiled import platform_config
from pipeline.compiled.spec_file import read_spec
from pipeline.compiled.spec_validation import validate_spec
from tests.pipeline import prepared_trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
RUNNERS = {"forked_tasks": "tests.pipeline.forked_tasks", "run_compiled": "pipeline.run_compiled"}
RUNNER = RUNNERS[os.environ.get("MASKFORMER_TEST_RUNNER", "forked_tasks")]
OVERRIDES = f"trainer.train_steps={prepared_trainer.FIRST},trainer.optimizer.drop_steps=[]"
SCENES = {"generated_train_images": 8, "generated_eval_images": 12}
PIPELINE_TASKS = {
    "AnomalyGate",
    "BaselinePredictor",
    "CocoExampleGen",
    "DriftGate",
    "ExampleValidator",
    "InfraValidator",
    "PanopticEvaluator",
    "PanopticPredictor",
    "Pusher",
    "SchemaGen",
    "StatisticsGen",
    "Trainer",
    "Transform",
}
BASELINE_TASKS = {
    "kubeflow": {"latest-blessed-model"},
    "vertex": {"latest_blessed_model-model-blessing-resolver", "latest_blessed_model-model-resolver"},
}


@pytest.fixture(scope="module", autouse=True)
def _quick_trainer():
    """A model of middling quality in a second, in place of a training."""
    from pipeline import maskformer_pipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maskformer_pipeline, "trainer_adapter", prepared_trainer)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def compiled(folder):
    """Compiles the pipeline for a target, with all that a config can say; returns the file."""

    def compile_for(target):
        document = {
            "pipeline": {"root": str(folder / target), "params_override": OVERRIDES, **SCENES},
            "project_dir": platform_config.PROJECT_DIR,
            "default_node": {"cpu": 2, "memory": "4G", "retries": 0},
            "nodes": {"CocoExampleGen": {"cpu": 4, "retries": 2}, "Trainer": {"memory": "16G", "retries": 3}},
            "labels": {"team": "vision"},
        }
        (folder / f"{target}.config.yaml").write_text(yaml.safe_dump(document))
        path = str(folder / f"{target}.yaml")
        flags = ["--target", target, "--config", str(folder / f"{target}.config.yaml"), "--output", path]
        assert compile_kubeflow.main(flags) == 0
        return path

    return compile_for


@pytest.fixture(scope="module")
def specs(compiled):
    """Both targets' files."""
    return {target: compiled(target) for target in ("kubeflow", "vertex")}


@pytest.fixture(scope="module")
def local(folder):
    """The summary of a local run of the same pipeline."""
    scenes = [f"--{name}={value}" for name, value in SCENES.items()]
    assert run_local.main(["--root", str(folder / "local"), "--params_override", OVERRIDES, *scenes]) == 0
    return json.loads((folder / "local" / "summary.json").read_text())


def container(spec, task):
    return spec["deploymentSpec"]["executors"][f"{task}_executor"]["container"]


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_compiled_spec_has_what_tfx_s_compiler_drops(specs, target):
    spec = read_spec(specs[target])
    validate_spec(specs[target])
    tasks = spec.pipeline_spec["components"]["tfx-dag"]["dag"]["tasks"]
    assert set(tasks) == PIPELINE_TASKS | BASELINE_TASKS[target]
    parameters = spec.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["pq_floor"] == {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.0}
    assert parameters["data_dir"]["defaultValue"].endswith(f"{target}/data/generated")
    assert container(spec.pipeline_spec, "CocoExampleGen")["resources"]["cpuLimit"] == 4
    assert container(spec.pipeline_spec, "Trainer")["resources"]["resourceMemoryLimit"] == "16G"
    assert (tasks["CocoExampleGen"]["retryPolicy"]["maxRetryCount"], "retryPolicy" in tasks["Pusher"]) == (2, False)
    assert "cachingOptions" in tasks["Trainer"] and "cachingOptions" not in tasks["Pusher"]


def test_each_platform_gets_its_own_words(specs):
    kubeflow, vertex = read_spec(specs["kubeflow"]), read_spec(specs["vertex"])
    assert vertex.job["labels"] == {"team": "vision"}
    executors = kubeflow.platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["Trainer_executor"] == {"podMetadata": {"labels": {"team": "vision"}}}
    assert container(kubeflow.pipeline_spec, "Trainer")["command"] == list(compile_kubeflow.ENTRYPOINT)
    driver = container(vertex.pipeline_spec, "CocoExampleGen")["lifecycle"]["preCacheCheck"]
    assert driver["command"] == list(compile_kubeflow.DRIVER)
    assert "data_sha256" in kubeflow.pipeline_spec["root"]["inputDefinitions"]["parameters"]


def test_a_compiled_spec_can_be_run_again_and_again(specs, capsys):
    common = ["--name", "retrain", "--pipeline_root", "gs://bucket/root"]
    vertex = ["--cron", "0 3 * * *", "--project", "p", "--location", "europe-west4"]
    assert recurring_runs.main(["vertex", specs["vertex"], *common, *vertex, "--param", "pq_floor=0.3"]) == 0
    job = json.loads(capsys.readouterr().out)["schedule"]["createPipelineJobRequest"]["pipelineJob"]
    assert job["pipelineSpec"] == read_spec(specs["vertex"]).pipeline_spec
    assert (job["labels"], job["runtimeConfig"]["parameterValues"]) == ({"team": "vision"}, {"pq_floor": 0.3})
    kubeflow = ["--cron", "0 0 3 * * *", "--experiment_id", "e", "--param", "data_sha256=00"]
    assert recurring_runs.main(["kubeflow", specs["kubeflow"], *common, *kubeflow]) == 0
    request = json.loads(capsys.readouterr().out)
    spec = read_spec(specs["kubeflow"])
    assert request["pipeline_spec"] == {"pipeline_spec": spec.pipeline_spec, "platform_spec": spec.platform_spec}
    assert request["runtime_config"]["parameters"] == {"data_sha256": "00"}


def load_with_vertex_s_client(path):
    """The job that Vertex's own client makes of a file."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    return aiplatform.PipelineJob(
        display_name="maskformer",
        template_path=path,
        parameter_values={"pq_floor": 0.25},
        project="project",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_compiled_spec_runs_to_a_pushed_model_with_the_pq_of_a_local_run(folder, specs, local, target, project_dir):
    command = [sys.executable, "-m", RUNNER, specs[target], "--root", str(folder / f"{target}.runs")]
    done = subprocess.run(command, cwd=project_dir, capture_output=True, text=True, check=False)
    print(done.stdout)
    [path] = (folder / f"{target}.runs" / "runs").glob("*/summary.json")
    summary = json.loads(path.read_text())
    assert (done.returncode, summary["state"]) == (0, "SUCCEEDED"), done.stderr[-3000:]
    assert set(summary["tasks"]) == PIPELINE_TASKS | BASELINE_TASKS[target] | {"RunStatus", "tfx-dag"}
    assert {task["state"] for task in summary["tasks"].values()} == {"SUCCEEDED"}
    assert 0.3 < summary["pq"] < 0.9
    assert [summary[name] for name in ("pq", "sq", "rq")] == [local[name] for name in ("pq", "sq", "rq")]
    # Pushed, named by the pointer, and noted by the exit handler.
    [version] = os.listdir(folder / target / "serving")
    assert summary["pushed_model"] == str(folder / target / "serving" / version)
    assert json.loads((folder / target / "blessed" / "LATEST.json").read_text())["version"] == version
    status = json.loads((folder / target / "status" / f"{summary['run_id']}.json").read_text())
    assert status["state"] in ("SUCCEEDED", "COMPLETE")
    if target == "vertex":
        assert load_with_vertex_s_client(specs[target]).runtime_config.parameter_values["pq_floor"] == 0.25
