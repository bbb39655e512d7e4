"""The post-processor over TFX's compiled pipeline: adds what its compiler drops, as plain functions on dicts.

TFX's KubeflowV2DagRunner leaves out defaults of runtime parameters, the way of parameters into the graph that an exit
handler follows, ExampleGen's resources, retries and labels; docs/kubeflow.md lists each with its test. Nothing here
imports TFX; what the pipeline is made of is left to `compile_kubeflow`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.compiled.platform_config import NodeConfig, PlatformConfig

Spec = dict[str, Any]
EXIT_HANDLED_DAG = "tfx-dag"  # TFX's name of the graph that an exit handler follows.
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def task_graph(spec: Spec) -> Spec:
    """The tasks of the nodes: below the exit handler's graph where there is one."""
    component = spec.get("components", {}).get(EXIT_HANDLED_DAG)
    return (component or spec["root"])["dag"]["tasks"]


def promote_parameters(spec: Spec, parameters: Mapping[str, tuple[str, str]]) -> Spec:
    """Makes constants parameters of the run, with the constant as default.

    Args:
        spec: A PipelineSpec; not changed.
        parameters: By the parameter's name: the task and its input parameter.

    Returns:
        The new spec, in which a parameter also finds its way into the exit handler's graph.

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
    """Gives every node its resources and retries."""
    spec = copy.deepcopy(spec)
    for name, task in _all_tasks(spec):
        if "dag" in spec["components"][task["componentRef"]["name"]]:
            continue
        container = _executor(spec, task).get("container")
        if container is None:
            continue  # A resolver's query: the platform's own, neither sized nor tried again.
        node = config.node(name)
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
    """Has tasks work in every run: their result depends on what no parameter says."""
    spec = copy.deepcopy(spec)
    for name, task in _all_tasks(spec):
        if name in task_names:
            task.pop("cachingOptions", None)
    return spec


def replace_driver(spec: Spec, task_name: str, command: list[str]) -> Spec:
    """Has another program than TFX's decide what an ExampleGen reads; its arguments stay.

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
    """Moves files of the project to where the image has them: constants and flags that start with `old`."""

    def moved(value: str) -> str:
        return re.sub(rf"^((?:--\w+=)?){re.escape(old)}(?=/)", lambda match: match[1] + new, value)

    return _map_strings(spec, moved)


def add_job(spec: Spec, config: PlatformConfig, display_name: str) -> Spec:
    """The PipelineJob that Vertex AI takes: the spec with labels and the place of its artifacts."""
    return {
        "displayName": display_name,
        "labels": dict(config.labels),
        "pipelineSpec": spec,
        "runtimeConfig": {"gcsOutputDirectory": spec["defaultPipelineRoot"]},
    }


def kubernetes_platform(spec: Spec, config: PlatformConfig) -> Spec:
    """The second document that open-source Kubeflow reads: what a PipelineSpec has no words for."""
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
    """Both spellings of each limit: Vertex and older releases of Kubeflow read the numbers, newer ones the words."""
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
    """`"16G"` -> 16.0, `"16Gi"` -> 17.179869184."""
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


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
