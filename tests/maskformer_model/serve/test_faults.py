"""What goes wrong around a server: descriptors, folders, copies, processes, signals. It says so, and goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest

from maskformer_model.serve import launch
from tests.components import brightness_model
from tests.maskformer_model.serve.raw_client import HEAD, connected
from tests.maskformer_model.serve.running_server import RunningServer, push

pytestmark = pytest.mark.takes(seconds=80)
PHOTO = brightness_model.scene(3).image_encoded


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return brightness_model.save_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def serving_dir(tmp_path):
    (tmp_path / "serving").mkdir()
    return tmp_path / "serving"


@pytest.fixture
def start(tmp_path):
    """Starts servers that a test need not stop."""
    started = []

    def start_one(*arguments, **options):
        started.append(RunningServer(*arguments, **options))
        return started[-1]

    yield start_one
    for one in started:
        one.end()


def state(server, version):
    rows = server.get("v1/models/maskformer").json()["model_version_status"]
    return next((row["state"] for row in rows if row["version"] == str(version)), None)


def serves(server, version):
    return server.metric("maskformer_model_version") == version


def test_versions_are_followed_after_a_while_without_descriptors_and_beside_a_strange_folder(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir).wait_until_ready()
    strange = serving_dir / "²"
    strange.mkdir()
    (strange / "saved_model.pb").write_bytes(b"")
    process = psutil.Process(server.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as kept_open:

        def ask(path):
            kept_open.request("GET", path)
            answer = kept_open.getresponse()
            return answer.status, answer.read().decode()

        ask("/healthz")
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), before[1]))
        push(model, serving_dir, 200)
        server.wait_for(lambda: "Too many open files" in ask("/healthz")[1])
        assert ask("/healthz")[0] == 200  # It serves what it has.
        assert "maskformer_behind 1" in ask("/metrics")[1]
        process.rlimit(psutil.RLIMIT_NOFILE, before)
    server.wait_for(lambda: serves(server, 200))
    server.wait_for(lambda: server.get("healthz").body == b"ok\n")


@pytest.mark.slow
def test_a_version_that_was_half_copied_is_served_once_it_is_whole(model, serving_dir, start):
    (serving_dir / "100").mkdir()
    shutil.copy(model / "saved_model.pb", serving_dir / "100")
    server = start(serving_dir)
    server.wait_for(lambda: state(server, 100) == "END")
    assert server.get("healthz").status == 503
    shutil.copytree(model, serving_dir / "100", dirs_exist_ok=True)
    server.wait_until_ready()
    assert state(server, 100) == "AVAILABLE" and server.predict(PHOTO).status == 200


def test_health_says_what_a_prediction_would(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir).wait_until_ready()
    serving_dir.rename(serving_dir.with_name("gone"))
    assert server.predict(PHOTO).status == 200  # It is in memory.
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGKILL)
    server.wait_for(lambda: server.get("healthz").status == 503)
    assert server.predict(PHOTO).status == 503
    server.wait_for(lambda: state(server, 100) == "END")
    assert server.get("livez").status == 200 and server.get("v2/health/live").status == 200
    assert server.get("v2/health/ready").status == 503
    serving_dir.with_name("gone").rename(serving_dir)
    server.wait_until_ready()
    assert server.predict(PHOTO).status == 200


@pytest.mark.slow
def test_an_idle_process_that_died_is_replaced_before_anybody_asks(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir).wait_until_ready()
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGKILL)
    server.wait_for(lambda: server.metric("maskformer_process_restarts_total") == 1 and server.model_pids() != [])
    server.wait_until_ready()
    assert server.predict(PHOTO).status == 200


@pytest.mark.slow
def test_a_batch_that_takes_too_long_is_not_tried_again(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir, "--timeout_s", "3").wait_until_ready()
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGSTOP)
    assert server.predict(PHOTO).status == 504
    server.wait_for(lambda: server.metric("maskformer_process_restarts_total") == 1)
    server.wait_until_ready()
    assert server.predict(PHOTO).status == 200
    assert server.metric("maskformer_process_restarts_total") == 1


def test_a_signal_to_the_whole_group_lets_what_is_in_flight_finish(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir, "--grace_s", "20", start_new_session=True).wait_until_ready()
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGSTOP)  # So that the requests are surely in its hands.
    with concurrent.futures.ThreadPoolExecutor(3) as pool, connected(server.port, HEAD):
        asked = [pool.submit(server.predict, PHOTO) for _ in range(3)]
        server.wait_for(lambda: server.metric("maskformer_in_flight") == 3)
        os.killpg(server.pid, signal.SIGTERM)
        threading.Timer(0.5, os.kill, (model_pid, signal.SIGCONT)).start()
        assert [one.result().status for one in asked] == [200] * 3
    assert server.wait(timeout_s=30) == 0
    assert not psutil.pid_exists(model_pid)


@pytest.mark.slow
def test_what_does_not_finish_is_cut_off_at_the_end_of_the_grace(model, serving_dir, start):
    push(model, serving_dir, 100)
    server = start(serving_dir, "--grace_s", "3", start_new_session=True).wait_until_ready()
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.predict, PHOTO)
        server.wait_for(lambda: server.metric("maskformer_in_flight") == 1)
        os.killpg(server.pid, signal.SIGTERM)
        assert server.wait(timeout_s=30) == 0
        assert asked.exception() is not None
    assert not psutil.pid_exists(model_pid)


@pytest.mark.parametrize("what", ["port", "host", "model", "file", "certificate", "token"])
def test_a_server_that_cannot_start_says_why_in_one_line_and_ends(tmp_path, what):
    flags = {
        "port": ["--model", tmp_path],
        "host": ["--model", tmp_path, "--host", "no-such-host.invalid"],
        "model": ["--model", tmp_path / "nonexistent"],
        "file": ["--model", __file__],
        "certificate": ["--model", tmp_path, "--port", 0, "--certificate", __file__, "--key", __file__],
        "token": ["--model", tmp_path, "--port", 0, "--token_file", tmp_path / "token"],
    }[what]
    message = {
        "port": "`port` must be free. 127.0.0.1:",
        "host": "`host` must be a name or an IP address of this machine. no-such-host.invalid:",
        "model": "Found nothing at:",
        "file": "Found a file at:",
        "certificate": "`certificate` and `key` must be PEM files",
        "token": "`token_file` must be a file",
    }[what]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = [*flags, *(["--port", taken.getsockname()[1]] if what == "port" else [])]
        command = [sys.executable, "-m", "maskformer_model.serve", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_a_server_whose_grpc_port_is_taken_says_so_and_ends(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ["--model", str(tmp_path), "--port", "0", "--grpc_port", str(taken.getsockname()[1])]
        command = [sys.executable, "-m", "maskformer_model.serve", *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "`grpc_port` must be free. 127.0.0.1:" in done.stderr.splitlines()[-1]  # Above it stands gRPC's own log.


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "", "a" * 64 + ".invalid"])
def test_a_host_that_is_not_this_machine_is_blamed_and_not_the_port(host):
    with pytest.raises(
        ValueError, match=rf"^`host` must be a name or an IP address of this machine\. {host}: ."
    ) as one:
        launch.bind(host, 0)
    assert "port" not in str(one.value)


def test_a_port_that_only_root_may_open_is_no_taken_one():
    user_id = os.geteuid()
    os.seteuid(user_id or 65534)  # A user without root's rights.
    try:
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(PermissionError):
            probe.bind(("127.0.0.1", 1))
            pytest.skip("Here every user may open every port.")
        with pytest.raises(ValueError, match=r"^`grpc_port` must be a port that this user may open\. Choose another"):
            launch.bind("127.0.0.1", 1, "grpc_port")
    finally:
        os.seteuid(user_id)


def test_another_error_of_the_system_blames_neither_host_nor_port():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            launch.bind("127.0.0.1", 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.slow
def test_a_token_is_asked_for_over_tls(model, tmp_path, start):
    key, certificate, token = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "token"
    token.write_text("secret\n")
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    openssl += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(openssl, check=True, capture_output=True)
    flags = ["--token_file", str(token), "--certificate", str(certificate), "--key", str(key)]
    server = start(model, *flags, certificate=certificate).wait_until_ready()
    assert server.predict(PHOTO).status == 401
    assert server.get("metrics").status == 401
    assert server.get("").status == 200
    server.token = "secret"
    assert server.predict(PHOTO).status == 200
