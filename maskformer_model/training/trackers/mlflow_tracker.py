"""Reports a run to an MLflow server, by MLflow's own client (`mlflow-skinny`, extra `trackers`)."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from maskformer_model import extras
from maskformer_model.training.tensorboard import tag_of
from maskformer_model.training.trackers.tracker import FAILED, FINISHED, INTERRUPTED, TrackedRun, TrackerError

_STATES = {FINISHED: "FINISHED", FAILED: "FAILED", INTERRUPTED: "KILLED"}
_PARAMS_PER_CALL, _LONGEST_VALUE = 100, 500  # Of MLflow's API, and of all its stores.
_NO_METRICS = ("step", "seconds")


class MlflowTracker:
    """A run of an MLflow server.

    Rows are sent from another thread, so that training does not wait for the server. While it is away, rows are kept
    and sent with the next one. The curves in the run's folder are complete in any case.

    Args:
        run: The run; without an id a new one is made.

    Raises:
        ModuleNotFoundError: if MLflow is not installed.
        TrackerError: if the server cannot be reached.
    """

    def __init__(self, run: TrackedRun):
        extras.require("trackers")
        import mlflow
        from mlflow.exceptions import MlflowException

        # `requests` raises OSErrors.
        self._errors = (MlflowException, OSError)
        uri = run.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            raise TrackerError(
                "`runtime.tracker_uri`, or MLflow's own variable MLFLOW_TRACKING_URI, must name the server, such as "
                "http://mlflow:5000. Received: neither"
            )
        self._uri = uri
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        with self._refused():
            self.run = run if run.run_id else dataclasses.replace(run, run_id=self._new_run(run.project))
            self._client.update_run(self.run.run_id, status="RUNNING")
        self._sender = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._sending: concurrent.futures.Future[None] | None = None
        self._unsent: list[Mapping[str, float]] = []

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Turns an error inside into a TrackerError, before anything was trained."""
        try:
            yield
        except self._errors as error:
            raise TrackerError(
                f"The MLflow server at {self._uri} must answer before a training starts. Start it, or train without "
                f"`runtime.tracker`. Received: {error}"
            ) from error

    @contextlib.contextmanager
    def _warned(self, what: str) -> Iterator[None]:
        """Reports an error inside and goes on: what was trained must not be lost with a server."""
        try:
            yield
        except self._errors as error:
            logging.warning("MLflow at %s did not take %s of run %s: %s", self._uri, what, self.run.run_id, error)

    def _new_run(self, project: str) -> str:
        experiment = self._client.get_experiment_by_name(project)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(project)
        return self._client.create_run(experiment_id).info.run_id

    def describe(self, settings: Mapping[str, Any], lineage: Mapping[str, str]) -> None:
        """Writes settings as parameters and the lineage as tags; a parameter that is there stays."""
        from mlflow.entities import Param, RunTag

        with self._refused():
            known = self._client.get_run(self.run.run_id).data.params
            params = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in settings.items() if name not in known]
            tags = [RunTag(name, str(value)[:_LONGEST_VALUE]) for name, value in lineage.items()]
            for start in range(0, max(len(params), 1), _PARAMS_PER_CALL):
                part = params[start : start + _PARAMS_PER_CALL]
                self._client.log_batch(self.run.run_id, params=part, tags=tags if start == 0 else ())

    def write_row(self, row: Mapping[str, float]) -> None:
        """Sends a row of the curves, with those before it that were not sent."""
        self._unsent.append(dict(row))
        if self._sending is None or self._sending.done():
            self._sending = self._sender.submit(self._send_rows)

    def _send_rows(self) -> None:
        from mlflow.entities import Metric

        rows = list(self._unsent)
        now_ms = int(time.time() * 1000)
        metrics = [
            Metric(tag_of(name), float(value), now_ms, int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name not in _NO_METRICS and math.isfinite(value)
        ]
        try:
            for start in range(0, len(metrics), 1000):  # The most that one call may hold.
                self._client.log_batch(self.run.run_id, metrics=metrics[start : start + 1000])
        except self._errors as error:
            logging.warning("MLflow did not take %d rows of the curves; they are sent again: %s", len(rows), error)
            return
        del self._unsent[: len(rows)]

    def write_scores(self, scores: Mapping[str, float]) -> None:
        """Writes final numbers as metrics of step 0."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now_ms, 0) for name, value in scores.items()]
        with self._warned(f"the scores {scores}"):
            self._client.log_batch(self.run.run_id, metrics=metrics)

    def write_files(self, path: str, name: str) -> None:
        """Uploads a file or folder; one of an object store is copied here first."""
        with tempfile.TemporaryDirectory() as folder, self._warned(path):
            local = path if "://" not in path else _copy_here(path, folder)
            if os.path.isdir(local):
                self._client.log_artifacts(self.run.run_id, local, name)
            else:
                self._client.log_artifact(self.run.run_id, local, name)

    def end(self, state: str) -> None:
        """Sends the rows that are left and ends the run."""
        self._sender.shutdown(wait=True)
        if self._unsent:
            self._send_rows()
        if self._unsent:
            logging.warning("MLflow has not got %d rows of the curves; the run's folder has them.", len(self._unsent))
        with self._warned(f"that it is {state}"):
            self._client.set_terminated(self.run.run_id, _STATES[state])


def _copy_here(path: str, folder: str) -> str:
    import tensorflow as tf

    target = os.path.join(folder, os.path.basename(path.rstrip("/")))
    if not tf.io.gfile.isdir(path):
        tf.io.gfile.copy(path, target)
        return target
    for place, _, names in tf.io.gfile.walk(path):
        here = os.path.normpath(os.path.join(target, os.path.relpath(place, path)))
        os.makedirs(here, exist_ok=True)
        for name in names:
            tf.io.gfile.copy(os.path.join(place, name), os.path.join(here, name))
    return target
