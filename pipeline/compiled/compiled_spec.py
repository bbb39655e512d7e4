"""Adds to a compiled pipeline what TFX's compiler drops, with plain functions on dicts.

TFX's KubeflowV2DagRunner leaves out defaults of runtime parameters, parameters passed into an exit handler's graph,
ExampleGen's resources, retries and labels; docs/kubeflow.md lists each with its test. Nothing here imports TFX;
`compile_kubeflow` decides what the pipeline consists of.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components.training.trainer import GPUS_VARIABLE
from pipeline.compiled.platform_config import NodeConfig, PlatformConfig

Spec = dict[str, Any]
EXIT_HANDLED_DAG = "tfx-dag"  # TFX's name of the graph that an exit handler follows.
# Only training fails without the GPUs that its node asks for.
_CHECKED_FOR_GPUS = ("Trainer",)
_GPU = re.compile(r"NVIDIA_|\w+\.com/gpu")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def task_graph(spec: Spec) -> Spec:
    """Returns the graph of the nodes' tasks, which is below the exit handler's if there is one."""
    component = spec.get("components", {}).get(EXIT_HANDLED_DAG)
    return (component or spec["root"])["dag"]["tasks"]


def promote_parameters(spec: Spec, parameters: Mapping[str, tuple[str, str]]) -> Spec:
    """Turns constants into parameters of the run, with the constant as default.

    Args:
        spec: A PipelineSpec; not changed.
        parameters: The task and its input parameter, by the name of the run's parameter.

    Returns:
        The new spec, which also passes the parameters into the exit handler's graph.

    Raises:
        ValueError: if a task has no such constant.
    """
    spec = copy.deepcopy(spec)
    for name, (task_name, key) in parameters.items():
        task = task_graph(spec).get(task_name, {})
        source = task.get("inputs", {}).get("parameters", {}).get(key, {})
        if "constant" not in source.get("runtimeValue", {}):
            raise ValueError(
                f"`parameters` must name constants of tasks. Received: {task_name}.{key}, which is {source}"
            )
        task["inputs"]["parameters"][key] = {"componentInputParameter": name}
        definition = spec["components"][task["componentRef"]["name"]]["inputDefinitions"]["parameters"][key]
        _define(spec["root"], name, definition | {"defaultValue": source["runtimeValue"]["constant"]})
        if task_graph(spec) is not spec["root"]["dag"]["tasks"]:
            _define(spec["components"][EXIT_HANDLED_DAG], name, definition)
            dag_task = spec["root"]["dag"]["tasks"][EXIT_HANDLED_DAG]
            inputs = dag_task.setdefault("inputs", {}).setdefault("parameters", {})
            inputs[name] = {"componentInputParameter": name}
    return spec


def configure_nodes(spec: Spec, config: PlatformConfig) -> Spec:
    """Gives every node its image, resources and retries.

    Raises:
        ValueError: if the config names a node that the pipeline does not have.
    """
    spec = copy.deepcopy(spec)
    names = [name for name, task in _all_tasks(spec) if "dag" not in spec["components"][task["componentRef"]["name"]]]
    if unknown := sorted(config.nodes.keys() - set(names)):
        raise ValueError(f"`nodes` must name nodes of {sorted(names)}. Received: {unknown}")
    for name, task in _all_tasks(spec):
        if "dag" in spec["components"][task["componentRef"]["name"]]:
            continue
        container = _executor(spec, task).get("container")
        if container is None:
            continue  # The platform runs a resolver's query itself, so it has no size and no retries.
        node = config.node(name)
        if node.image:
            container["image"] = node.image
        if name in _CHECKED_FOR_GPUS and _GPU.match(node.accelerator):
            container["env"] = [{"name": GPUS_VARIABLE, "value": str(node.accelerator_count)}]
        if resources := _resources(node):
            container["resources"] = resources
        if node.retries:
            task["retryPolicy"] = {
                "maxRetryCount": node.retries,
                "backoffDuration": f"{node.backoff_s}s",
                "backoffFactor": 2.0,
            }
    return spec


def never_cache(spec: Spec, task_names: tuple[str, ...]) -> Spec:
    """Turns caching off for tasks whose result does not depend on their parameters alone."""
    spec = copy.deepcopy(spec)
    for name, task in _all_tasks(spec):
        if name in task_names:
            task.pop("cachingOptions", None)
    return spec


def replace_driver(spec: Spec, task_name: str, command: list[str]) -> Spec:
    """Replaces TFX's driver, which decides what an ExampleGen reads, by another program with the same arguments.

    Raises:
        ValueError: if the task has no driver.
    """
    spec = copy.deepcopy(spec)
    container = _executor(spec, task_graph(spec)[task_name])["container"]
    if "preCacheCheck" not in container.get("lifecycle", {}):
        raise ValueError(f"`task_name` must be a task with a driver. Received: {task_name}")
    container["lifecycle"]["preCacheCheck"]["command"] = command
    return spec


def replace_prefix(spec: Spec, old: str, new: str) -> Spec:
    """Replaces the prefix `old` of constants and flags by the project's folder in the image."""

    def moved(value: str) -> str:
        return re.sub(rf"^((?:--\w+=)?){re.escape(old)}(?=/)", lambda match: match[1] + new, value)

    return map_strings(spec, moved)


