"""Writes a separate training job: `python pipeline/training_job.py --platform NAME --config FILE --output FILE`.

The job trains `maskformer_model` on separate machines: a CustomJob for Vertex AI, a TFJob (training operator) or a
JobSet for Kubernetes. Its image has no TFX, whose pin of TensorFlow is ahead of the newest TPU wheels. A killed job's
progress is kept in `model_dir`, and the same command continues from there, so spot machines can be used. Nothing is
submitted; docs/kubeflow.md has the commands. Exit status: 0, or 2 if the command or the config is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

import yaml

from maskformer_model.command_errors import run_command
from maskformer_model.config.rules import require
from maskformer_model.config.settings_file import read_settings

VERTEX, TFJOB, JOBSET = "vertex", "tfjob", "jobset"
CHIEF, WORKER = "chief", "worker"
_PORT = 2222
# For the TF_CONFIG that MultiWorkerMirroredStrategy reads; Vertex AI and the training operator write it themselves.
_TF_CONFIG = "TF_CONFIG"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingJobConfig:
    """The settings of a training on separate machines.

    Attributes:
        name: The name of the job, in lower case.
        image: The image of docker/training.Dockerfile or docker/training-tpu.Dockerfile.
        experiment: The name of an experiment, see `maskformer_model/experiments`.
        params_override: The experiment's settings, such as where the record files are.
        model_dir: A folder that all machines see and that outlives them: `gs://`, `/gcs/`, or a volume.
        workers: The number of machines; several train together by `TF_CONFIG`.
        machine_type: Vertex AI's machine type, such as "n1-standard-16", "a2-highgpu-8g" or "ct5lp-hightpu-4t".
        accelerator: Vertex's name, or Kubernetes's resource; empty: CPUs only.
        accelerators: The number of accelerators of one machine.
        tpu: Whether the machines are TPU VMs.
        tpu_topology: The topology of one slice, such as "2x2".
        spot: Whether to use cheaper machines that can be preempted at any time.
        restarts: How many times a preempted machine, or a failed job, starts again.
        claim: The PersistentVolumeClaim for `model_dir` and data, only on Kubernetes; empty: none.
        mount_path: The folder where the claim is mounted.
        node_selector: The labels of the machines, only on Kubernetes.

    Raises:
        ValueError: if a value breaks its rule.
    """

    name: str
    image: str
    experiment: str
    model_dir: str
    params_override: str = ""
    workers: int = 1
    machine_type: str = "n1-standard-16"
    accelerator: str = ""
    accelerators: int = 0
    tpu: bool = False
    tpu_topology: str = ""
    spot: bool = False
    restarts: int = 10
    claim: str = ""
    mount_path: str = "/data"
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require(
            self.name.replace("-", "").isalnum() and self.name.islower(), "`name` must be lower-case.", repr(self.name)
        )
        require(self.workers > 0, "`workers` must be positive.", self.workers)
        require(self.restarts >= 0, "`restarts` must not be negative.", self.restarts)
        require(
            bool(self.accelerator) == bool(self.accelerators),
            "`accelerator` and `accelerators` belong together.",
            (self.accelerator, self.accelerators),
        )
        require(
            self.workers == 1 or "://" in self.model_dir or self.model_dir.startswith("/"),
            "`model_dir` must be a folder that all workers see.",
            repr(self.model_dir),
        )
        require(not (self.tpu and self.spot and self.workers > 1), "TPU Pods must not be `spot`.", self.workers)

    @property
    def strategy(self) -> str:
        """Returns `runtime.distribution_strategy` for these machines."""
        if self.tpu:
            return "tpu"
        if self.workers > 1:
            return "multi_worker_mirrored"
        return "mirrored" if self.accelerators > 1 else "one_device"

    @property
    def command(self) -> list[str]:
        """Returns the command of every machine; it continues an earlier job of the same `model_dir`."""
        settings = [f"runtime.distribution_strategy={self.strategy}", self.params_override]
        command = ["python", "-m", "maskformer_model.train", "--mode=train", f"--experiment={self.experiment}"]
        command += [f"--model_dir={self.model_dir}", f"--params_override={','.join(filter(None, settings))}"]
        return [*command, "--tpu=local"] if self.tpu else command


def vertex_custom_job(config: TrainingJobConfig) -> dict[str, Any]:
    """Returns a CustomJob for `gcloud ai custom-jobs create --config` (its `jobSpec`) or the client library (all).

    Vertex AI counts the first pool as the chief and sets `TF_CONFIG` on each machine.
    """
    pools = [_vertex_pool(config, 1)]
    if config.workers > 1:
        pools.append(_vertex_pool(config, config.workers - 1))
    scheduling: dict[str, Any] = {"restartJobOnWorkerRestart": True}
    if config.spot:
        scheduling["strategy"] = "SPOT"
    return {"displayName": config.name, "jobSpec": {"workerPoolSpecs": pools, "scheduling": scheduling}}


def _vertex_pool(config: TrainingJobConfig, replicas: int) -> dict[str, Any]:
    machine: dict[str, Any] = {"machineType": config.machine_type}
    if config.accelerator:
        machine |= {"acceleratorType": config.accelerator, "acceleratorCount": config.accelerators}
    if config.tpu_topology:
        machine["tpuTopology"] = config.tpu_topology
    return {
        "machineSpec": machine,
        "replicaCount": str(replicas),
        "containerSpec": {"imageUri": config.image, "command": config.command[:3], "args": config.command[3:]},
    }


def kubernetes_tfjob(config: TrainingJobConfig) -> dict[str, Any]:
    """Returns a TFJob of the training operator, which sets `TF_CONFIG` in each pod and restarts evicted pods."""
    require(not config.tpu, "A TFJob must not ask for a TPU: a JobSet does.", repr(config.name))
    replicas = {"Chief": _tfjob_replicas(config, 1)}
    if config.workers > 1:
        replicas["Worker"] = _tfjob_replicas(config, config.workers - 1)
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": config.name},
        "spec": {
            "runPolicy": {"backoffLimit": config.restarts, "cleanPodPolicy": "Running"},
            "successPolicy": "",
            "tfReplicaSpecs": replicas,
        },
    }


def _tfjob_replicas(config: TrainingJobConfig, replicas: int) -> dict[str, Any]:
    # The operator looks for the container and the port by these names.
    return {"replicas": replicas, "restartPolicy": "OnFailure", "template": {"spec": _pod(config, "tensorflow")}}


def kubernetes_jobset(config: TrainingJobConfig) -> dict[str, Any]:
    """Returns a JobSet: one indexed Job whose pods find each other by name; also for TPU slices.

    No operator writes `TF_CONFIG` here, so each pod does, from the index that Kubernetes gives it.
    """
    pod = _pod(config, "trainer") | {"restartPolicy": "Never", "subdomain": config.name}
    [container] = pod["containers"]
    if config.strategy == "multi_worker_mirrored":
        container["env"].append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": _INDEX_PATH}}})
        hosts = [f"{config.name}-trainer-0-{index}.{config.name}:{_PORT}" for index in range(config.workers)]
        container["command"] = ["python", "-c", _SET_TF_CONFIG, json.dumps(hosts), *config.command[1:]]
        container["args"] = []
    job = {
        "parallelism": config.workers,
        "completions": config.workers,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": config.name},
        "spec": {
            # A lost machine stops the others at the next gradient sum; all start again from the last checkpoint.
            "failurePolicy": {"maxRestarts": config.restarts},
            "network": {"enableDNSHostnames": True, "subdomain": config.name},
            "replicatedJobs": [{"name": "trainer", "replicas": 1, "template": {"spec": job}}],
        },
    }


_INDEX_PATH = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_SET_TF_CONFIG = (
    "import json, os, sys; "
    "task = {'type': 'worker', 'index': int(os.environ['JOB_COMPLETION_INDEX'])}; "
    f"os.environ['{_TF_CONFIG}'] = json.dumps({{'cluster': {{'worker': json.loads(sys.argv[1])}}, 'task': task}}); "
    "os.execvp(sys.executable, [sys.executable, *sys.argv[2:]])"
)


def _pod(config: TrainingJobConfig, container_name: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": container_name,
        "image": config.image,
        "command": config.command[:3],
        "args": config.command[3:],
        "env": [],
        "ports": [{"name": "tfjob-port", "containerPort": _PORT}],
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
    }
    if config.accelerator:
        container["resources"] = {"limits": {config.accelerator: config.accelerators}}
    pod: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 120}
    selector = dict(config.node_selector)
    if config.tpu_topology:
        selector["cloud.google.com/gke-tpu-topology"] = config.tpu_topology
    if config.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    if selector:
        pod["nodeSelector"] = selector
    if config.claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": config.mount_path}]
        pod["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": config.claim}}]
    return pod


BUILDERS = {VERTEX: vertex_custom_job, TFJOB: kubernetes_tfjob, JOBSET: kubernetes_jobset}


def read_config(path: str) -> TrainingJobConfig:
    """Reads a YAML file with the keys of `TrainingJobConfig`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a key is unknown or missing, or a value breaks its rule.
    """
    document = read_settings(path, "--config")
    fields = dataclasses.fields(TrainingJobConfig)
    unknown = sorted(document.keys() - {field.name for field in fields})
    require(not unknown, f"`--config` has {[field.name for field in fields]}.", unknown)
    try:
        return TrainingJobConfig(**document)
    except TypeError as error:
        raise ValueError(f"`--config` must have every key without a default. Received in {path}: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="training_job.py", description="Writes the job that trains on separate machines."
    )
    parser.add_argument("--platform", required=True, choices=sorted(BUILDERS))
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file, see docs/kubeflow.md")
    parser.add_argument("--output", required=True, metavar="FILE.yaml")
    args = parser.parse_args(argv)
    return run_command("training_job.py", lambda: _write(args))


def _write(args: argparse.Namespace) -> int:
    job = BUILDERS[args.platform](read_config(args.config))
    pathlib.Path(args.output).write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    print(f"Wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
