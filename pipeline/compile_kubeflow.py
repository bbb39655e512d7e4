"""Compiles the pipeline: `python pipeline/compile_kubeflow.py --target vertex|kubeflow --output FILE`, see `--help`.

The nodes are those of `maskformer_pipeline`. The file for Vertex AI is a PipelineJob. The file for open-source Kubeflow
Pipelines v2 is a PipelineSpec and a PlatformSpec; Kubeflow has no drivers and no Resolver, so two nodes are replaced by
others with the same outputs. Only `--output` is written, and no bucket is opened. A config that no cluster could run is
refused; `--local` compiles it for a test on this machine. Exit status: 0, or 2 if the command or the config is wrong.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

import yaml

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser
from pipeline.compiled import cluster_check, compiled_spec, platform_config
from pipeline.compiled.platform_config import KUBEFLOW, VERTEX, PlatformConfig
from pipeline.local_run import console
from pipeline.local_run.generated_data import GeneratedDataConfig
from pipeline.whole_files import write_durably

ENTRYPOINT = ("python", "-m", "pipeline.compiled.container_entrypoint")
DRIVER = ("python", "-m", "pipeline.compiled.example_gen_driver")
EXAMPLE_GEN, BASELINE, PUSHER, EXIT_HANDLER = "CocoExampleGen", "latest-blessed-model", "Pusher", "RunStatus"
# Kubeflow's default place for artifacts.
KUBEFLOW_ROOT = "minio://mlpipeline/v2/artifacts"
# The node and its parameter, by the name of the run's parameter.
PARAMETERS = {
    "data_dir": (EXAMPLE_GEN, "input_base"),
    "on_anomalies": ("AnomalyGate", "action"),
    "on_drift": ("DriftGate", "action"),
    "max_class_drift": ("DriftGate", "max_class_drift"),
    "pq_floor": ("PanopticEvaluator", "pq_floor"),
    "allowed_pq_drop": ("PanopticEvaluator", "allowed_drop"),
}
MANIFEST_PARAMETERS = {"data_dir": (EXAMPLE_GEN, "data_dir"), "data_sha256": (EXAMPLE_GEN, "data_sha256")}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="compile_kubeflow.py", description="Compiles the pipeline for Vertex AI or open-source Kubeflow."
    )
    add = parser.add_argument
    add("--target", required=True, choices=(VERTEX, KUBEFLOW))
    add("--config", metavar="FILE", help="YAML file, see docs/kubeflow.md; may be left out with --local: the demo")
    local_help = "for run_compiled.py on this machine: folders of this machine, any image, this checkout's code"
    add("--local", action="store_true", help=local_help)
    add("--output", required=True, metavar="FILE.yaml")
    return parser.parse_args(argv)


def compile_pipeline(config: PlatformConfig, target: str) -> list[dict[str, Any]]:
    """Compiles the pipeline.

    Args:
        config: What to compile. Data that is not on this machine is not checked.
        target: "vertex" or "kubeflow".

    Returns:
        The file's documents.

    Raises:
        ValueError: if the target does not support the config.
    """
    spec = _compile_for_kubeflow(config) if target == KUBEFLOW else _compile_for_vertex(config)
    spec = compiled_spec.configure_nodes(spec, config)
    if config.project_dir != platform_config.PROJECT_DIR:
        spec = _move_project(spec, config.project_dir)
    if target == KUBEFLOW:
        return [spec, compiled_spec.kubernetes_platform(spec, config)]
    return [compiled_spec.add_job(spec, config, config.pipeline.name)]


def _compile_for_vertex(config: PlatformConfig) -> dict[str, Any]:
    from pipeline.maskformer_pipeline import create_pipeline

    spec = _run_compiler(create_pipeline(config.pipeline, keeps_metadata=False), config, None)
    spec["defaultPipelineRoot"] = config.pipeline_root or config.pipeline.artifacts_dir
    spec = compiled_spec.replace_driver(spec, EXAMPLE_GEN, list(DRIVER))
    spec = compiled_spec.never_cache(spec, (PUSHER,))
    return compiled_spec.promote_parameters(spec, PARAMETERS)


def _compile_for_kubeflow(config: PlatformConfig) -> dict[str, Any]:
    from components.coco_example_gen.manifest_component import ManifestExampleGen
    from components.pushing.last_pushed_model import LastPushedModel
    from pipeline.maskformer_pipeline import create_pipeline

    data = config.pipeline.data
    pipeline = create_pipeline(
        config.pipeline,
        example_gen=ManifestExampleGen(data.data_dir, _data_sha256(config), data.options).with_id(EXAMPLE_GEN),
        baseline=LastPushedModel(pointer_file=config.pipeline.pointer_path).with_id(BASELINE),
        keeps_metadata=False,
    )
    spec = _run_compiler(pipeline, config, list(ENTRYPOINT))
    spec["defaultPipelineRoot"] = config.pipeline_root or KUBEFLOW_ROOT
    # The serving and the last pushed model are not parameters, so a cached result could be outdated.
    spec = compiled_spec.never_cache(spec, (BASELINE, PUSHER))
    return compiled_spec.promote_parameters(spec, PARAMETERS | MANIFEST_PARAMETERS)


def _run_compiler(pipeline: Any, config: PlatformConfig, command: list[str] | None) -> dict[str, Any]:
    from tfx.orchestration.kubeflow.decorators import FinalStatusStr
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

    from components.run_status import RunStatus

    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=config.image, default_commands=command, use_pipeline_spec_2_1=True
        )
    )
    status_dir = os.path.join(config.pipeline.root, "status")
    runner.set_exit_handler(RunStatus(final_status=FinalStatusStr(), status_dir=status_dir).with_id(EXIT_HANDLER))
    return runner.run(pipeline, write_out=False)["pipelineSpec"]


def _data_sha256(config: PlatformConfig) -> str:
    """Returns the digest that the run expects: the config's, or else that of the manifest of data on this machine."""
    import tensorflow as tf

    from components.coco_example_gen import data_manifest
    from components.coco_example_gen.sources import sources_of

    data = config.pipeline.data
    if config.data_sha256:
        return config.data_sha256
    try:
        if "://" in data.data_dir:
            raise ValueError(f"compiling does not open {data.data_dir}.")
        return data_manifest.stated_digest(data.data_dir, sources_of(data.data_dir, data.options).values())
    except (FileNotFoundError, ValueError, tf.errors.OpError) as error:
        write = f"python -m components.coco_example_gen.manifest write {data.data_dir}"
        raise ValueError(
            "`data_sha256` must be given, or found in the manifest beside the data, which "
            f"`{_draw_command(config) if config.scenes else write}` writes. Received: {error}"
        ) from error


