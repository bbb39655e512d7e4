"""Compiled pipelines on one machine: order, isolation, exit handler, retries, resume, conditions, queries."""

from __future__ import annotations

import json
import pathlib

import pytest
import yaml

from pipeline import run_compiled
from pipeline.compiled.task_inputs import UnresolvedInputError
from tests.pipeline.small_spec import component, container, dag_tasks, greeting_pipeline, set_program, taken, task


def write(folder, spec, *, as_job=False):
    """A compiled file: Kubeflow's, or Vertex AI's."""
    path = folder / "spec.yaml"
    document = {"pipelineSpec": spec, "displayName": "greeting", "runtimeConfig": {}} if as_job else spec
    path.write_text(yaml.safe_dump(document))
    return str(path)


def run(folder, spec, *params, resume=False, as_job=False):
    return run_compiled.run(write(folder, spec, as_job=as_job), str(folder / "root"), params, resume=resume)


def states(summary):
    return {name: result["state"] for name, result in summary["tasks"].items()}


def text_of(folder, summary, name, key="loud"):
    [path] = (folder / "root" / "bucket").glob(f"**/{summary['run_id']}/{name}-*/{key}/text")
    return path.read_text()


def status_of(folder, summary):
    [path] = (folder / "root" / "runs" / summary["run_id"] / "Status").glob("attempt-*/status.json")
    return json.loads(path.read_text())


def test_tasks_run_in_order_and_hand_over_their_files(tmp_path):
    summary = run(tmp_path, greeting_pipeline())
    assert states(summary) == {
        "Write": "SUCCEEDED",
        "Shout": "SUCCEEDED",
        "tfx-dag": "SUCCEEDED",
        "Status": "SUCCEEDED",
    }
    assert (summary["state"], text_of(tmp_path, summary, "Shout")) == ("SUCCEEDED", "HELLO!")
    assert summary["pq"] is None


def test_a_step_finds_only_what_it_is_given(tmp_path):
    spec = greeting_pipeline()
    set_program(spec, "Write", 'write("text", "hello"); pathlib.Path("secret").write_text("mine")')
    set_program(
        spec,
        "Shout",
        'write("loud", " ".join(sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())))',
    )
    summary = run(tmp_path, spec)
    assert text_of(tmp_path, summary, "Shout") == f"minio/bucket/root/{summary['run_id']}/Write-1/text/text"


def test_what_a_failed_task_keeps_from_running_is_skipped_and_the_exit_handler_hears_of_it(tmp_path):
    spec = greeting_pipeline()
    set_program(spec, "Write", "sys.exit(3)")
    summary = run(tmp_path, spec)
    assert states(summary) == {"Write": "FAILED", "Shout": "SKIPPED", "tfx-dag": "FAILED", "Status": "SUCCEEDED"}
    assert summary["state"] == "FAILED"
    assert "ended with 3" in summary["tasks"]["Write"]["reason"]
    assert status_of(tmp_path, summary) == {
        "state": "FAILED",
        "error": {"message": "Write"},
        "pipelineJobResourceName": f"projects/0/locations/local/pipelineJobs/{summary['run_id']}",
        "pipelineTaskName": "tfx-dag",
    }


