"""A server in a process of its own on a free port of this machine, for tests, and what a client says to it."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple

import psutil

_START_TIMEOUT_S = 600.0


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class RunningServer:
    """`python -m maskformer_model.serve` as a user starts it. `stop` ends it.

    Attributes:
        token: What requests bring; empty: nothing.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *flags: str,
        port: int | None = None,
        log=None,
        certificate: os.PathLike[str] | None = None,
        **options: Any,
    ):
        self.port = port or free_port()
        self.token = ""
        self._tls = ssl.create_default_context(cafile=certificate) if certificate else None
        command = [sys.executable, "-m", "maskformer_model.serve", "--model", str(model_dir)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), "--poll_s", "0.2", *flags],
            stdout=subprocess.DEVNULL,
            stderr=log,
            **options,
        )

    @property
    def address(self) -> str:
        """Of the page."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """Of the process that listens."""
        return self._process.pid

    def model_pids(self) -> list[int]:
        """Of the processes that hold models."""
        children = psutil.Process(self.pid).children()
        return [child.pid for child in children if "spawn_main" in " ".join(_command(child))]

    def wait_until_ready(self) -> RunningServer:
        """Waits until a model is loaded."""
        self.wait_for(lambda: self.get("healthz").status == 200)
        return self

    def wait_for(self, is_so) -> None:
        """Asks again and again, until it is so."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"The server ended with status {self._process.returncode}.")
            try:
                if is_so():
                    return
            except (urllib.error.URLError, ConnectionError):
                pass  # It does not listen yet.
            if time.monotonic() > deadline:
                raise TimeoutError(f"It was not so within {_START_TIMEOUT_S:.0f} s.")
            time.sleep(0.1)

    def get(self, path: str) -> Answer:
        """A GET of a path below the root."""
        return self._ask(urllib.request.Request(self.address + path))

    def post(self, path: str, body: bytes) -> Answer:
        """A POST of bytes."""
        return self._ask(urllib.request.Request(self.address + path, data=body, method="POST"))

    def predict(self, *photos: bytes, name: str = "maskformer", **more: Any) -> Answer:
        """Asks for predictions in row form."""
        return self.post(f"v1/models/{name}:predict", request_body(*photos, **more))

    def metric(self, name: str) -> float:
        """A value of `/metrics`; 0 where it has not been counted yet."""
        for line in self.get("metrics").body.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return 0.0

    def stop(self, sent: int = signal.SIGTERM) -> int:
        """Ends the server; returns its exit status."""
        self._process.send_signal(sent)
        return self.wait(60)

    def wait(self, timeout_s: float) -> int:
        """Waits until the server has ended; returns its exit status."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Kills the server, if it is still there."""
        self._process.kill()
        self._process.wait()

    def _ask(self, request: urllib.request.Request) -> Answer:
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=120, context=self._tls) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())


def _command(process: psutil.Process) -> list[str]:
    """Returns a process's arguments; none of one that has just been killed."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # Or a zombie, which is one of these.
        return []


def request_body(*photos: bytes, **more: Any) -> bytes:
    """A row-form request."""
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
    return json.dumps({"instances": instances, **more}).encode()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def push(model_dir: pathlib.Path, serving_dir: pathlib.Path, version: int) -> None:
    """Makes a model appear as a version at once, as the pusher does."""
    import shutil

    incoming = serving_dir / f".incoming-{version}"
    shutil.copytree(model_dir, incoming)
    incoming.rename(serving_dir / str(version))
