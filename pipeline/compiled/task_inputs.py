"""Resolves the inputs of a compiled pipeline's task, as Vertex AI or Kubeflow does before it starts a container."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Artifact = dict[str, Any]
_PLACEHOLDER = re.compile(
    r"\{\{\$(?:\.(inputs|outputs)\.(artifacts|parameters)\['([^']+)'\](?:\.(\w+)(?:\['([^']+)'\])?)?)?\}\}"
)


class UnresolvedInputError(ValueError):
    """A task needs an input that does not exist."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """The values that the tasks of one graph can refer to.

    Attributes:
        parameters: The parameters of the component that holds the graph.
        outputs: The outputs of ended tasks, by task and key.
        statuses: The PipelineTaskFinalStatus of ended tasks, by task.
        final_status_is_text: Whether a final status is passed as json (Vertex AI) or as a structure (Kubeflow).
    """

    parameters: Mapping[str, Any]
    outputs: dict[tuple[str, str], list[Artifact]] = dataclasses.field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    final_status_is_text: bool = True


def task_order(tasks: Mapping[str, Any]) -> list[str]:
    """Returns the names of tasks, each after those that it waits for; exit handlers last.

    Raises:
        UnresolvedInputError: if tasks wait for each other.
    """
    waits = {name: set(_dependencies(task)) & tasks.keys() for name, task in tasks.items()}
    order: list[str] = []
    while remaining := [name for name in tasks if name not in order]:
        ready = [name for name in remaining if waits[name] <= set(order)]
        if not ready:
            raise UnresolvedInputError(f"Tasks must not wait for each other. Received: {remaining}")
        order.append(min(ready, key=lambda name: (is_exit_handler(tasks[name]), name)))
    return order


def is_exit_handler(task: Mapping[str, Any]) -> bool:
    """Returns whether a task runs after others even if they failed."""
    return task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"


def _dependencies(task: Mapping[str, Any]) -> Iterable[str]:
    yield from task.get("dependentTasks", [])
    inputs = task.get("inputs", {})
    for source in inputs.get("artifacts", {}).values():
        yield source["taskOutputArtifact"]["producerTask"]
    for source in inputs.get("parameters", {}).values():
        if "taskFinalStatus" in source:
            yield source["taskFinalStatus"]["producerTask"]


def resolve_parameters(task: Mapping[str, Any], component: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Returns the values of the task's parameters.

    Raises:
        UnresolvedInputError: if one has no source.
    """
    definitions = component.get("inputDefinitions", {}).get("parameters", {})
    defaults = {key: spec["defaultValue"] for key, spec in definitions.items() if "defaultValue" in spec}
    given = task.get("inputs", {}).get("parameters", {})
    values = {key: _parameter(key, source, scope) for key, source in given.items()}
    missing = [key for key, spec in definitions.items() if key not in defaults | values and not spec.get("isOptional")]
    if missing:
        raise UnresolvedInputError(f"A task must be given all its parameters. Missing: {missing}")
    return defaults | values


def _parameter(key: str, source: Mapping[str, Any], scope: Scope) -> Any:
    if "componentInputParameter" in source:
        name = source["componentInputParameter"]
        if name not in scope.parameters:
            raise UnresolvedInputError(f"`{key}` must come from a parameter of the graph. Received: {name}")
        return scope.parameters[name]
    if "taskFinalStatus" in source:
        status = scope.statuses[source["taskFinalStatus"]["producerTask"]]
        return json.dumps(status) if scope.final_status_is_text else status
    if "constant" in source.get("runtimeValue", {}):
        return source["runtimeValue"]["constant"]
    raise UnresolvedInputError(f"`{key}` must be a constant, a parameter or a final status. Received: {source}")


def resolve_artifacts(task: Mapping[str, Any], scope: Scope) -> dict[str, list[Artifact]]:
    """Returns the task's input artifacts by key; a resolver may have found none."""
    sources = task.get("inputs", {}).get("artifacts", {})
    wanted = {key: source["taskOutputArtifact"] for key, source in sources.items()}
    return {key: scope.outputs[source["producerTask"], source["outputArtifactKey"]] for key, source in wanted.items()}


def fill_placeholders(text: str, executor_input: Mapping[str, Any]) -> str:
    """Replaces placeholders such as `{{$}}` and `{{$.inputs.parameters['k']}}` by values.

    Raises:
        UnresolvedInputError: if there is no such value.
    """

    def value(match: re.Match[str]) -> str:
        side, kind, key, field, name = match.groups()
        if side is None:
            return json.dumps(executor_input)
        try:
            if kind == "parameters":
                found = executor_input[side]["parameterValues"][key]
            else:
                [artifact] = executor_input[side]["artifacts"][key]["artifacts"]
                found = artifact[field] if name is None else artifact[field][name]
        except (LookupError, ValueError) as error:
            raise UnresolvedInputError(
                f"A placeholder must name what the task is given. Received: {match[0]}"
            ) from error
        return found if isinstance(found, str) else json.dumps(found)

    return _PLACEHOLDER.sub(value, text)