def test_a_failed_task_says_its_own_last_error_and_where_its_log_is(tmp_path, capsys):
    spec = greeting_pipeline()
    set_program(spec, "Write", 'print("INFO: all is well"); open("/absent/file")')
    assert run_compiled.main([write(tmp_path, spec), "--root", str(tmp_path / "root")]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED        Write")]
    assert "ended with 1: FileNotFoundError: [Errno 2] No such file or directory: '/absent/file'. Log: " in line
    assert "all is well" in pathlib.Path(line.rpartition("Log: ")[2]).read_text()


def test_only_the_last_attempt_s_error_is_said(tmp_path):
    spec, counter = greeting_pipeline(), tmp_path / "attempts"
    lines = f"""
with open("{counter}", "a") as file:
    file.write("x")
if len(open("{counter}").read()) == 1:
    raise ValueError("the first")
sys.exit("the second")
"""
    set_program(spec, "Write", lines)
    dag_tasks(spec)["Write"]["retryPolicy"] = {"maxRetryCount": 1, "backoffDuration": "0s"}
    reason = run(tmp_path, spec)["tasks"]["Write"]["reason"]
    assert "ended with 1: the second. Log: " in reason and "the first" not in reason


def test_a_run_without_its_data_is_refused_before_any_task(tmp_path, capsys):
    spec = with_parameter(greeting_pipeline())
    folder = {"parameterType": "STRING", "defaultValue": "gs://bucket/coco"}
    spec["root"]["inputDefinitions"]["parameters"]["data_dir"] = folder
    command = [write(tmp_path, spec), "--root", str(tmp_path / "root")]
    imitated = tmp_path / "root" / "bucket" / "gcs" / "bucket" / "coco"
    assert run_compiled.main(command) == 2
    assert f"The run's data must be in {imitated}, which is no folder." in capsys.readouterr().err
    assert run_compiled.main([*command, "--param", f"data_dir={tmp_path}"]) == 0
    imitated.mkdir(parents=True)
    assert run_compiled.main(command) == 0
    assert run_compiled.main([*command, "--param", "data_dir=gs://bucket/other"]) == 2


def test_vertex_hands_the_final_status_over_as_text(tmp_path):
    summary = run(tmp_path, greeting_pipeline(), as_job=True)
    assert json.loads(status_of(tmp_path, summary))["state"] == "SUCCEEDED"


def test_a_task_that_fails_is_tried_again_as_its_policy_says(tmp_path):
    spec = greeting_pipeline()
    counter = tmp_path / "attempts"
    lines = f"""
file = pathlib.Path("{counter}")
tried = len(file.read_text()) if file.exists() else 0
file.write_text("x" * (tried + 1))
if tried < 2:
    sys.exit(1)
write("text", "after " + str(tried))
"""
    set_program(spec, "Write", lines)
    dag_tasks(spec)["Write"]["retryPolicy"] = {"maxRetryCount": 2, "backoffDuration": "0s"}
    summary = run(tmp_path, spec)
    assert (summary["state"], summary["tasks"]["Write"]["attempts"]) == ("SUCCEEDED", 3)
    assert text_of(tmp_path, summary, "Shout") == "AFTER 2!"


def test_a_resumed_run_goes_on_after_what_has_succeeded(tmp_path):
    spec, gate = greeting_pipeline(), tmp_path / "gate"
    set_program(spec, "Write", f'assert not pathlib.Path("{gate}").exists(); write("text", "hello")')
    set_program(spec, "Shout", f'assert pathlib.Path("{gate}").exists(); write("loud", read("text"))')
    failed = run(tmp_path, spec)
    assert states(failed)["Shout"] == "FAILED"
    gate.touch()
    resumed = run(tmp_path, spec, resume=True)
    assert (resumed["run_id"], resumed["state"]) == (failed["run_id"], "SUCCEEDED")
    assert (resumed["tasks"]["Write"]["resumed"], resumed["tasks"]["Shout"]["resumed"]) == (True, False)
    assert text_of(tmp_path, resumed, "Shout") == "hello"


def test_a_run_that_went_through_is_not_resumed_nor_one_of_other_parameters(tmp_path):
    spec = with_parameter(greeting_pipeline())
    first = run(tmp_path, spec)
    assert run(tmp_path, spec, resume=True)["run_id"] != first["run_id"]
    set_program(spec, "Shout", "sys.exit(1)")
    failed = run(tmp_path, spec)
    assert run(tmp_path, spec, "weight=7", resume=True)["run_id"] != failed["run_id"]


def with_parameter(spec):
    """Gives the run a parameter that reaches `Write`."""
    spec["root"]["inputDefinitions"] = {
        "parameters": {"weight": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 2.0}}
    }
    spec["root"]["dag"]["tasks"]["tfx-dag"]["inputs"] = {
        "parameters": {"weight": {"componentInputParameter": "weight"}}
    }
    spec["components"]["tfx-dag"]["inputDefinitions"] = {"parameters": {"weight": {"parameterType": "NUMBER_DOUBLE"}}}
    dag_tasks(spec)["Write"]["inputs"]["parameters"]["weight"] = {"componentInputParameter": "weight"}
    set_program(spec, "Write", 'write("text", str(inputs["parameterValues"]["weight"]))')
    return spec