def _draw_command(config: PlatformConfig) -> str:
    """Returns the command that draws the config's scenes, for which only this machine has a place."""
    command = f"python -m pipeline.local_run.generated_data {config.pipeline.data.data_dir}"
    if config.scenes is None or config.scenes == GeneratedDataConfig():
        return command
    return f"{command} --train {config.scenes.num_train} --eval {config.scenes.num_val} --seed {config.scenes.seed}"


def _read_config(args: argparse.Namespace) -> PlatformConfig:
    """Returns the config that the flags name, checked for the target unless it is for this machine."""
    if args.local:
        return platform_config.local_config(platform_config.read_config(args.config) if args.config else None)
    if not args.config:
        raise ValueError(
            "`--config` must name a file; docs/examples/clusters has one for each platform. "
            "`--local` compiles the demo for a test on this machine. Received: neither"
        )
    config = platform_config.read_config(args.config)
    cluster_check.check_for_cluster(config, args.target)
    return config


def _move_project(spec: dict[str, Any], project_dir: str) -> dict[str, Any]:
    moved = compiled_spec.replace_prefix(spec, f"{platform_config.PROJECT_DIR}/components", f"{project_dir}/components")
    return compiled_spec.replace_prefix(moved, platform_config.PROJECT_DIR, project_dir)


def write_spec(path: str, documents: list[dict[str, Any]]) -> None:
    """Writes the file, whole or not at all."""
    write_durably(path, yaml.safe_dump_all(documents, sort_keys=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return run_command("compile_kubeflow.py", lambda: _compile(args))


def _compile(args: argparse.Namespace) -> int:
    from maskformer_model.backend.quiet_start import import_tensorflow

    console.quiet_environment()
    config = _read_config(args)
    import_tensorflow()  # What follows needs it, and it greets.
    documents = compile_pipeline(config, args.target)
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    write_spec(args.output, documents)
    from pipeline.compiled.spec_validation import validate_spec

    validate_spec(args.output)
    print(f"Compiled for {args.target}: {args.output}")
    if config.scenes is not None and not os.path.isdir(config.pipeline.data.data_dir):
        print(f"Its scenes, before a run: {_draw_command(config)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
