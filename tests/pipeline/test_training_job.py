"""Jobs that train on machines of their own, held against the platforms' definitions where those can be had here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from pipeline import training_job
from pipeline.training_job import TrainingJobConfig, kubernetes_jobset, kubernetes_tfjob, vertex_custom_job

SMALL = {
    "name": "coco-train",
    "image": "registry/training:1",
    "experiment": "coco_small",
    "model_dir": "gs://bucket/run",
}


def config(**more):
    return TrainingJobConfig(**SMALL | more)


def vertex_message(job):
    """The job as Vertex's client library reads it; unknown fields and values raise."""
    from google.cloud.aiplatform_v1.types import CustomJob

    return CustomJob.from_json(json.dumps(job), ignore_unknown_fields=False)


def test_one_machine_with_several_gpus_mirrors():
    job = vertex_message(vertex_custom_job(config(accelerator="NVIDIA_TESLA_T4", accelerators=4)))
    [pool] = job.job_spec.worker_pool_specs
    assert (pool.replica_count, pool.machine_spec.accelerator_count) == (1, 4)
    assert "--params_override=runtime.distribution_strategy=mirrored" in pool.container_spec.args
    assert list(pool.container_spec.command) == ["python", "-m", "maskformer_model.train"]


def test_several_machines_are_a_chief_and_its_workers():
    job = vertex_message(vertex_custom_job(config(workers=4, accelerator="NVIDIA_TESLA_T4", accelerators=1)))
    assert [pool.replica_count for pool in job.job_spec.worker_pool_specs] == [1, 3]
    arguments = [list(pool.container_spec.args) for pool in job.job_spec.worker_pool_specs]
    assert arguments[0] == arguments[1]
    assert "--params_override=runtime.distribution_strategy=multi_worker_mirrored" in arguments[0]


def test_a_tpu_vm_trains_on_its_own_tpu():
    job = vertex_message(
        vertex_custom_job(config(tpu=True, machine_type="ct5lp-hightpu-4t", tpu_topology="2x2", workers=1))
    )
    [pool] = job.job_spec.worker_pool_specs
    assert (pool.machine_spec.machine_type, pool.machine_spec.tpu_topology) == ("ct5lp-hightpu-4t", "2x2")
    assert list(pool.container_spec.args)[-2:] == ["--params_override=runtime.distribution_strategy=tpu", "--tpu=local"]


def test_spot_machines_are_asked_for_and_begin_again():
    scheduling = vertex_message(vertex_custom_job(config(spot=True))).job_spec.scheduling
    assert (scheduling.strategy.name, scheduling.restart_job_on_worker_restart) == ("SPOT", True)
    tfjob = kubernetes_tfjob(config(spot=True, restarts=7))
    assert tfjob["spec"]["runPolicy"]["backoffLimit"] == 7
    pod = tfjob["spec"]["tfReplicaSpecs"]["Chief"]["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}


def test_a_tfjob_has_what_the_operator_looks_for():
    job = kubernetes_tfjob(
        config(workers=3, accelerator="nvidia.com/gpu", accelerators=2, claim="coco", model_dir="/data/run")
    )
    replicas = job["spec"]["tfReplicaSpecs"]
    assert {name: spec["replicas"] for name, spec in replicas.items()} == {"Chief": 1, "Worker": 2}
    pod = replicas["Worker"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["name"], container["ports"][0]["name"]) == ("tensorflow", "tfjob-port")
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "coco"}
    assert container["volumeMounts"][0]["mountPath"] == "/data"


def test_each_pod_of_a_jobset_finds_its_place_in_the_cluster():
    job = kubernetes_jobset(config(workers=2, model_dir="/data/run"))
    [replicated] = job["spec"]["replicatedJobs"]
    spec = replicated["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (2, 2, "Indexed")
    [container] = spec["template"]["spec"]["containers"]
    # The pod's own program, with a stand-in for the training.
    command = [sys.executable, *container["command"][1:4], "-c", "import os; print(os.environ['TF_CONFIG'])"]
    found = subprocess.run(command, env={"JOB_COMPLETION_INDEX": "1"}, capture_output=True, text=True, check=True)
    hosts = [f"coco-train-trainer-0-{index}.coco-train:2222" for index in range(2)]
    assert json.loads(found.stdout) == {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 1}}
    assert container["command"][4:] == config(workers=2, model_dir="/data/run").command[1:]


def test_a_tpu_slice_is_a_jobset():
    job = kubernetes_jobset(config(tpu=True, accelerator="google.com/tpu", accelerators=4, tpu_topology="2x2"))
    pod = job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-tpu-topology": "2x2"}
    assert "--tpu=local" in pod["containers"][0]["args"]
    with pytest.raises(ValueError, match="JobSet"):
        kubernetes_tfjob(config(tpu=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Coco"}, "lower-case"),
        ({"workers": 0}, "positive"),
        ({"accelerators": 2}, "belong together"),
        ({"workers": 2, "model_dir": "run"}, "all workers see"),
        ({"workers": 2, "tpu": True, "spot": True}, "TPU Pods"),
    ],
)
def test_a_wrong_value_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        config(**change)


def test_the_command_of_a_job_is_one_that_training_understands():
    from maskformer_model import train

    overrides = "trainer.train_steps=3,trainer.optimizer.drop_steps=[],task.train_data.input_path=gs://bucket/train-*"
    options = train.make_parser().parse_args(config(tpu=True, params_override=overrides).command[3:])
    assert (options.model_dir, options.tpu) == ("gs://bucket/run", "local")
    experiment = train.read_config(options, {})
    assert (experiment.trainer.train_steps, experiment.runtime.distribution_strategy) == (3, "tpu")


def test_the_program_writes_a_file_or_says_what_is_wrong(tmp_path, capsys):
    path, output = tmp_path / "config.yaml", tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    arguments = ["--config", str(path), "--output", str(output)]
    assert training_job.main(["--platform", "tfjob", *arguments]) == 0
    assert yaml.safe_load(output.read_text())["kind"] == "TFJob"
    path.write_text(yaml.safe_dump(SMALL | {"gpus": 2}))
    assert training_job.main(["--platform", "vertex", *arguments]) == 2
    assert "gpus" in capsys.readouterr().err
