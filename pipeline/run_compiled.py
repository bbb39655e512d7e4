"""Tests a compiled pipeline on this machine: `python pipeline/run_compiled.py SPEC [--root DIR]`, see `--help`.

This is a test tool: it shows that a file's tasks, conditions and parameters work before the file is submitted.
docs/kubeflow.md says why kfp's own local runner is not used. Every task runs as on its platform: the spec's command in
a new process, in a separate folder that holds only the task's inputs. The places of a cluster are imitated: the image's
project folder by this checkout, `gs://` by `<root>/bucket/gcs`, volumes by `<root>/volumes`. Exit status: 0 if all
tasks finished (even if the gate rejected the model), 1 if one failed, 2 if the command or the spec is wrong.
`<root>/runs/<run>/summary.json` has the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from components.panoptic_evaluator.files import METRICS_FILE, REPORT_FILE  # noqa: E402
from maskformer_model import command_errors  # noqa: E402
from maskformer_model.command_parser import CommandParser  # noqa: E402
from pipeline.compiled import local_platform  # noqa: E402
from pipeline.compiled.artifact_store import ArtifactStore  # noqa: E402
from pipeline.compiled.local_places import LocalPlaces  # noqa: E402
from pipeline.compiled.local_platform import FAILED, SUCCEEDED, CommandRunner, LocalPlatform, TaskResult  # noqa: E402
from pipeline.compiled.spec_file import CompiledSpec, read_spec  # noqa: E402
from pipeline.local_run import root_lock  # noqa: E402
from pipeline.project_folder import default_root  # noqa: E402

EXIT_FAILED = 1
KUBEFLOW_ROOT = "minio://mlpipeline/v2/artifacts"
DATA_PARAMETER = "data_dir"
_SUMMARY_FILE, _START_FILE = "summary.json", "start.json"
_METRICS = ("pq", "sq", "rq")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="run_compiled.py",
        description="A test tool: runs a compiled pipeline on this machine, each task in a new process, before the "
        "file is submitted. To train and push a model here, use run_local.py.",
    )
    add = parser.add_argument
    add("spec", metavar="SPEC", help="a spec that compile_kubeflow.py wrote")
    root = os.path.join(default_root(), "compiled")
    add("--root", metavar="DIR", default=root, help="folder for bucket, artifacts and runs (default: %(default)s)")
    add("--param", metavar="NAME=VALUE", action="append", default=[], help="a parameter of the run; may be repeated")
    fork_help = "fork tasks from a process that has imported TFX, which takes less than half the time"
    add("--fork_tasks", action="store_true", help=fork_help)
    add("--resume", action="store_true", help="continue the newest run of this spec, if it has not finished")
    return parser.parse_args(argv)


def parameters_from_args(texts: Sequence[str], spec: CompiledSpec) -> dict[str, Any]:
    """Reads `NAME=VALUE` by the parameter's type in the spec.

    Raises:
        ValueError: if a text is not `NAME=VALUE`, or the value has another type.
    """
    definitions = spec.pipeline_spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"`--param` must be NAME=VALUE. Received: {text!r}")
        is_text = definitions.get(name, {}).get("parameterType", "STRING") == "STRING"
        values[name] = value if is_text else json.loads(value)
    return values


def run(
    spec_path: str,
    root: str,
    texts: Sequence[str] = (),
    *,
    resume: bool = False,
    run_command: CommandRunner = local_platform.run_command,
) -> dict[str, Any]:
    """Runs a compiled pipeline once.

    Args:
        spec_path: The compiled file.
        root: The folder for everything that runs write; pushed models go where the spec says.
        texts: Parameters as `NAME=VALUE`.
        resume: Whether to continue the newest run of the same file and parameters, if it has not finished.
        run_command: Runs a container's command.

    Returns:
        The summary: `state`, `run_id`, `pq`, `sq`, `rq` (None where nothing was evaluated), `blessed`, `pushed_model`,
        `report`, `tasks` (state, seconds, attempts, reason and whether it was resumed, by name).

    Raises:
        ValueError: if the spec or a parameter is wrong, or the data is not there.
    """
    spec = read_spec(spec_path)
    parameters = parameters_from_args(texts, spec)
    store = ArtifactStore(pathlib.Path(root).resolve())
    places = LocalPlaces.of(spec, store.root)
    spec = places.localize(spec)
    local_parameters = {
        name: places.to_local(value) if isinstance(value, str) else value for name, value in parameters.items()
    }
    _check_data(spec, local_parameters)
    started = {"spec_sha256": _sha256(spec_path), "parameters": parameters}
    platform = LocalPlatform(
        spec=spec,
        store=store,
        run_id=(_unfinished_run(store.root, started) if resume else None) or _new_run(store.root, started),
        pipeline_root=_pipeline_root(spec, store),
        on_result=_print_result,
        run_command=run_command,
    )
    print(f"Run {platform.run_id} of {spec_path}: {platform.run_dir}", flush=True)
    results = platform.run(local_parameters)
    summary = _summarize(platform, results)
    path = platform.run_dir / _SUMMARY_FILE
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _pipeline_root(spec: CompiledSpec, store: ArtifactStore) -> str:
    """Returns the root of artifacts: the spec's, in the imitated object store, or else a folder below the mount."""
    root = spec.pipeline_root
    if spec.is_kubeflow:
        return root if "://" in root else KUBEFLOW_ROOT
    return str(store.mount / "gcs" / spec.pipeline_spec["pipelineInfo"]["name"])


