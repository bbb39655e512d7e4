"""Runs the tasks of a compiled pipeline on one machine as its platform would; the test tool behind `run_compiled`.

For each task it resolves the inputs, evaluates the condition, copies files into a separate folder, runs driver and
command in new processes, and copies files out. It keeps each task's outcome, so that a run can continue where it
stopped. It does not imitate caching, which only saves work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import yaml

from pipeline.compiled import condition, task_inputs
from pipeline.compiled.artifact_store import ArtifactStore
from pipeline.compiled.container_entrypoint import STAGING_ROOT_VARIABLE
from pipeline.compiled.spec_file import CompiledSpec
from pipeline.compiled.task_inputs import Artifact, Scope
from pipeline.compiled.task_log import last_error

SUCCEEDED, FAILED, SKIPPED, NOT_TRIGGERED = "SUCCEEDED", "FAILED", "SKIPPED", "NOT_TRIGGERED"
_PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
_RESULT_FILE, _LOG_FILE = "result.json", "log.txt"
# Takes command, working folder, environment and log; returns the exit status.
CommandRunner = Callable[[Sequence[str], pathlib.Path, Mapping[str, str], IO[str]], int]


class TaskFailedError(RuntimeError):
    """A container ended with a status other than 0."""


def run_command(command: Sequence[str], work_dir: pathlib.Path, environment: Mapping[str, str], log: IO[str]) -> int:
    """Runs a command in a new process, writes its output to `log`, and returns its exit status."""
    done = subprocess.run(command, cwd=work_dir, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    return done.returncode


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The outcome of a task.

    Attributes:
        state: "SUCCEEDED", "FAILED", "SKIPPED" (a task before it failed) or "NOT_TRIGGERED" (its condition is false).
        seconds: The time of all its attempts.
        attempts: How many times its container was started.
        outputs: Its artifacts by key.
        reason: Why it failed.
        resumed: Whether an earlier run of the program did the work.
    """

    state: str
    seconds: float = 0.0
    attempts: int = 0
    outputs: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    reason: str = ""
    resumed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalPlatform:
    """One run of one compiled pipeline.

    Attributes:
        spec: The pipeline.
        store: The artifacts of this and earlier runs.
        run_id: The run's name.
        pipeline_root: The address below which artifacts are stored.
        on_result: Called after every task with its name and outcome.
        run_command: Runs a container's command.
    """

    spec: CompiledSpec
    store: ArtifactStore
    run_id: str
    pipeline_root: str
    on_result: Callable[[str, TaskResult], None]
    run_command: CommandRunner = run_command

    @property
    def run_dir(self) -> pathlib.Path:
        """Returns the folder of the run's steps and results."""
        return self.store.root / "runs" / self.run_id

    def run(self, parameters: dict[str, Any]) -> dict[str, TaskResult]:
        """Runs all tasks; after a failure, tasks that need the failed one are skipped, but the exit handler runs.

        Args:
            parameters: The parameters of the run; others have their defaults.

        Raises:
            UnresolvedInputError: if a parameter is unknown, or one without a default is missing.
        """
        root = self.spec.pipeline_spec["root"]
        known = root.get("inputDefinitions", {}).get("parameters", {})
        if unknown := sorted(parameters.keys() - known.keys()):
            raise task_inputs.UnresolvedInputError(f"The pipeline has {sorted(known)}. Received: {unknown}")
        values = task_inputs.resolve_parameters({}, _with_defaults(root, parameters), Scope(parameters={}))
        return self._run_dag(root, values)

    def _run_dag(self, component: dict[str, Any], parameters: dict[str, Any]) -> dict[str, TaskResult]:
        tasks = component["dag"]["tasks"]
        results: dict[str, TaskResult] = {}
        scope = Scope(parameters=parameters, final_status_is_text=not self.spec.is_kubeflow)
        for name in task_inputs.task_order(tasks):
            inner = self.spec.pipeline_spec["components"][tasks[name]["componentRef"]["name"]]
            waits_for = [results[other].state for other in tasks[name].get("dependentTasks", []) if other in results]
            if not task_inputs.is_exit_handler(tasks[name]) and set(waits_for) - {SUCCEEDED}:
                result = TaskResult(state=SKIPPED)
                self.on_result(name, result)
            elif "dag" in inner:
                inputs = task_inputs.resolve_parameters(tasks[name], inner, scope)
                of_dag = self._run_dag(inner, inputs)
                results |= of_dag
                failed = [task for task, each in of_dag.items() if each.state == FAILED]
                result = TaskResult(state=FAILED if failed else SUCCEEDED, reason=", ".join(failed))
            else:
                result = self._run_task(name, tasks[name], inner, scope)
                self.on_result(name, result)
            results[name] = result
            scope.statuses[name] = self._final_status(name, result)
            scope.outputs.update({(name, key): artifacts for key, artifacts in result.outputs.items()})
        return results

    def _final_status(self, name: str, result: TaskResult) -> dict[str, Any]:
        complete = "COMPLETE" if self.spec.is_kubeflow else SUCCEEDED
        return {
            "state": complete if result.state == SUCCEEDED else FAILED,
            "error": {"message": result.reason} if result.reason else {},
            "pipelineJobResourceName": f"projects/0/locations/local/pipelineJobs/{self.run_id}",
            "pipelineTaskName": name,
        }

    def _run_task(self, name: str, task: dict[str, Any], component: dict[str, Any], scope: Scope) -> TaskResult:
        task_dir = self.run_dir / name
        done = task_dir / _RESULT_FILE
        if done.exists():
            return TaskResult(**json.loads(done.read_text("utf-8")) | {"resumed": True})
        task_dir.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        executor = self.spec.pipeline_spec["deploymentSpec"]["executors"][component["executorLabel"]]
        inputs = self._inputs(task, component, scope)
        seen = {"artifacts": inputs["artifacts"], "parameter_values": inputs["parameterValues"]}
        if not condition.is_met(task.get("triggerPolicy", {}).get("condition", ""), seen):
            result = TaskResult(state=NOT_TRIGGERED)
        elif "resolver" in executor:
            result = TaskResult(state=SUCCEEDED, outputs=self._resolve(executor["resolver"], {"inputs": inputs}))
        else:
            result = self._run_with_retries(name, task, component, executor["container"], inputs)
        result = dataclasses.replace(result, seconds=round(time.monotonic() - start, 3))
        if result.state == SUCCEEDED:
            done.write_text(json.dumps(dataclasses.asdict(result), indent=1), encoding="utf-8")
        return result

    def _inputs(self, task: dict[str, Any], component: dict[str, Any], scope: Scope) -> dict[str, Any]:
        artifacts = {
            key: {"artifacts": [self._as_given(artifact) for artifact in found]}
            for key, found in task_inputs.resolve_artifacts(task, scope).items()
        }
        values = task_inputs.resolve_parameters(task, component, scope)
        return {"parameterValues": values, "artifacts": artifacts}

    def _as_given(self, artifact: Artifact) -> Artifact:
        if not self.spec.is_kubeflow:
            return {key: value for key, value in artifact.items() if key != "schema_title"}
        # Kubeflow stores neither names nor types of artifacts.
        return {"uri": artifact["uri"], "metadata": artifact["metadata"], "type": {"instanceSchema": ""}}

    def _resolve(self, resolver: dict[str, Any], executor_input: dict[str, Any]) -> dict[str, list[Artifact]]:
        found: dict[str, list[Artifact]] = {}
        given = [each for each in executor_input["inputs"]["artifacts"].values() if not each["artifacts"]]
        for key, query in resolver["outputArtifactQueries"].items():
            # A query about an artifact that an earlier query did not find has no result.
            text = None if given else task_inputs.fill_placeholders(query["filter"], executor_input)
            artifact = self.store.query(text) if text else None
            found[key] = [artifact] if artifact else []
        return found

    def _run_with_retries(
        self,
        name: str,
        task: dict[str, Any],
        component: dict[str, Any],
        container: dict[str, Any],
        inputs: dict[str, Any],
    ) -> TaskResult:
        policy = task.get("retryPolicy", {})
        delay_s = float(policy.get("backoffDuration", "0s").rstrip("s"))
        attempts = int(policy.get("maxRetryCount", 0)) + 1
        reason = ""
        # The attempts of an interrupted run stay as they are.
        before = len(list((self.run_dir / name).glob("attempt-*")))
        for attempt in range(1, attempts + 1):
            if reason:
                time.sleep(delay_s)
                delay_s *= float(policy.get("backoffFactor", 2.0))
            try:
                outputs = self._run_container(name, component, container, inputs, before + attempt)
                return TaskResult(state=SUCCEEDED, attempts=attempt, outputs=outputs)
            except TaskFailedError as error:
                reason = str(error)
        return TaskResult(state=FAILED, attempts=attempts, reason=reason)

    def _run_container(
        self,
        name: str,
        component: dict[str, Any],
        container: dict[str, Any],
        inputs: dict[str, Any],
        attempt: int,
    ) -> dict[str, list[Artifact]]:
        work_dir = self.run_dir / name / f"attempt-{attempt}"
        work_dir.mkdir(parents=True)
        outputs = self._new_outputs(name, component, attempt)
        for artifact in _flat(inputs["artifacts"]):
            self.store.copy_in(artifact["uri"], work_dir)
        self.store.attach(work_dir)
        output_file = self.store.mount / "executor_output.json"
        executor_input = {"inputs": inputs, "outputs": {"artifacts": outputs, "outputFile": str(output_file)}}
        driver = container.get("lifecycle", {}).get("preCacheCheck")
        if driver and not self.spec.is_kubeflow:
            self._start(name, [*driver["command"], *driver["args"]], executor_input, work_dir)
            _merge(outputs, json.loads(output_file.read_text("utf-8")))
        self._start(name, [*container.get("command", []), *container.get("args", [])], executor_input, work_dir)
        _merge(outputs, json.loads(output_file.read_text("utf-8")))
        for artifact in _flat(outputs):
            self.store.copy_out(artifact["uri"], work_dir)
            self.store.record(artifact)
        return {key: each["artifacts"] for key, each in outputs.items()}

    def _new_outputs(self, name: str, component: dict[str, Any], attempt: int) -> dict[str, Any]:
        outputs = {}
        for key, definition in component.get("outputDefinitions", {}).get("artifacts", {}).items():
            artifact = {
                "name": f"{self.store.new_name()}-{name}-{key}",
                "uri": f"{self.pipeline_root.rstrip('/')}/{self.run_id}/{name}-{attempt}/{key}",
                "type": definition["artifactType"],
                "metadata": dict(definition.get("metadata", {})),
                "schema_title": yaml.safe_load(definition["artifactType"]["instanceSchema"])["title"],
            }
            outputs[key] = {"artifacts": [artifact]}
        return outputs

    def _start(self, name: str, command: list[str], executor_input: dict[str, Any], work_dir: pathlib.Path) -> None:
        given = json.loads(json.dumps(executor_input))
        for artifact in _flat(given["outputs"]["artifacts"]):
            del artifact["schema_title"]
        filled = [task_inputs.fill_placeholders(word, given) for word in command]
        log_path = self.run_dir / name / _LOG_FILE
        with log_path.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)[:500]}\n")
            log.flush()
            start = log.tell()
            status = self.run_command(filled, work_dir, self._environment(), log)
        if status:
            program = command[2] if command[1:2] == ["-m"] else command[0]
            with log_path.open(encoding="utf-8", errors="replace") as log:
                log.seek(start)
                said = last_error(log.read())
            raise TaskFailedError(f"{program} ended with {status}: {said or 'it wrote nothing'}. Log: {log_path}")

    def _environment(self) -> dict[str, str]:
        """Returns the variables that replace the image: this Python, this project, and the root of the file system."""
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
        packages = os.pathsep.join([str(_PROJECT_DIR), *filter(None, [os.environ.get("PYTHONPATH")])])
        return os.environ | {"PATH": path, "PYTHONPATH": packages, STAGING_ROOT_VARIABLE: str(self.store.mount)}


def _with_defaults(root: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    definitions = root.get("inputDefinitions", {}).get("parameters", {})
    given = {
        key: spec | {"defaultValue": parameters.get(key, spec.get("defaultValue"))} for key, spec in definitions.items()
    }
    present = {key: spec for key, spec in given.items() if spec["defaultValue"] is not None}
    missing = {key: definitions[key] for key in definitions.keys() - present.keys()}
    return {"inputDefinitions": {"parameters": present | missing}}


def _flat(artifacts: dict[str, Any]) -> Iterator[Artifact]:
    for each in artifacts.values():
        yield from each["artifacts"]


def _merge(outputs: dict[str, Any], executor_output: dict[str, Any]) -> None:
    """Copies address and metadata of a container's outputs."""
    for key, each in executor_output.get("artifacts", {}).items():
        for mine, theirs in zip(outputs[key]["artifacts"], each.get("artifacts", []), strict=True):
            mine["uri"] = theirs.get("uri") or mine["uri"]
            mine["metadata"] = mine["metadata"] | theirs.get("metadata", {})
