"""Tests of `pipeline.recurring_runs`: the requests, and what the platforms' own clients send to a server here."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import urllib.parse

import pytest
import yaml

from pipeline import recurring_runs
from pipeline.recurring_runs import parse_args
from tests.pipeline.webhook import serving

SPEC = {
    "pipelineInfo": {"name": "maskformer"},
    "schemaVersion": "2.1.0",
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {"parameters": {"pq_floor": {"parameterType": "NUMBER_DOUBLE"}, "span": {}}},
    },
    "components": {},
    "deploymentSpec": {"executors": {}},
}
JOB = {
    "displayName": "maskformer",
    "labels": {"team": "vision"},
    "pipelineSpec": SPEC,
    "runtimeConfig": {"gcsOutputDirectory": "gs://b/of-the-file"},
}
VERTEX = ["--project", "p", "--location", "europe-west4", "--cron", "TZ=Europe/Berlin 0 3 * * *"]
KUBEFLOW = ["--experiment_id", "e", "--cron", "0 3 * * *"]


@pytest.fixture
def command(tmp_path):
    """A command line for a target, over a compiled spec."""
    path = tmp_path / "spec.yaml"

    def build(target, *flags, documents=None):
        path.write_text(yaml.safe_dump_all(documents or [JOB if target == "vertex" else SPEC]))
        own = VERTEX if target == "vertex" else KUBEFLOW
        return [target, str(path), "--name", "retrain", "--pipeline_root", "gs://b/root", *own, *flags]

    return build


class Server:
    """A platform's API on this machine: answers by what it was asked for before."""

    def __init__(self, collection, id_key):
        self.asked: list[tuple[str, str, dict]] = []
        self.kept: dict[str, dict] = {}
        self._collection, self._id_key = collection, id_key

    def answer(self, method, path, query, body):
        self.asked.append((method, path, body))
        if method == "GET":
            return {self._collection: list(self.kept.values())}
        if method == "DELETE":
            del self.kept[path.rpartition("/")[2]]
            return {}
        number = path.rpartition("/")[2] if method == "PATCH" else f"id{len(self.kept) + len(self.asked)}"
        name = number if self._id_key != "name" else f"projects/p/locations/l/schedules/{number}"
        self.kept[number] = {**body, self._id_key: name}
        return self.kept[number]

    @contextlib.contextmanager
    def listening(self):
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one(self):
                url = urllib.parse.urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                content = json.dumps(answer(self.command, url.path, url.query, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one

            def log_message(self, *arguments):
                """Keeps the terminal quiet."""

        with serving(Handler) as port:
            yield f"127.0.0.1:{port}"


def test_a_recurring_run_of_kubeflow_runs_one_at_a_time_and_makes_nothing_up(command, capsys):
    assert recurring_runs.main(command("kubeflow", "--param", "pq_floor=0.3", "--param", "span=latest")) == 0
    request = json.loads(capsys.readouterr().out)
    assert (request["no_catchup"], request["max_concurrency"], request["mode"]) == (True, "1", "ENABLE")
    assert request["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert request["runtime_config"] == {
        "parameters": {"pq_floor": 0.3, "span": "latest"},
        "pipeline_root": "gs://b/root",
    }
    assert request["pipeline_spec"] == SPEC


def test_a_platform_spec_travels_with_kubeflow_s_spec(command, capsys):
    documents = (SPEC, {"platforms": {"kubernetes": {}}})
    assert recurring_runs.main(command("kubeflow", documents=documents)) == 0
    request = json.loads(capsys.readouterr().out)
    assert request["pipeline_spec"] == {"pipeline_spec": SPEC, "platform_spec": documents[1]}


@pytest.mark.parametrize(("target", "document", "other"), [("kubeflow", JOB, "vertex"), ("vertex", SPEC, "kubeflow")])
def test_a_spec_for_the_other_platform_is_refused(command, capsys, target, document, other):
    assert recurring_runs.main(command(target, documents=[document])) == 2
    assert f"`--target {target}`. Received one for {other}" in capsys.readouterr().err


def test_kubeflow_s_client_replaces_a_run_of_the_same_name_and_leaves_the_others(command):
    import kfp_server_api

    server = Server("recurringRuns", "recurring_run_id")
    server.kept["other"] = {"display_name": "somebody's", "recurring_run_id": "other"}
    with server.listening() as address:
        api = kfp_server_api.RecurringRunServiceApi(
            kfp_server_api.ApiClient(kfp_server_api.Configuration(host=f"http://{address}"))
        )
        recurring_run = recurring_runs.kubeflow_recurring_run(parse_args(command("kubeflow")))
        first = recurring_runs.submit_to_kubeflow(recurring_run, api)
        second = recurring_runs.submit_to_kubeflow(recurring_run, api)
    assert sorted(server.kept) == sorted(["other", second])
    assert first != second
    method, path, body = server.asked[0]
    assert (method, path) == ("POST", "/apis/v2beta1/recurringruns")
    assert (body["no_catchup"], body["display_name"]) == (True, "retrain")


def test_a_schedule_of_vertex_runs_one_at_a_time(command, capsys):
    assert recurring_runs.main(command("vertex", "--param", "pq_floor=0.3", "--service_account", "a@b")) == 0
    request = json.loads(capsys.readouterr().out)
    schedule = request["schedule"]
    assert request["parent"] == "projects/p/locations/europe-west4"
    assert (schedule["cron"], schedule["maxConcurrentRunCount"]) == ("TZ=Europe/Berlin 0 3 * * *", "1")
    job = schedule["createPipelineJobRequest"]["pipelineJob"]
    assert job["pipelineSpec"] == SPEC
    assert job["runtimeConfig"]["parameterValues"] == {"pq_floor": 0.3}
    assert (job["runtimeConfig"]["gcsOutputDirectory"], job["serviceAccount"]) == ("gs://b/root", "a@b")
    assert job["labels"] == {"team": "vision"}


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_without_a_root_artifacts_go_where_the_spec_says(command, capsys, target):
    document = JOB if target == "vertex" else SPEC | {"defaultPipelineRoot": "gs://b/of-the-file"}
    assert recurring_runs.main([*command(target, documents=[document]), "--pipeline_root", ""]) == 0
    assert "gs://b/of-the-file" in capsys.readouterr().out


def test_vertex_s_client_updates_a_schedule_of_the_same_name_instead_of_making_two(command):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1
    from google.cloud.aiplatform_v1.services.schedule_service.transports.rest import ScheduleServiceRestTransport

    server = Server("schedules", "name")
    with server.listening() as address:
        transport = ScheduleServiceRestTransport(host=address, url_scheme="http", credentials=AnonymousCredentials())
        client = aiplatform_v1.ScheduleServiceClient(transport=transport)
        names = [
            recurring_runs.submit_to_vertex(
                recurring_runs.vertex_schedule(parse_args(command("vertex"))), "projects/p/locations/l", client
            )
            for _ in range(2)
        ]
    assert names[0] == names[1]
    assert len(server.kept) == 1
    assert [method for method, _, _ in server.asked] == ["GET", "POST", "GET", "PATCH"]
    assert re.search(r"/schedules/id\d+$", server.asked[-1][1])
    assert server.asked[1][2]["createPipelineJobRequest"]["pipelineJob"]["pipelineSpec"] == SPEC


@pytest.mark.parametrize(
    ("cron", "sent"),
    [("0 3 * * *", "0 0 3 * * *"), ("*/15 * * * 1-5", "0 */15 * * * 1-5"), ("30 0 3 * * *", "30 0 3 * * *")],
)
def test_kubeflow_gets_six_fields_for_the_usual_five(command, capsys, cron, sent):
    assert recurring_runs.main(command("kubeflow", "--cron", cron)) == 0
    assert json.loads(capsys.readouterr().out)["trigger"] == {"cron_schedule": {"cron": sent}}


@pytest.mark.parametrize("cron", ["0 3 * * *", "TZ=Europe/Berlin 0 3 * * *", "CRON_TZ=UTC */15 * * * 1-5"])
def test_vertex_gets_its_five_fields_as_they_are(command, capsys, cron):
    assert recurring_runs.main(command("vertex", "--cron", cron)) == 0
    assert json.loads(capsys.readouterr().out)["schedule"]["cron"] == cron


@pytest.mark.parametrize(
    ("target", "flags", "words"),
    [
        ("kubeflow", ["--cron", "3 * * *"], "`--cron` must have five fields, such as '0 3 * * *', or Kubeflow's six"),
        ("kubeflow", ["--cron", "TZ=Europe/Berlin 0 3 * * *"], "`--cron` must be in UTC for Kubeflow"),
        ("vertex", ["--cron", "0 0 3 * * *"], "`--cron` must have five fields, such as '0 3 * * *', for Vertex AI"),
        ("vertex", ["--cron", ""], "`--cron` must have five fields"),
        ("kubeflow", ["--param", "steps=3"], "`--param` must be K=V with K of ['pq_floor', 'span']"),
        ("kubeflow", ["--submit"], "`--submit` needs `--host`"),
        ("kubeflow", ["--param", "pq_floor=high"], "`--param pq_floor` must be a NUMBER_DOUBLE. Received: 'high'"),
        ("vertex", ["--pipeline_root", "/data"], "`--pipeline_root` must be an address on gs:// for Vertex AI"),
    ],
)
def test_a_wrong_value_is_answered_in_one_line_with_status_2(command, capsys, target, flags, words):
    assert recurring_runs.main(command(target, *flags)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_what_is_no_spec_is_refused(command, capsys):
    assert recurring_runs.main(command("kubeflow", documents=({"a": 1},))) == 2
    assert "must have ['pipelineInfo', 'root', 'components', 'deploymentSpec']" in capsys.readouterr().err
