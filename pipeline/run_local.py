"""Runs the pipeline on this machine: `python pipeline/run_local.py [--data DIR]`, see `--help`.

Exit status: 0 if the pipeline finished (even if the gate rejected the model), 1 if a node failed or the root's metadata
cannot be used, 2 if the command was wrong. `<root>/summary.json` has the result, except after a wrong flag.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import logging
import os
import pathlib
import sys
import time
from collections.abc import Sequence

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from maskformer_model.command_errors import run_command  # noqa: E402
from pipeline.config import PipelineConfig  # noqa: E402
from pipeline.flags import config_from_args, generated_data_from_args, parse_args  # noqa: E402
from pipeline.local_run import console, generated_data, runs_page, summary  # noqa: E402
from pipeline.local_run.code_version import code_version  # noqa: E402
from pipeline.local_run.data_folder import DataFolderError, check_data_dir  # noqa: E402
from pipeline.local_run.failure_reason import failure_reason  # noqa: E402
from pipeline.local_run.moved_root import follow_moved_root  # noqa: E402
from pipeline.local_run.query_ceiling import ceiling_sentences  # noqa: E402
from pipeline.local_run.root_lock import EXIT_ROOT_IN_USE, RootInUseError, only_run_in  # noqa: E402
from pipeline.local_run.run_record import NodeFailedError  # noqa: E402
from pipeline.retraining import metadata_backup  # noqa: E402

_VERSIONED_PACKAGES = ("tfx", "tensorflow", "keras", "apache-beam")
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def run(config: PipelineConfig, scenes: generated_data.GeneratedDataConfig | None) -> int:
    """Runs the pipeline once, prints what happens and writes `summary.json`.

    Args:
        config: What to run.
        scenes: The scenes to draw into the data folder first, or None to read the folder as it is.

    Returns:
        The program's exit status.
    """
    started = datetime.datetime.now().astimezone()
    run_id = started.strftime("%Y%m%dT%H%M%S.%f")
    log_path = os.path.join(config.root, "logs", f"run-{run_id}.log")
    progress, start_s = console.ConsoleProgress(), time.monotonic()
    summary.remove_summary(config.root)
    print(f"Experiment {config.experiment_name} on {config.data.data_dir}\nLog: {log_path}", flush=True)
    with console.log_to_file(log_path):
        status, failure = _try(config, scenes, run_id, progress, log_path)
    outcome = summary.build_summary(config, progress.records, failure) | {
        "run_id": run_id,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start_s, 3),
        "log": log_path,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONED_PACKAGES},
        "code": code_version(PROJECT_DIR),
    }
    path = summary.write_summary(config.root, outcome)
    index = runs_page.record_run(config.root, config.serving_dir, outcome)
    print("\n".join([*summary.describe(outcome), f"Summary: {path}", f"All runs: {index}"]), flush=True)
    return status


def _try(
    config: PipelineConfig,
    scenes: generated_data.GeneratedDataConfig | None,
    run_id: str,
    progress: console.ConsoleProgress,
    log_path: str,
) -> tuple[int, NodeFailedError | None]:
    """Checks the root, prepares the data and runs the nodes; turns every error into an exit status and a reason."""
    try:
        metadata_backup.require_usable(config.metadata_path)
        if words := follow_moved_root(config.metadata_path, config.root):
            print(words, flush=True)
        _prepare_data(config, scenes)
        with console.native_stderr_to(log_path):
            _run_nodes(config, run_id, progress)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED, NodeFailedError("pipeline", "it was interrupted.")
    except DataFolderError as error:
        return EXIT_USAGE, NodeFailedError("data", str(error))
    except NodeFailedError as error:
        logging.exception("%s", error)
        return EXIT_FAILED, error
    except Exception as error:
        logging.exception("%s", error)
        return EXIT_FAILED, NodeFailedError("pipeline", failure_reason(error))
    return 0, None


def _prepare_data(config: PipelineConfig, scenes: generated_data.GeneratedDataConfig | None) -> None:
    data_dir = config.data.data_dir
    if scenes and generated_data.ensure_generated_data(data_dir, scenes):
        print(f"Drew {scenes.num_train} + {scenes.num_val} scenes into {data_dir}", flush=True)
    for note in check_data_dir(data_dir, config.data.options):
        print(note, flush=True)


def _run_nodes(config: PipelineConfig, run_id: str, progress: console.ConsoleProgress) -> None:
    print("Loading TensorFlow and TFX ...", flush=True)
    from components.pushing import model_versions
    from pipeline.local_run.stepwise_runner import Retries, StepwiseLocalDagRunner
    from pipeline.maskformer_pipeline import create_pipeline

    for sentence in ceiling_sentences(config):
        print(sentence, flush=True)
    console.silence_absl()
    # If nothing serves any more, the model must be pushed again, which the cache cannot know.
    uncached = frozenset() if model_versions.list_versions(config.serving_dir) else frozenset({"Pusher"})
    retries = Retries(attempts=config.step_attempts, wait_s=config.retry_wait_s)
    StepwiseLocalDagRunner(run_id, progress, uncached, retries).run(create_pipeline(config))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    return run_command("run_local.py", lambda: _run_alone(args))


def _run_alone(args: argparse.Namespace) -> int:
    config, scenes = config_from_args(args), generated_data_from_args(args)
    console.quiet_environment()
    try:
        with only_run_in(config.root):
            return run(config, scenes)
    except RootInUseError as error:
        print(f"run_local.py: {error}", file=sys.stderr)
        return EXIT_ROOT_IN_USE


if __name__ == "__main__":
    sys.exit(main())
