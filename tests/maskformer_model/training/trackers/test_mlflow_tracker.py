"""Runs in a real MLflow server: what it holds, that a run continues, and a server that is away."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from maskformer_model.training import loop
from maskformer_model.training.callbacks import TrainingInterruptedError
from maskformer_model.training.tensorboard import tag_of
from maskformer_model.training.trackers import tracked_run
from maskformer_model.training.trackers.tracker import TrackedRun, TrackerError
from tests.maskformer_model.helpers import tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.takes(seconds=60)]


@pytest.fixture
def client(server, monkeypatch):
    """MLflow's own client; it tries once, so that a server that is away is noticed at once."""
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return mlflow.MlflowClient(tracking_uri=server.uri)


def experiment(server, project):
    return tiny_run.experiment(
        f"runtime.tracker=mlflow,runtime.tracker_uri={server.uri},runtime.tracker_project={project}"
    )


def files_of(client, run_id, folder):
    return sorted(file.path for file in client.list_artifacts(run_id, folder))


def curve(client, run_id, name):
    return [(point.step, point.value) for point in client.get_metric_history(run_id, tag_of(name))]


def test_a_training_is_reported_with_curves_settings_lineage_and_files(server, client, tmp_path):
    config, model_dir = experiment(server, "photos"), tmp_path / "run"
    categories = tiny_run.write_records(tmp_path)
    train_files = [str(tmp_path / "train.tfrecord")]
    result = loop.train(
        config,
        train_files=train_files,
        categories=categories,
        model_dir=str(model_dir),
        progress=False,
        lineage={"data_sha256": "6d0c"},
    )
    [run] = client.search_runs([client.get_experiment_by_name("photos").experiment_id])
    run_id = run.info.run_id
    assert run.info.status == "FINISHED"
    assert tracked_run.read_tracked_run(str(model_dir)).run_id == run_id
    for name in ("loss", "loss_ce", "loss_mask_0", "learning_rate"):
        assert curve(client, run_id, name) == [(row["step"], row[name]) for row in result.history]
    settings = tracked_run.flat_settings(loop.with_num_classes(config, categories.num_classes))
    assert run.data.params == {name: str(value) for name, value in settings.items()}
    assert (run.data.tags["data_sha256"], run.data.tags["train_files"]) == ("6d0c", train_files[0])
    names = ("categories.json", "experiment.json", "model.weights.h5", "training_history.json")
    assert files_of(client, run_id, "training") == [f"training/{name}" for name in names]
    # The exported model, and what a later step has to say of it.
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "variables" / "variables.index").write_bytes(b"weights")
    tracked_run.report_model(str(model_dir), str(model))
    (tmp_path / "report.html").write_text("<p>good</p>")
    with tracked_run.run_of_model(str(model)) as tracker:
        tracker.write_files(str(tmp_path / "report.html"), tracked_run.REPORT_FOLDER)
        tracker.write_scores({"evaluation/pq": 0.25})
    assert files_of(client, run_id, "model") == ["model/assets.extra", "model/saved_model.pb", "model/variables"]
    assert files_of(client, run_id, "report") == ["report/report.html"]
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics["evaluation/pq"]) == ("FINISHED", 0.25)


def test_an_interrupted_run_continues_and_a_failed_one_says_so(server, client, tmp_path):
    config = experiment(server, "interrupted")
    for error, steps in ((TrainingInterruptedError("stopped"), (1, 2)), (ValueError("bad"), (3,)), (None, (4,))):
        try:
            with tracked_run.tracked(config, str(tmp_path), {}) as tracker:
                for step in steps:
                    tracker.write_row({"step": step, "seconds": 1.0, "loss": 10.0 - step, "pq": float("nan")})
                if error is not None:
                    raise error
        except (TrainingInterruptedError, ValueError) as raised:
            assert raised is error
        [run] = client.search_runs([client.get_experiment_by_name("interrupted").experiment_id])
        states = {TrainingInterruptedError: "KILLED", ValueError: "FAILED"}
        assert run.info.status == states.get(type(error), "FINISHED")
    assert curve(client, run.info.run_id, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0), (4, 6.0)]
    other = dataclasses.replace(config, runtime=dataclasses.replace(config.runtime, tracker_project="other"))
    with tracked_run.tracked(other, str(tmp_path), {}) as tracker:
        assert tracker.run.run_id != run.info.run_id


def test_rows_of_a_server_that_is_away_for_a_while_are_sent_later(server, client, tmp_path, caplog):
    config = experiment(server, "away")
    with caplog.at_level(logging.WARNING), tracked_run.tracked(config, str(tmp_path), {}) as tracker:
        tracker.write_row({"step": 1, "loss": 9.0})
        server.stop()
        tracker.write_row({"step": 2, "loss": 8.0})
        tracker.write_files(str(tmp_path / "tracked_run.json"), "training")
        server.start()
        tracker.write_row({"step": 3, "loss": 7.0})
    assert curve(client, tracker.run.run_id, "loss") == [(1, 9.0), (2, 8.0), (3, 7.0)]
    assert client.get_run(tracker.run.run_id).info.status == "FINISHED"
    assert f"did not take {tmp_path}/tracked_run.json of run {tracker.run.run_id}" in caplog.text


def test_a_server_that_does_not_answer_stops_a_training_before_it_starts(client, tmp_path, monkeypatch):
    run = TrackedRun(tracker="mlflow", uri="http://127.0.0.1:9", project="p")
    with pytest.raises(TrackerError, match="The MLflow server at http://127.0.0.1:9 must answer before"):
        tracked_run.open_run(run)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(TrackerError, match="`runtime.tracker_uri`, or MLflow's own variable"):
        tracked_run.open_run(dataclasses.replace(run, uri=""))
