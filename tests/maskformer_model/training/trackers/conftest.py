"""A real MLflow server on this machine."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest

_LONGEST_START_S = 300.0


class Server:
    """`mlflow server` with its files in one folder; it can be stopped and started again."""

    def __init__(self, folder: pathlib.Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self._lines: list[str] = []

    def start(self) -> None:
        """Returns when the server answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/runs.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # So that its workers end with it.
        )
        listening = threading.Event()
        threading.Thread(target=self._read, args=(self._process, listening), daemon=True).start()
        assert listening.wait(_LONGEST_START_S), "".join(self._lines)
        assert self._process.poll() is None, "".join(self._lines)

    def _read(self, process: subprocess.Popen, listening: threading.Event) -> None:
        for line in process.stdout:
            self._lines.append(line)
            if "Uvicorn running on" in line:
                listening.set()
        listening.set()

    def stop(self) -> None:
        """Ends the server; its files stay."""
        if self._process is not None:
            os.killpg(self._process.pid, 15)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def trackers_installed() -> None:
    """Skips where the packages of trackers are absent; on a build server that is an error: `make env-trackers`."""
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("wandb") is None:
        reason = "The packages of trackers are not installed: make env-trackers"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def server(trackers_installed, tmp_path_factory):
    """A server that runs."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()
