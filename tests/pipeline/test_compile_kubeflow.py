"""The real pipeline, compiled for both platforms, run task by task, and held against a local run of the same.

Every task's process is forked from one that has imported TFX (`--fork_tasks`). MASKFORMER_TEST_RUNNER=run_compiled has
each of them import it again, which takes more than twice as long.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from pipeline import compile_kubeflow, recurring_runs, rollback, run_local
from pipeline.compiled.spec_file import read_spec
from pipeline.compiled.spec_validation import validate_spec
from pipeline.local_run import generated_data
from tests.pipeline import prepared_trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.takes(seconds=170)]
RUNNERS = {"forked_tasks": ["--fork_tasks"], "run_compiled": []}
RUNNER_FLAGS = RUNNERS[os.environ.get("MASKFORMER_TEST_RUNNER", "forked_tasks")]
OVERRIDES = f"trainer.train_steps={prepared_trainer.FIRST},trainer.optimizer.drop_steps=[]"
EXPERIMENT = "mask2former_small"
TRAIN_SCENES, EVAL_SCENES = 8, 12
IMAGE = "registry.example/maskformer"
DOCUMENT = {
    "pipeline": {
        "root": "gs://models/maskformer",
        "data": "gs://photos/scenes",
        "experiment": EXPERIMENT,
        "params_override": OVERRIDES,
    },
    "image": f"{IMAGE}:1",
    "default_node": {"cpu": 2, "memory": "4G", "retries": 0},
    "nodes": {
        "CocoExampleGen": {"cpu": 4, "retries": 2},
        "Trainer": {"memory": "16G", "retries": 3, "image": f"{IMAGE}-cuda:1", "accelerator_count": 1},
    },
    "labels": {"team": "vision"},
}
ARTIFACTS = {"kubeflow": "s3://artifacts/maskformer", "vertex": "gs://artifacts/maskformer"}
ACCELERATORS = {"kubeflow": "nvidia.com/gpu", "vertex": "NVIDIA_TESLA_T4"}
EXAMPLES = {"gke_gcs": "kubeflow", "kubernetes_minio": "kubeflow", "vertex": "vertex"}
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
def bucket(folder):
    """What imitates `gs://` in the runs of the spec for Kubeflow."""
    return folder / "kubeflow.runs" / "bucket" / "gcs"


@pytest.fixture(scope="module")
def data_sha256(bucket):
    """Draws the data into its bucket; returns its digest."""
    scenes = bucket / "photos" / "scenes"
    assert generated_data.main([str(scenes), "--train", str(TRAIN_SCENES), "--eval", str(EVAL_SCENES)]) == 0
    return json.loads((scenes / "manifest.json").read_text())["digest"]


@pytest.fixture(scope="module")
def specs(folder, data_sha256):
    """Both targets' files, compiled for a cluster with all that a config can say; by target."""
    paths = {}
    for target in ("kubeflow", "vertex"):
        document = copy.deepcopy(DOCUMENT) | {"pipeline_root": ARTIFACTS[target], "data_sha256": data_sha256}
        document["nodes"]["Trainer"]["accelerator"] = ACCELERATORS[target]
        config = folder / f"{target}.config.yaml"
        config.write_text(yaml.safe_dump(document))
        paths[target] = str(folder / f"{target}.yaml")
        compile_here("--target", target, "--config", str(config), "--output", paths[target])
    return paths


def compile_here(*flags):
    assert compile_kubeflow.main(flags) == 0


@pytest.fixture(scope="module")
def local(bucket, data_sha256):
    """The summary of a local run of the same pipeline, whose root is the bucket: it pushes the first version."""
    flags = ["--data", str(bucket / "photos" / "scenes"), "--experiment", EXPERIMENT]
    root = bucket / "models" / "maskformer"
    assert run_local.main(["--root", str(root), "--params_override", OVERRIDES, *flags]) == 0
    return json.loads((root / "summary.json").read_text())


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
    assert parameters["data_dir"]["defaultValue"] == "gs://photos/scenes"
    settings = tasks["Trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"]
    model = json.loads(json.loads(settings)["experiment"])["task"]["model"]
    assert (model["pixel_decoder"]["type"], model["decoder"]["type"]) == ("deformable", "masked_attention")
    assert container(spec.pipeline_spec, "Trainer")["image"] == f"{IMAGE}-cuda:1"
    assert container(spec.pipeline_spec, "Trainer")["env"] == [{"name": "MASKFORMER_GPUS", "value": "1"}]
    assert container(spec.pipeline_spec, "Pusher")["image"] == f"{IMAGE}:1"
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


