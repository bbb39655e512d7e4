"""Compiled pipelines of a few tasks whose containers are small programs, to try the platform without TFX."""

from __future__ import annotations

import copy
from typing import Any

TEXT_TYPE = {"instanceSchema": "title: tfx.Text\ntype: object\n"}
NUMBER = {"parameterType": "NUMBER_DOUBLE"}
# Reads an ExecutorInput from its argument and has `given`, `folder_of` and `finish` for a task's lines.
_HEAD = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
inputs, outputs = given["inputs"], given["outputs"]
root = pathlib.Path(os.environ["MASKFORMER_STAGING_ROOT"])
def folder_of(artifact):
    return root / artifact["uri"].replace("minio://", "minio/")
def read(key):
    [artifact] = inputs["artifacts"][key]["artifacts"]
    return (folder_of(artifact) / "text").read_text()
def write(key, text, **metadata):
    [artifact] = outputs["artifacts"][key]["artifacts"]
    folder_of(artifact).mkdir(parents=True)
    (folder_of(artifact) / "text").write_text(text)
    artifacts[key] = {"artifacts": [{"uri": artifact["uri"], "metadata": metadata}]}
artifacts = {}
"""
_TAIL = """
pathlib.Path(outputs["outputFile"]).write_text(json.dumps({"artifacts": artifacts}))
"""


def container(lines: str) -> dict[str, Any]:
    """An executor that runs a few lines of Python."""
    return {"container": {"command": ["python", "-c", _HEAD + lines + _TAIL], "args": ["{{$}}"], "image": "python"}}


def task(component: str, **more: Any) -> dict[str, Any]:
    """A task of a component."""
    return {"componentRef": {"name": component}, "taskInfo": {"name": component}, **more}


def taken(producer: str, key: str) -> dict[str, Any]:
    """An input artifact that another task has made."""
    return {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": key}}


def component(
    name: str, *, takes: tuple[str, ...] = (), makes: tuple[str, ...] = (), **parameters: Any
) -> dict[str, Any]:
    """A component with artifacts of one type."""
    spec: dict[str, Any] = {"executorLabel": f"{name}_executor"}
    artifacts = {key: {"artifactType": TEXT_TYPE} for key in takes}
    spec["inputDefinitions"] = {"artifacts": artifacts, "parameters": parameters}
    spec["outputDefinitions"] = {"artifacts": {key: {"artifactType": TEXT_TYPE} for key in makes}}
    return spec


def greeting_pipeline() -> dict[str, Any]:
    """`Write` says something, `Shout` says it louder, and `Status` runs after both, however they ended."""
    return copy.deepcopy(
        {
            "pipelineInfo": {"name": "greeting"},
            "schemaVersion": "2.1.0",
            "defaultPipelineRoot": "minio://bucket/root",
            "root": {
                "dag": {
                    "tasks": {
                        "tfx-dag": task("tfx-dag"),
                        "Status": task(
                            "Status",
                            dependentTasks=["tfx-dag"],
                            triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
                            inputs={"parameters": {"status": {"taskFinalStatus": {"producerTask": "tfx-dag"}}}},
                        ),
                    }
                }
            },
            "components": {
                "tfx-dag": {
                    "dag": {
                        "tasks": {
                            "Write": task(
                                "Write",
                                inputs={"parameters": {"weight": {"runtimeValue": {"constant": 2.0}}}},
                                cachingOptions={"enableCache": True},
                            ),
                            "Shout": task(
                                "Shout",
                                dependentTasks=["Write"],
                                inputs={"artifacts": {"text": taken("Write", "text")}},
                            ),
                        }
                    }
                },
                "Write": component("Write", makes=("text",), weight=NUMBER),
                "Shout": component("Shout", takes=("text",), makes=("loud",)),
                "Status": component("Status", status={"parameterType": "STRING"}),
            },
            "deploymentSpec": {
                "executors": {
                    "Write_executor": container('write("text", "hello", weight=inputs["parameterValues"]["weight"])'),
                    "Shout_executor": container('write("loud", read("text").upper() + "!")'),
                    "Status_executor": container(
                        'pathlib.Path("status.json").write_text(json.dumps(inputs["parameterValues"]["status"]))'
                    ),
                }
            },
        }
    )


def dag_tasks(spec: dict[str, Any]) -> dict[str, Any]:
    """The tasks that the exit handler waits for."""
    return spec["components"]["tfx-dag"]["dag"]["tasks"]


def set_program(spec: dict[str, Any], name: str, lines: str) -> None:
    """Has a task run other lines."""
    spec["deploymentSpec"]["executors"][f"{name}_executor"] = container(lines)


def executor_of(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """The container of a task."""
    return spec["deploymentSpec"]["executors"][f"{name}_executor"]["container"]