def add_job(spec: Spec, config: PlatformConfig, display_name: str) -> Spec:
    """Returns Vertex AI's PipelineJob: the spec with labels and the root of its artifacts."""
    return {
        "displayName": display_name,
        "labels": dict(config.labels),
        "pipelineSpec": spec,
        "runtimeConfig": {"gcsOutputDirectory": spec["defaultPipelineRoot"]},
    }


def kubernetes_platform(spec: Spec, config: PlatformConfig) -> Spec:
    """Returns open-source Kubeflow's second document, with the settings that a PipelineSpec cannot express."""
    executors = {}
    for name, task in _all_tasks(spec):
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" not in component:
            executors[component["executorLabel"]] = _pod(config.node(name), config)
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def _pod(node: NodeConfig, config: PlatformConfig) -> Spec:
    pod: Spec = {"podMetadata": {"labels": dict(config.labels)}} if config.labels else {}
    if node.node_selector:
        pod["nodeSelector"] = {"labels": dict(node.node_selector)}
    if node.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in node.tolerations]
    if config.volumes:
        pod["pvcMount"] = [
            {
                "mountPath": volume.mount_path,
                "constant": volume.claim,
                "pvcNameParameter": {"runtimeValue": {"constant": volume.claim}},
            }
            for volume in config.volumes
        ]
    return pod


def _resources(node: NodeConfig) -> Spec:
    """Returns each limit in both forms: Vertex and older Kubeflow releases read numbers, newer ones read texts."""
    resources: Spec = {}
    if node.cpu:
        resources |= {"cpuLimit": float(node.cpu), "resourceCpuLimit": f"{node.cpu:g}"}
    if node.memory:
        resources |= {"memoryLimit": memory_gb(node.memory), "resourceMemoryLimit": node.memory}
    if node.accelerator:
        resources["accelerator"] = {
            "type": node.accelerator,
            "count": node.accelerator_count,
            "resourceType": node.accelerator,
            "resourceCount": str(node.accelerator_count),
        }
    return resources


def memory_gb(memory: str) -> float:
    """Returns a memory size in GB: `"16G"` -> 16.0, `"16Gi"` -> 17.179869184."""
    number = memory.rstrip("KMGTi")
    return float(number) * (_UNITS | _BINARY_UNITS)[memory[len(number) :]] / 10**9


def _define(component: Spec, name: str, definition: Spec) -> None:
    component.setdefault("inputDefinitions", {}).setdefault("parameters", {})[name] = definition


def _all_tasks(spec: Spec) -> Iterator[tuple[str, Spec]]:
    yield from spec["root"]["dag"]["tasks"].items()
    for component in spec["components"].values():
        if "dag" in component:
            yield from component["dag"]["tasks"].items()


def _executor(spec: Spec, task: Spec) -> Spec:
    label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
    return spec["deploymentSpec"]["executors"][label]


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Returns a copy of a document with every string changed; keys stay."""
    if isinstance(value, dict):
        return {key: map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_strings(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