def test_a_compiled_spec_can_be_scheduled(specs, capsys):
    common = ["--name", "retrain", "--pipeline_root", "gs://bucket/root"]
    vertex = ["--cron", "0 3 * * *", "--project", "p", "--location", "europe-west4"]
    assert recurring_runs.main(["vertex", specs["vertex"], *common, *vertex, "--param", "pq_floor=0.3"]) == 0
    job = json.loads(capsys.readouterr().out)["schedule"]["createPipelineJobRequest"]["pipelineJob"]
    assert job["pipelineSpec"] == read_spec(specs["vertex"]).pipeline_spec
    assert (job["labels"], job["runtimeConfig"]["parameterValues"]) == ({"team": "vision"}, {"pq_floor": 0.3})
    kubeflow = ["--cron", "0 3 * * *", "--experiment_id", "e", "--param", "data_sha256=00"]
    assert recurring_runs.main(["kubeflow", specs["kubeflow"], *common, *kubeflow]) == 0
    request = json.loads(capsys.readouterr().out)
    assert request["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
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


def run_here(folder, project_dir, target, path, *flags):
    """Runs a file on this machine; returns the summary."""
    command = [sys.executable, "-m", "pipeline.run_compiled", path, *RUNNER_FLAGS, *flags]
    root = ["--root", str(folder / f"{target}.runs")]
    done = subprocess.run([*command, *root], cwd=project_dir, capture_output=True, text=True, check=False)
    print(done.stdout)
    [summary_path] = (folder / f"{target}.runs" / "runs").glob("*/summary.json")
    summary = json.loads(summary_path.read_text())
    assert (done.returncode, summary["state"]) == (0, "SUCCEEDED"), done.stderr[-3000:]
    assert set(summary["tasks"]) == PIPELINE_TASKS | BASELINE_TASKS[target] | {"RunStatus", "tfx-dag"}
    assert {task["state"] for task in summary["tasks"].values()} == {"SUCCEEDED"}
    return summary


def assert_pushed(summary, root, local):
    """As good as the local run's, pushed, named by the pointer, and noted by the exit handler; returns the version."""
    assert 0.3 < summary["pq"] < 0.9
    assert [summary[name] for name in ("pq", "sq", "rq")] == [local[name] for name in ("pq", "sq", "rq")]
    version = max(os.listdir(root / "serving"), key=int)
    assert summary["pushed_model"] == str(root / "serving" / version)
    assert served_by_pointer(root) == version
    status = json.loads((root / "status" / f"{summary['run_id']}.json").read_text())
    assert status["state"] in ("SUCCEEDED", "COMPLETE")
    return version


def served_by_pointer(root):
    return json.loads((root / "blessed" / "LATEST.json").read_text())["version"]


def test_a_spec_for_kubeflow_with_gcs_and_s3_runs_here_to_a_second_version_and_is_rolled_back(
    folder, bucket, specs, local, project_dir, capsys
):
    root = bucket / "models" / "maskformer"
    [first] = os.listdir(root / "serving")
    summary = run_here(folder, project_dir, "kubeflow", specs["kubeflow"])
    second = assert_pushed(summary, root, local)
    assert sorted(os.listdir(root / "serving"), key=int) == [first, second]
    assert summary["report"].startswith(str(folder / "kubeflow.runs" / "bucket" / "s3" / "artifacts" / "maskformer"))
    # The local run's model was the baseline.
    gate = json.loads(pathlib.Path(summary["report"]).with_name("gate.json").read_text())
    [drop] = [reason["value"] for reason in gate["reasons"] if reason["rule"] == "allowed_drop"]
    assert (gate["outcome"], drop) == ("not_different", 0.0)
    assert rollback.main(["--root", str(root)]) == 0
    assert f"Serves: {first}" in capsys.readouterr().out
    assert served_by_pointer(root) == first


def test_a_spec_for_vertex_runs_here_on_data_that_the_run_names(folder, bucket, specs, local, project_dir):
    data = f"data_dir={bucket / 'photos' / 'scenes'}"
    summary = run_here(folder, project_dir, "vertex", specs["vertex"], "--param", data)
    assert_pushed(summary, folder / "vertex.runs" / "bucket" / "gcs" / "models" / "maskformer", local)
    assert load_with_vertex_s_client(specs["vertex"]).runtime_config.parameter_values["pq_floor"] == 0.25


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_compile_and_nothing_but_the_output_is_written(tmp_path, monkeypatch, project_dir, name):
    monkeypatch.chdir(tmp_path)
    runs = project_dir / "runs"
    before = sorted(runs.rglob("*")) if runs.exists() else None
    config = project_dir / "docs" / "examples" / "clusters" / f"{name}.yaml"
    compile_here("--target", EXAMPLES[name], "--config", str(config), "--output", "spec.yaml")
    assert [path.name for path in tmp_path.rglob("*")] == ["spec.yaml"]
    assert (sorted(runs.rglob("*")) if runs.exists() else None) == before
    spec = read_spec("spec.yaml").pipeline_spec
    # Every place is one of the cluster's: nothing of this machine is left.
    assert str(project_dir) not in pathlib.Path("spec.yaml").read_text()
    assert container(spec, "Trainer")["image"].endswith("-cuda:1")


def test_the_demo_compiles_for_this_machine_and_its_root_is_not_made(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"pipeline": {"root": str(tmp_path / "root"), "generated_train_images": 8}}))
    compile_here("--local", "--target", "vertex", "--config", str(config), "--output", str(tmp_path / "spec.yaml"))
    assert f"generated_data {tmp_path}/root/data/generated --train 8 --eval 120" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "spec.yaml"]
