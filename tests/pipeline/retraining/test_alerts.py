"""Tests of `pipeline.retraining.alerts`, against a server on this machine."""

import contextlib
import http.server
import socket
import threading

import pytest

from pipeline.retraining.alerts import AlertError, post, read_webhook
from tests.pipeline.webhook import listening, serving


def test_an_alert_arrives_as_json():
    with listening() as (url, told):
        post(url, {"text": "span-3: pushed.", "pq": 0.5})
    assert told == [{"text": "span-3: pushed.", "pq": 0.5}]


def test_an_alert_that_nobody_takes_is_an_error_that_keeps_the_address_secret():
    with listening(status=500) as (url, _), pytest.raises(AlertError, match="status 500") as refused:
        post(url, {"text": "a"})
    with pytest.raises(AlertError, match="could not be reached") as unreached:
        post(url, {"text": "a"})
    assert "secret" not in f"{refused.value}{unreached.value}"


def test_the_address_may_be_in_a_file(tmp_path):
    assert read_webhook("") == ""
    assert read_webhook("https://example.com/hook") == "https://example.com/hook"
    (tmp_path / "hook").write_text("https://example.com/hook\n")
    assert read_webhook(str(tmp_path / "hook")) == "https://example.com/hook"
    (tmp_path / "hook").write_text("example.com")
    with pytest.raises(ValueError, match="must be a URL, or a file that holds one"):
        read_webhook(str(tmp_path / "hook"))
    with pytest.raises(FileNotFoundError):
        read_webhook(str(tmp_path / "nothing"))


def test_a_redirect_is_not_followed_and_the_alert_is_not_delivered():
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(302)
            self.send_header("Location", elsewhere)
            self.end_headers()

        def log_message(self, *arguments):
            """Keeps the terminal quiet."""

    refused = pytest.raises(AlertError, match="status 302")
    with listening() as (elsewhere, told), serving(Redirecting) as port, refused:
        post(f"http://127.0.0.1:{port}/", {"text": "a"})
    assert told == []


@contextlib.contextmanager
def answering(answer):
    """Yields the port of a server that writes these bytes to whoever connects, and then waits for the end."""
    done = threading.Event()

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                done.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


HEADERS = b"".join(b"X-Filler-%d: x\r\n" % number for number in range(200))


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + HEADERS + b"\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Never: ends",
        b"",
    ],
    ids=["ssh", "status", "headers", "304", "unfinished", "silence"],
)
def test_an_answer_that_is_not_2xx_is_an_error_and_nothing_else(answer):
    with answering(answer) as port, pytest.raises(AlertError, match="webhook"):
        post(f"http://127.0.0.1:{port}/hook", {"text": "a"}, timeout_s=1.0)


@pytest.mark.parametrize("url", ["http://example.com/hook", "http://10.0.0.1/hook", "http://127.0.0.1.example.com/"])
def test_http_leads_to_this_machine_only_unless_it_is_allowed(url, tmp_path):
    with pytest.raises(ValueError, match="must be https://, or http:// to this machine"):
        read_webhook(url)
    (tmp_path / "hook").write_text(url)
    with pytest.raises(ValueError, match="--allow_http_webhook"):
        read_webhook(str(tmp_path / "hook"))
    assert read_webhook(url, allow_http=True) == url
    assert read_webhook("http://[::1]:8080/hook") == "http://[::1]:8080/hook"