def test_parameters_have_defaults_and_can_be_given(tmp_path):
    spec = with_parameter(greeting_pipeline())
    assert text_of(tmp_path, run(tmp_path, spec), "Shout") == "2.0!"
    assert text_of(tmp_path, run(tmp_path, spec, "weight=0.5"), "Shout") == "0.5!"


def test_a_parameter_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UnresolvedInputError, match="colour"):
        run(tmp_path, greeting_pipeline(), "colour=red")


@pytest.mark.parametrize(("weight", "state"), [(1.0, "NOT_TRIGGERED"), (2.0, "SUCCEEDED")])
def test_a_condition_decides_whether_a_task_runs(tmp_path, weight, state):
    spec = greeting_pipeline()
    condition = "(inputs.artifacts['text'].artifacts[0].metadata['weight'] == 2.0)"
    dag_tasks(spec)["Shout"]["triggerPolicy"] = {"condition": condition}
    dag_tasks(spec)["Write"]["inputs"]["parameters"]["weight"]["runtimeValue"]["constant"] = weight
    summary = run(tmp_path, spec)
    assert (summary["state"], states(summary)["Shout"]) == ("SUCCEEDED", state)


def test_a_query_finds_nothing_at_first_and_then_the_newest_artifact_of_an_earlier_run(tmp_path):
    spec = greeting_pipeline()
    spec["components"]["Find"] = component("Find", makes=("text",))
    query = 'schema_title="tfx.Text" AND state=LIVE AND metadata.weight.number_value=2'
    spec["deploymentSpec"]["executors"]["Find_executor"] = {
        "resolver": {"outputArtifactQueries": {"text": {"filter": query}}}
    }
    spec["components"]["Ask"] = component("Ask", takes=("found",), makes=("answer",))
    spec["deploymentSpec"]["executors"]["Ask_executor"] = container(
        'write("answer", read("found") if inputs["artifacts"]["found"]["artifacts"] else "nothing")'
    )
    dag_tasks(spec)["Find"] = task("Find")
    dag_tasks(spec)["Ask"] = task(
        "Ask", dependentTasks=["Find"], inputs={"artifacts": {"found": taken("Find", "text")}}
    )
    # So that the query is answered before this run writes anything.
    dag_tasks(spec)["Write"]["dependentTasks"] = ["Ask"]
    first, second = run(tmp_path, spec), run(tmp_path, spec)
    assert text_of(tmp_path, first, "Ask", "answer") == "nothing"
    assert text_of(tmp_path, second, "Ask", "answer") == "hello"


def test_a_driver_runs_before_the_command_on_vertex_alone(tmp_path):
    spec = greeting_pipeline()
    lines = """
output_file = pathlib.Path(outputs["outputFile"])
write("text", output_file.read_text() if output_file.exists() else "no driver")
"""
    set_program(spec, "Write", lines)
    driver = container('artifacts["text"] = {"artifacts": [{"metadata": {"span": 3}}]}')["container"]
    spec["deploymentSpec"]["executors"]["Write_executor"]["container"]["lifecycle"] = {"preCacheCheck": driver}
    assert "no driver" in text_of(tmp_path, run(tmp_path, spec), "Write", "text")
    assert '"span": 3' in text_of(tmp_path, run(tmp_path, spec, as_job=True), "Write", "text")


def test_the_program_says_what_came_of_it(tmp_path, capsys):
    path = write(tmp_path, greeting_pipeline())
    assert run_compiled.main([path, "--root", str(tmp_path / "root")]) == 0
    assert "SUCCEEDED" in capsys.readouterr().out
    assert run_compiled.main([str(tmp_path / "absent.yaml"), "--root", str(tmp_path / "root")]) == 2
    assert "absent.yaml" in capsys.readouterr().err
    (tmp_path / "list.yaml").write_text("- 1")
    assert run_compiled.main([str(tmp_path / "list.yaml"), "--root", str(tmp_path / "root")]) == 2
