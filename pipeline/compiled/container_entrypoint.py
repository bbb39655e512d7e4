"""Runs TFX's entry point in a container of open-source Kubeflow Pipelines, and adapts its inputs and outputs.

Kubeflow's launcher copies artifacts to a folder named after their address (`minio://b/k` -> `/minio/b/k`), but TFX
opens addresses itself and knows neither `minio://` nor `s3://`. Artifacts have no type and no name, an output is never
absent, and the final status of a run is not a string. This module corrects each of these in the json that TFX reads and
writes. TFX itself is not changed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# A test's container has no separate file system; this variable names the folder that imitates its root.
STAGING_ROOT_VARIABLE = "MASKFORMER_STAGING_ROOT"
# Kubeflow's launcher names the folders like this.
_FOLDERS = {"gs": "gcs", "minio": "minio", "s3": "s3"}
_ABSENT_KEY = "absent"  # `components.pushing.last_pushed_model` marks a missing artifact like this.


class StagedPaths:
    """The addresses of artifacts and the launcher's local folders for them."""

    def __init__(self, root: str = "/"):
        self._prefixes = {f"{scheme}://": os.path.join(root, folder, "") for scheme, folder in _FOLDERS.items()}

    def to_local(self, text: str) -> str:
        """Returns the local path of an address, `minio://b/k` -> `/minio/b/k`; keeps other text."""
        for scheme, folder in self._prefixes.items():
            if text.startswith(scheme):
                return folder + text.removeprefix(scheme)
        return text

    def to_remote(self, text: str) -> str:
        """Returns the address of a local path, the inverse of `to_local`."""
        for scheme, folder in self._prefixes.items():
            if text.startswith(folder):
                return scheme + text.removeprefix(folder)
        return text


def prepare_input(executor_input: dict[str, Any], inputs_spec: dict[str, Any], paths: StagedPaths) -> dict[str, Any]:
    """Returns TFX's form of Kubeflow's ExecutorInput.

    Args:
        executor_input: The launcher's input; not changed.
        inputs_spec: The component's ComponentInputsSpec, which has the types.
        paths: The paths of artifacts.
    """
    prepared = copy.deepcopy(executor_input)
    inputs = prepared.setdefault("inputs", {})
    for key, artifacts in inputs.get("artifacts", {}).items():
        present = [artifact for artifact in artifacts.get("artifacts", []) if not _is_absent(artifact)]
        artifacts["artifacts"] = present
        for artifact in present:
            artifact["name"] = artifact.get("name") or artifact["uri"]
            if not any(artifact.get("type", {}).values()):
                artifact["type"] = inputs_spec["artifacts"][key]["artifactType"]
    values = inputs.get("parameterValues", {})
    for key, value in values.items():
        if isinstance(value, dict | list):
            values[key] = json.dumps(value)
    for artifact in _artifacts_of(prepared):
        artifact["uri"] = paths.to_local(artifact["uri"])
        _map_metadata(artifact, paths.to_local)
    return prepared


def restore_output(executor_output: dict[str, Any], paths: StagedPaths) -> dict[str, Any]:
    """Returns Kubeflow's form of TFX's ExecutorOutput, with addresses instead of local paths."""
    restored = copy.deepcopy(executor_output)
    for artifacts in restored.get("artifacts", {}).values():
        for artifact in artifacts.get("artifacts", []):
            artifact["uri"] = paths.to_remote(artifact.get("uri", ""))
            _map_metadata(artifact, paths.to_remote)
    return restored


def _is_absent(artifact: dict[str, Any]) -> bool:
    return bool(artifact.get("metadata", {}).get(_ABSENT_KEY))


def _artifacts_of(executor_input: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("inputs", "outputs"):
        for artifacts in executor_input.get(side, {}).get("artifacts", {}).values():
            yield from artifacts.get("artifacts", [])


def _map_metadata(artifact: dict[str, Any], change: Callable[[str], str]) -> None:
    metadata = artifact.get("metadata", {})
    metadata.update({key: change(value) for key, value in metadata.items() if isinstance(value, str)})


def parse_args(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Reads TFX's flags; all others are Beam's."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compiled.container_entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True, help="an ExecutorInput")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="a ComponentInputsSpec")
    return parser.parse_known_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one node."""
    args, beam_args = parse_args(sys.argv[1:] if argv is None else argv)
    paths = StagedPaths(os.environ.get(STAGING_ROOT_VARIABLE, "/"))
    inputs_spec = json.loads(args.json_serialized_inputs_spec_args)
    prepared = prepare_input(json.loads(args.json_serialized_invocation_args), inputs_spec, paths)
    args.json_serialized_invocation_args = json.dumps(prepared)
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    kubeflow_v2_run_executor.main((args, beam_args))
    output_file = prepared["outputs"]["outputFile"]
    with open(output_file, encoding="utf-8") as file:
        executor_output = json.load(file)
    with open(output_file, "w", encoding="utf-8") as file:
        json.dump(restore_output(executor_output, paths), file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
