"""Traces a pushed model: `python pipeline/lineage.py MODEL_VERSION [--root DIR] [--json]`, see `--help`.

It goes back from the version: its Pusher, the gate's verdict, the Trainer with its parameters and the hash of its code,
the Examples and the hash of their data, then the model whose weights it started from, and so on to the first model.
All this comes from ML Metadata; the span and the commit come from `<root>/runs.jsonl`. Exit status: 0, or 2 if the
version is unknown.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from components.pushing import model_versions  # noqa: E402
from maskformer_model.command_errors import run_command  # noqa: E402
from maskformer_model.command_parser import CommandParser  # noqa: E402
from pipeline.local_run.json_lines import read_json_lines  # noqa: E402
from pipeline.project_folder import default_root  # noqa: E402

_RUNS_FILE, _STATES_DIR = "runs.jsonl", os.path.join("retrain", "spans")


class UnknownVersionError(ValueError):
    """No run pushed this version."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="lineage.py",
        description="Prints what a pushed model was made from: data, code, parameters, earlier models.",
    )
    add = parser.add_argument
    add("version", type=int, metavar="MODEL_VERSION", help="folder name below ROOT/serving")
    add("--root", metavar="DIR", default=default_root(), help="the pipeline's folder (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def trace(root: str, version: int) -> list[dict[str, Any]]:
    """Returns the model and the models that it goes back to, newest first.

    Args:
        root: The folder of the pipeline.
        version: A pushed version; it need not serve any more.

    Returns:
        Per model: `version` (None where it was never pushed), `model`, `model_run` (folder of its weights), `blessed`,
        `pq`, `data_fingerprint` ("content_sha256:<digest of the manifest>"), `examples`, `experiment` (all
        parameters), `source_sha256` (of the model's code), `initial` (what its weights started from), `run_id`, and
        from the list of runs `span`, `code` and `data`, from the loop `mix` (photos per span, digests of the
        spans).

    Raises:
        UnknownVersionError: if no run pushed it.
    """
    history = History(root)
    chain: list[dict[str, Any]] = []
    model: dict[str, Any] | None = history.pushed_model(version)
    while model is not None and model["model"] not in [link["model"] for link in chain]:
        chain.append(model)
        model = history.model_with_run(model["initial"])
    return chain


def model_run_that_serves(root: str) -> str | None:
    """Returns the folder of the serving model's training; None if nothing serves, or ML Metadata lost it."""
    versions = model_versions.list_versions(os.path.join(root, "serving"))
    if not versions:
        return None
    try:
        return trace(root, versions[-1])[0]["model_run"]
    except UnknownVersionError:
        return None


def _state_of(path: pathlib.Path) -> dict[str, Any]:
    """Reads the state of a span as json; `retraining.span_states` checks its fields."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must hold the state of a span as json. Failed with: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold the state of a span as json. Received: {type(state).__name__}")
    return state


class History:
    """The ML Metadata of one root, and its list of runs.

    Raises:
        UnknownVersionError: if there is no metadata.
        ValueError: if the state of a span is damaged.
    """

    def __init__(self, root: str):
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2

        path = os.path.join(root, "metadata.sqlite")
        if not os.path.exists(path):
            raise UnknownVersionError(f"Nothing was ever run in {root}.")
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = path
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        self._store = metadata_store.MetadataStore(config)
        self._event = metadata_store_pb2.Event
        self._states = [_state_of(path) for path in sorted(pathlib.Path(root, _STATES_DIR).glob("*.json"))]
        self._runs = {run.get("run_id"): run for run in read_json_lines(os.path.join(root, _RUNS_FILE))}

    def pushed_model(self, version: int) -> dict[str, Any]:
        """Returns the model that was pushed as a version."""
        pushes = self._pushes()
        if version not in pushes:
            raise UnknownVersionError(
                f"`MODEL_VERSION` must be one that was pushed: {sorted(pushes)}. Received: {version}"
            )
        pusher = self._producer(pushes[version].id)
        [model] = self._inputs(pusher, "model")
        return self._describe(model, version)

    def model_with_run(self, model_run: str) -> dict[str, Any] | None:
        """Returns the model whose training wrote this folder, or None if no Trainer did."""
        for artifact in self._store.get_artifacts_by_uri(model_run) if model_run else []:
            outputs = self._outputs(self._producer(artifact.id))
            if "model" in outputs:
                return self._describe(outputs["model"], self._version_of(outputs["model"].id))
        return None

    def _describe(self, model: Any, version: int | None) -> dict[str, Any]:
        trainer = self._producer(model.id)
        [examples] = self._inputs(trainer, "examples")
        custom_config = json.loads(trainer.custom_properties["custom_config"].string_value or "{}")
        experiment = json.loads(custom_config.get("experiment", "{}"))
        outputs = self._outputs(trainer)
        model_run = outputs["model_run"].uri if "model_run" in outputs else None
        mixes = [state.get("mix") for state in self._states if model_run and state.get("model_run") == model_run]
        run = self._record_of(self._run_id(trainer), model_run)
        return {
            "version": version,
            "model": model.uri,
            "model_run": model_run,
            "blessed": self._blessed(model.id),
            "pq": run.get("pq"),
            "span": run.get("span") or None,
            "data": run.get("data"),
            "mix": mixes[-1] if mixes else None,
            "data_fingerprint": examples.custom_properties["input_fingerprint"].string_value or None,
            "examples": examples.uri,
            "code": run.get("code"),
            "source_sha256": custom_config.get("source_sha256"),
            "initial": experiment.get("task", {}).get("init_checkpoint") or None,
            "run_id": self._run_id(trainer),
            "experiment": experiment,
        }

    def _record_of(self, run_id: str | None, model_run: str | None) -> dict[str, Any]:
        """Returns the list's entry of a training's run, or of the first run that continued it if that was killed."""
        gone_on = (run for run in self._runs.values() if model_run and run.get("model_run") == model_run)
        return self._runs.get(run_id) or next(gone_on, {})

    def _producer(self, artifact_id: int) -> Any:
        events = self._store.get_events_by_artifact_ids([artifact_id])
        # The first one, because cached executions list the artifact as their output, too.
        execution_id = min(event.execution_id for event in events if event.type == self._event.OUTPUT)
        return self._store.get_executions_by_id([execution_id])[0]

    def _inputs(self, execution: Any, key: str) -> list[Any]:
        return self._linked(execution, self._event.INPUT).get(key, [])

    def _outputs(self, execution: Any) -> dict[str, Any]:
        return {key: found[0] for key, found in self._linked(execution, self._event.OUTPUT).items()}

    def _linked(self, execution: Any, kind: int) -> dict[str, list[Any]]:
        linked: dict[str, list[Any]] = {}
        for event in self._store.get_events_by_execution_ids([execution.id]):
            if event.type == kind:
                linked.setdefault(event.path.steps[0].key, []).extend(
                    self._store.get_artifacts_by_id([event.artifact_id])
                )
        return linked

    def _run_id(self, execution: Any) -> str | None:
        contexts = self._store.get_contexts_by_execution(execution.id)
        return next((context.name for context in contexts if context.type == "pipeline_run"), None)

    def _blessed(self, model_id: int) -> bool:
        return any(
            blessing.custom_properties["current_model_id"].int_value == model_id
            and blessing.custom_properties["blessed"].int_value == 1
            for blessing in self._store.get_artifacts_by_type("ModelBlessing")
        )

    def _pushes(self) -> dict[int, Any]:
        """Returns the first `pushed_model` of each version."""
        found: dict[int, Any] = {}
        for push in sorted(self._store.get_artifacts_by_type("PushedModel"), key=lambda artifact: artifact.id):
            properties = push.custom_properties
            version = properties["pushed_version"].string_value
            # If a push was killed after its last file, the next run reports it as `already_serving`.
            if version and (properties["pushed"].int_value or properties["already_serving"].int_value):
                found.setdefault(int(version), push)
        return found

    def _version_of(self, model_id: int) -> int | None:
        for version, push in self._pushes().items():
            if [model.id for model in self._inputs(self._producer(push.id), "model")] == [model_id]:
                return version
        return None


def in_words(chain: Sequence[dict[str, Any]]) -> str:
    """Returns a lineage as text; all parameters of the newest model come last."""
    lines: list[str] = []
    for link in chain:
        name = f"version {link['version']}" if link["version"] else "a model that was not pushed"
        code = link["code"] or {}
        commit = f"commit {code.get('commit')}{' with changes' if code.get('changed') else ''}"
        lines += [
            f"{'Model' if not lines else 'It started from'}: {name}, {'blessed' if link['blessed'] else 'not blessed'}",
            f"  PQ:        {link['pq']}",
            f"  span:      {link['span']}",
            f"  data:      {link['data']}, {link['data_fingerprint']}",
            f"  mixed of:  {json.dumps(link['mix'])}",
            f"  examples:  {link['examples']}",
            f"  code:      {commit}, model's sources {link['source_sha256']}",
            f"  run:       {link['run_id']}",
            f"  weights:   {link['model_run']}",
            f"  started from: {link['initial']}",
        ]
    return "\n".join([*lines, "Parameters of the newest model:", json.dumps(chain[0]["experiment"], indent=1)])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return run_command("lineage.py", lambda: _print_chain(args))


def _print_chain(args: argparse.Namespace) -> int:
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()  # What follows needs it, and it greets.
    chain = trace(os.path.abspath(args.root), args.version)
    print(json.dumps(chain, indent=1) if args.json else in_words(chain))
    return 0


if __name__ == "__main__":
    sys.exit(main())