def _check_data(spec: CompiledSpec, parameters: Mapping[str, Any]) -> None:
    """Refuses a run whose data folder does not exist; a pipeline without the parameter is not checked."""
    definition = spec.pipeline_spec["root"].get("inputDefinitions", {}).get("parameters", {}).get(DATA_PARAMETER, {})
    folder = parameters.get(DATA_PARAMETER, definition.get("defaultValue"))
    if folder is not None and not pathlib.Path(folder).is_dir():
        raise ValueError(
            f"The run's data must be in {folder}, which is no folder. Copy it there, name another one by "
            f"`--param {DATA_PARAMETER}=DIR`, or draw scenes there: "
            f"`python -m pipeline.local_run.generated_data {folder}`"
        )


def _new_run(root: pathlib.Path, started: Mapping[str, Any]) -> str:
    run_id = datetime.datetime.now().strftime("run-%Y%m%dt%H%M%S-%f")
    (root / "runs" / run_id).mkdir(parents=True)
    (root / "runs" / run_id / _START_FILE).write_text(json.dumps(started), encoding="utf-8")
    return run_id


def _unfinished_run(root: pathlib.Path, started: Mapping[str, Any]) -> str | None:
    """Returns the newest run, if it started with the same inputs and has not finished."""
    newest = max(root.glob(f"runs/*/{_START_FILE}"), default=None)
    if newest is None or json.loads(newest.read_text("utf-8")) != started:
        return None
    summary = newest.with_name(_SUMMARY_FILE)
    if summary.exists() and json.loads(summary.read_text("utf-8"))["state"] == SUCCEEDED:
        return None
    return newest.parent.name


def _sha256(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _print_result(name: str, result: TaskResult) -> None:
    words = f"{result.state:<13} {name:<38} {result.seconds:8.1f} s"
    print(words + (" (of the run before)" if result.resumed else "") + f" {result.reason}".rstrip(), flush=True)


def _summarize(platform: LocalPlatform, results: Mapping[str, TaskResult]) -> dict[str, Any]:
    failed = [name for name, result in results.items() if result.state == FAILED]
    evaluation = _output(results, "PanopticEvaluator", "evaluation")
    folder = platform.store.open_path(evaluation["uri"]) if evaluation else None
    metrics = json.loads((folder / METRICS_FILE).read_text("utf-8"))["summary"]["all"] if folder else {}
    blessing = _output(results, "PanopticEvaluator", "blessing")
    pushed = (_output(results, "Pusher", "pushed_model") or {}).get("metadata", {})
    return {
        "state": FAILED if failed else SUCCEEDED,
        "run_id": platform.run_id,
        **{name: metrics.get(name) for name in _METRICS},
        "blessed": bool(blessing["metadata"].get("blessed")) if blessing else None,
        "pushed_model": pushed.get("pushed_destination"),
        "report": str(folder / REPORT_FILE) if folder else None,
        "tasks": {
            name: {key: value for key, value in dataclasses.asdict(result).items() if key != "outputs"}
            for name, result in results.items()
        },
    }


def _output(results: Mapping[str, TaskResult], task: str, key: str) -> dict[str, Any] | None:
    artifacts = results[task].outputs.get(key, []) if task in results else []
    return artifacts[0] if artifacts else None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return command_errors.run_command("run_compiled.py", lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    run_command = local_platform.run_command
    if args.fork_tasks:
        from pipeline.compiled import forked_tasks

        forked_tasks.import_tfx()
        run_command = forked_tasks.run_forked
    with root_lock.only_run_in(str(pathlib.Path(args.root).resolve())):
        summary = run(args.spec, args.root, args.param, resume=args.resume, run_command=run_command)
    print(f"{summary['state']}: PQ {summary['pq']}, pushed: {summary['pushed_model']}\nReport: {summary['report']}")
    return 0 if summary["state"] == SUCCEEDED else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
