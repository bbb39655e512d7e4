"""Schedules the retraining on a platform: `python pipeline/recurring_runs.py vertex|kubeflow SPEC.yaml ...`.

Reads a spec that `compile_kubeflow.py` wrote and prints the request for a schedule. The platform then runs the spec
again and again, one run at a time, and does not make up for missed times. `--submit` sends the request and replaces a
schedule of the same name. Exit status: 0, or 2 if the command or the spec was wrong.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
if not __package__:
    # As a script, Python looks for modules in this folder and not in the project's.
    sys.path[0] = str(PROJECT_DIR)

from maskformer_model.command_errors import run_command  # noqa: E402
from maskformer_model.command_parser import CommandParser  # noqa: E402
from pipeline.compiled.platform_config import KUBEFLOW, VERTEX  # noqa: E402
from pipeline.compiled.spec_file import CompiledSpec, read_spec  # noqa: E402

_TIME_ZONES = ("TZ=", "CRON_TZ=")
# The fields of a schedule that an update replaces; the platform owns the others.
UPDATED_FIELDS = ("cron", "max_concurrent_run_count", "allow_queueing", "create_pipeline_job_request")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="recurring_runs.py", description="Makes Vertex AI or Kubeflow Pipelines run a compiled spec on a schedule."
    )
    targets = parser.add_subparsers(dest="target", required=True, parser_class=argparse.ArgumentParser)
    vertex = targets.add_parser(VERTEX, help="a PipelineJobSchedule")
    kubeflow = targets.add_parser(KUBEFLOW, help="a recurring run of KFP v2")
    for target, cron_help in ((vertex, "five fields, with TZ=Europe/Berlin or the like before them"),
                              (kubeflow, "five fields, in UTC; or Kubeflow's six, seconds first")):  # fmt: skip
        add = target.add_argument
        add("spec", metavar="SPEC.yaml", help="a spec that compile_kubeflow.py wrote")
        add("--name", required=True, help="name of the schedule; one of the same name is replaced")
        add("--cron", required=True, metavar="EXPR", help=cron_help)
        add("--pipeline_root", default="", metavar="URI", help="folder of the artifacts (default: the spec's)")
        add("--param", action="append", default=[], metavar="K=V", help="a parameter of the pipeline")
        add("--service_account", default="", help="service account of the runs")
        add("--submit", action="store_true", help="send the request (default: print it)")
    vertex.add_argument("--project", required=True)
    vertex.add_argument("--location", required=True, help="such as europe-west4")
    kubeflow.add_argument("--experiment_id", required=True)
    kubeflow.add_argument("--host", default="", metavar="URL", help="address of the API, for --submit")
    kubeflow.add_argument("--token_file", default="", metavar="FILE", help="file with a bearer token")
    return parser.parse_args(argv)


def spec_for(target: str, path: str) -> CompiledSpec:
    """Returns a compiled file, which must be for the target.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not a compiled pipeline, or is for another target.
    """
    spec = read_spec(path)
    compiled_for = KUBEFLOW if spec.is_kubeflow else VERTEX
    if compiled_for != target:
        raise ValueError(f"The spec must be compiled with `--target {target}`. Received one for {compiled_for}: {path}")
    return spec


def read_params(texts: Sequence[str], spec: CompiledSpec) -> dict[str, Any]:
    """Returns the pipeline's parameters from `K=V` texts.

    Raises:
        ValueError: if a text is not `K=V`, the spec has no parameter of the name, or a value is not a number.
    """
    known = spec.pipeline_spec["root"].get("inputDefinitions", {}).get("parameters", {})
    params: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in known:
            raise ValueError(f"`--param` must be K=V with K of {sorted(known)}. Received: {text!r}")
        try:
            params[name] = value if known[name].get("parameterType", "STRING") == "STRING" else json.loads(value)
        except ValueError as error:
            raise ValueError(
                f"`--param {name}` must be a {known[name]['parameterType']}. Received: {value!r}"
            ) from error
    return params


def vertex_schedule(args: argparse.Namespace) -> Any:
    """Returns the `Schedule` to create on Vertex AI.

    Raises:
        OSError: if the spec cannot be read.
        ValueError: if the spec, the root, a parameter or the cron expression is not valid.
    """
    from google.cloud import aiplatform_v1

    spec = spec_for(VERTEX, args.spec)
    root = args.pipeline_root or spec.pipeline_root
    if not root.startswith("gs://"):
        raise ValueError(f"`--pipeline_root` must be an address on gs:// for Vertex AI. Received: {root!r}")
    check_vertex_cron(args.cron)
    job = aiplatform_v1.PipelineJob(
        display_name=args.name,
        labels=(spec.job or {}).get("labels", {}),
        pipeline_spec=spec.pipeline_spec,
        runtime_config=aiplatform_v1.PipelineJob.RuntimeConfig(
            gcs_output_directory=root, parameter_values=read_params(args.param, spec)
        ),
        service_account=args.service_account,
    )
    return aiplatform_v1.Schedule(
        display_name=args.name,
        cron=args.cron,
        max_concurrent_run_count=1,
        allow_queueing=False,
        create_pipeline_job_request=aiplatform_v1.CreatePipelineJobRequest(parent=_parent(args), pipeline_job=job),
    )


def submit_to_vertex(schedule: Any, parent: str, client: Any) -> str:
    """Updates the schedule of the same name, or creates one; returns its resource name.

    Args:
        schedule: The schedule, see `vertex_schedule`.
        parent: The project and location.
        client: An `aiplatform_v1.ScheduleServiceClient`.

    Raises:
        ValueError: if others have made several of the name.
    """
    from google.protobuf import field_mask_pb2

    found = [
        other.name
        for other in client.list_schedules(
            request={"parent": parent, "filter": f'display_name="{schedule.display_name}"'}
        )
        if other.state.name != "COMPLETED"
    ]
    if len(found) > 1:
        raise ValueError(f"`--name` must be of one schedule at most. Received {schedule.display_name!r}: {found}")
    if not found:
        return client.create_schedule(parent=parent, schedule=schedule).name
    schedule.name = found[0]
    return client.update_schedule(
        schedule=schedule, update_mask=field_mask_pb2.FieldMask(paths=UPDATED_FIELDS)
    ).name  # fmt: skip


def kubeflow_recurring_run(args: argparse.Namespace) -> Any:
    """Returns the `V2beta1RecurringRun` to create on Kubeflow Pipelines.

    Raises:
        OSError: if the spec cannot be read.
        ValueError: if the spec, a parameter or the cron expression is not valid.
    """
    import kfp_server_api

    spec = spec_for(KUBEFLOW, args.spec)
    documents: dict[str, Any] = spec.pipeline_spec
    if spec.platform_spec is not None:
        documents = {"pipeline_spec": spec.pipeline_spec, "platform_spec": spec.platform_spec}
    cron = kubeflow_cron(args.cron)
    return kfp_server_api.V2beta1RecurringRun(
        display_name=args.name,
        experiment_id=args.experiment_id,
        pipeline_spec=documents,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(
            parameters=read_params(args.param, spec), pipeline_root=args.pipeline_root or spec.pipeline_root
        ),
        trigger=kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=cron)),
        max_concurrency="1",
        no_catchup=True,
        mode=kfp_server_api.RecurringRunMode.ENABLE,
        service_account=args.service_account or None,
    )


def submit_to_kubeflow(recurring_run: Any, api: Any) -> str:
    """Creates the recurring run and then deletes those of the same name; returns its id.

    Args:
        recurring_run: The recurring run, see `kubeflow_recurring_run`.
        api: A `kfp_server_api.RecurringRunServiceApi`.
    """
    created = api.recurring_run_service_create_recurring_run(recurring_run=recurring_run)
    wanted = {"predicates": [{"operation": "EQUALS", "key": "name", "stringValue": recurring_run.display_name}]}
    found = api.recurring_run_service_list_recurring_runs(
        experiment_id=recurring_run.experiment_id, filter=json.dumps(wanted), page_size=100
    )
    for other in found.recurring_runs or []:
        # The list is filtered by name, but the name is checked again before a delete.
        if other.display_name == recurring_run.display_name and other.recurring_run_id != created.recurring_run_id:
            api.recurring_run_service_delete_recurring_run(other.recurring_run_id)
    return created.recurring_run_id


def check_vertex_cron(expression: str) -> None:
    """Checks the form of a cron expression for Vertex AI, which may start with a time zone.

    Raises:
        ValueError: if it does not have five fields.
    """
    fields = expression.split()
    if fields and fields[0].startswith(_TIME_ZONES):
        del fields[0]
    if len(fields) != 5:
        raise ValueError(
            f"`--cron` must have five fields, such as '0 3 * * *', for Vertex AI. Received: {expression!r}"
        )


def kubeflow_cron(expression: str) -> str:
    """Returns Kubeflow's six fields, seconds first, for the usual five: `0 3 * * *` -> `0 0 3 * * *`.

    Raises:
        ValueError: if there are neither five nor six fields, or a time zone.
    """
    fields = expression.split()
    if fields and fields[0].startswith(_TIME_ZONES):
        raise ValueError(f"`--cron` must be in UTC for Kubeflow, without a time zone. Received: {expression!r}")
    if len(fields) not in (5, 6):
        raise ValueError(
            "`--cron` must have five fields, such as '0 3 * * *', or Kubeflow's six, seconds first. "
            f"Received: {expression!r}"
        )
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def _parent(args: argparse.Namespace) -> str:
    return f"projects/{args.project}/locations/{args.location}"


def _on_vertex(args: argparse.Namespace) -> str:
    from google.cloud import aiplatform_v1

    schedule = vertex_schedule(args)
    if not args.submit:
        request = aiplatform_v1.CreateScheduleRequest(parent=_parent(args), schedule=schedule)
        return aiplatform_v1.CreateScheduleRequest.to_json(request)
    endpoint = {"api_endpoint": f"{args.location}-aiplatform.googleapis.com"}
    return submit_to_vertex(schedule, _parent(args), aiplatform_v1.ScheduleServiceClient(client_options=endpoint))


def _on_kubeflow(args: argparse.Namespace) -> str:
    import kfp_server_api

    recurring_run = kubeflow_recurring_run(args)
    if not args.submit:
        return json.dumps(kfp_server_api.ApiClient().sanitize_for_serialization(recurring_run), indent=2)
    if not args.host:
        raise ValueError("`--submit` needs `--host`. Received: none")
    configuration = kfp_server_api.Configuration(host=args.host)
    client = kfp_server_api.ApiClient(configuration)
    if args.token_file:
        token = pathlib.Path(args.token_file).read_text(encoding="utf-8").strip()
        client.set_default_header("Authorization", f"Bearer {token}")
    return submit_to_kubeflow(recurring_run, kfp_server_api.RecurringRunServiceApi(client))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return run_command("recurring_runs.py", lambda: _set_up(args))


def _set_up(args: argparse.Namespace) -> int:
    print(_on_vertex(args) if args.target == VERTEX else _on_kubeflow(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
