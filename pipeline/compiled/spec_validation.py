"""Checks a compiled file against the platforms' own definitions: protos, the KFP SDK's loader, Vertex's client.

It also checks what these do not: every reference of a task exists, and Kubeflow gets nothing that it refuses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from pipeline.compiled.spec_file import CompiledSpec, read_spec

# Argo refuses other names of tasks.
_ARGO_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")


class InvalidSpecError(ValueError):
    """A platform would refuse the compiled file."""


def validate_spec(path: str | os.PathLike[str]) -> None:
    """Checks a compiled file.

    Raises:
        InvalidSpecError: if something is wrong; it says what.
    """
    spec = read_spec(path)
    try:
        _parse_protos(spec)
        _load_with_sdk(spec)
    except Exception as error:  # Any error of proto and loader is a fault of the file.
        raise InvalidSpecError(f"{path}: {type(error).__name__}: {error}") from error
    problems = [*dangling_references(spec.pipeline_spec)]
    if spec.is_kubeflow:
        problems += unfit_for_kubeflow(spec.pipeline_spec)
    if problems:
        raise InvalidSpecError(f"{path}: " + "; ".join(problems))


def _parse_protos(spec: CompiledSpec) -> None:
    """Parses the documents as protos, which raises for unknown fields and wrong types."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    json_format.ParseDict(spec.pipeline_spec, pipeline_spec_pb2.PipelineSpec())
    # A PipelineSpec holds it in free form, with most of the settings.
    json_format.ParseDict(spec.pipeline_spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    if spec.job:
        json_format.ParseDict(spec.job, pipeline_spec_pb2.PipelineJob())
    if spec.platform_spec:
        json_format.ParseDict(spec.platform_spec, pipeline_spec_pb2.PlatformSpec())


def _load_with_sdk(spec: CompiledSpec) -> None:
    import yaml
    from kfp import components

    documents = [spec.pipeline_spec, *([spec.platform_spec] if spec.platform_spec else [])]
    loaded = components.load_component_from_text(yaml.safe_dump_all(documents))
    if loaded.name != spec.pipeline_spec["pipelineInfo"]["name"]:
        raise InvalidSpecError(f"The KFP SDK must find the pipeline's name. Received: {loaded.name}")


def dangling_references(spec: dict[str, Any]) -> Iterator[str]:
    """Yields every reference to a component, executor, task, output or parameter that does not exist."""
    executors = spec["deploymentSpec"]["executors"]
    for name, component in spec["components"].items():
        label = component.get("executorLabel")
        if label is not None and label not in executors:
            yield f"component {name} needs an executor {label}"
        if "dag" in component:
            yield from _dangling_in_dag(spec, component)
    yield from _dangling_in_dag(spec, spec["root"])


def _dangling_in_dag(spec: dict[str, Any], parent: dict[str, Any]) -> Iterator[str]:
    tasks = parent["dag"]["tasks"]
    given = parent.get("inputDefinitions", {}).get("parameters", {})
    for name, task in tasks.items():
        component = spec["components"].get(task["componentRef"]["name"])
        if component is None:
            yield f"task {name} needs a component {task['componentRef']['name']}"
            continue
        yield from (f"task {name} waits for {other}" for other in task.get("dependentTasks", []) if other not in tasks)
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if (wanted := source.get("componentInputParameter")) and wanted not in given:
                yield f"task {name} takes {key} from a parameter {wanted}"
        for key, source in task.get("inputs", {}).get("artifacts", {}).items():
            wanted = source["taskOutputArtifact"]
            producer = tasks.get(wanted["producerTask"], {}).get("componentRef", {}).get("name")
            outputs = spec["components"].get(producer, {}).get("outputDefinitions", {}).get("artifacts", {})
            if wanted["outputArtifactKey"] not in outputs:
                yield f"task {name} takes {key} from {wanted['producerTask']}.{wanted['outputArtifactKey']}"


def unfit_for_kubeflow(spec: dict[str, Any]) -> Iterator[str]:
    """Yields what open-source Kubeflow Pipelines v2 refuses or ignores."""
    if spec.get("schemaVersion") != "2.1.0":
        yield f"schemaVersion must be 2.1.0 and is {spec.get('schemaVersion')}"
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if "resolver" in executor:
            yield f"{label} is a resolver, which is not implemented there"
        if "preCacheCheck" in executor.get("container", {}).get("lifecycle", {}):
            yield f"{label} has a driver, which is never run there"
    dags = [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]
    for name in (name for dag in dags for name in dag["dag"]["tasks"]):
        if not _ARGO_NAME.fullmatch(name):
            yield f"Argo refuses the name {name}"
