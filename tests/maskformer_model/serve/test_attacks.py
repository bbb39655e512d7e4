"""What callers do who mean no good, or whose lines are bad: nobody else notices."""

from __future__ import annotations

import contextlib
import gzip
import json
import pathlib
import urllib.request
import zlib

import psutil
import pytest

from tests.components import brightness_model
from tests.maskformer_model.data.test_photo_header import noise, with_size
from tests.maskformer_model.helpers.small_export import encoded
from tests.maskformer_model.serve.raw_client import HEAD, connected, status_of
from tests.maskformer_model.serve.running_server import Answer, RunningServer, request_body

MAX_BYTES, ALL_BYTES, MAX_CONNECTIONS = 2_000_000, 8_000_000, 40
PHOTO = brightness_model.scene(3).image_encoded


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "server.log"


@pytest.fixture(scope="module")
def server(tmp_path_factory, log):
    model = brightness_model.save_model(tmp_path_factory.mktemp("models") / "model", task="panoptic")
    flags = ["--max_request_bytes", str(MAX_BYTES), "--max_body_bytes", str(ALL_BYTES)]
    flags += ["--max_connections", str(MAX_CONNECTIONS), "--body_timeout_s", "2", "--idle_timeout_s", "2"]
    with log.open("w") as file:
        running = RunningServer(model, *flags, log=file)
        yield running.wait_until_ready()
        assert running.stop() == 0


def ask(server, path="v1/models/maskformer:predict", body=None, **headers) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return server._ask(urllib.request.Request(server.address + path, data=body, headers=headers))


def test_bodies_that_do_not_end_are_late_and_good_callers_are_answered(server, log):
    bodies = {
        "none": b"Content-Length: 1000\r\n\r\n",
        "half": b'Content-Length: 1000\r\n\r\n{"instances": [{"b64": "',
        "without an end": b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    }
    with contextlib.ExitStack() as attackers:
        slow = [attackers.enter_context(connected(server.port, HEAD, body)) for body in bodies.values() for _ in "12"]
        assert server.predict(PHOTO).status == 200
        assert [status_of(one) for one in slow] == [408] * 6


def test_connections_without_a_request_are_closed(server):
    with connected(server.port) as silent, connected(server.port, b"GET / HTTP/1.1\r\nHo") as half:
        assert (status_of(silent), status_of(half)) == (0, 0)


def test_more_connections_than_there_may_be_cost_those_that_waited_longest(server):
    with contextlib.ExitStack() as attackers:
        idle = [attackers.enter_context(connected(server.port)) for _ in range(3 * MAX_CONNECTIONS)]
        assert [server.predict(PHOTO).status for _ in range(3)] == [200] * 3
        assert psutil.Process(server.pid).num_fds() < MAX_CONNECTIONS + 60
        assert status_of(idle[0]) == 0


def test_bytes_of_all_bodies_have_a_budget_and_the_oldest_unfinished_body_is_given_up(server):
    head = HEAD + b"Content-Length: 1900000\r\n\r\n"
    with contextlib.ExitStack() as attackers:
        first = attackers.enter_context(connected(server.port, head, b" " * 1_800_000))
        server.wait_for(lambda: server.metric("maskformer_body_bytes") >= 1_800_000)
        # Five bodies of 1.8 MB are more than the 8 MB that all may have.
        for _ in range(4):
            attackers.enter_context(connected(server.port, head, b" " * 1_800_000))
        assert status_of(first) == 503
        assert server.metric("maskformer_body_bytes") <= ALL_BYTES
        assert server.predict(PHOTO).status == 200
    server.wait_for(lambda: server.metric("maskformer_body_bytes") == 0)


def test_a_header_that_promises_too_much_is_refused_and_one_that_lies_reserves_nothing(server):
    with connected(server.port, HEAD, b"Content-Length: 99999999999\r\n\r\n") as too_large:
        assert status_of(too_large) == 413
    with connected(server.port, HEAD, b"Content-Length: 1999999\r\n\r\n"):
        assert server.metric("maskformer_body_bytes") == 0


def test_packed_bodies_are_unpacked_as_far_as_they_may_grow(server):
    body = request_body(PHOTO)
    assert ask(server, body=gzip.compress(body), Content_Encoding="gzip").status == 200
    assert ask(server, body=zlib.compress(body), Content_Encoding="deflate").status == 200
    assert ask(server, body=gzip.compress(body)[:-5], Content_Encoding="gzip").status == 400
    assert ask(server, body=body, Content_Encoding="br").status == 415
    assert ask(server, body=zlib.compress(body + b" " * 50_000_000), Content_Encoding="deflate").status == 413
    server.wait_for(lambda: server.metric("maskformer_body_bytes") == 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [' + b'{"b64": "AAAA"},' * 100_000 + b"{}]}",
        b'{"instances": [' + b"1," * 900_000 + b"1]}",
        b"{" + b",".join(b'"%d": 1' % number for number in range(100_000)) + b"}",
        b'{"instances": [' + b"1" * 5000 + b"]}",
        b'{"instances": [0.' + b"1" * 1_900_000 + b"]}",
        b'{"instances": [{"b64": "\\ud800"}]}',
        b'{"instances": [{"b64": "AAAA"}], "signature_name": "\\ud800"}',
        b'{"instances": [{"b64": "AAAA"}], "signature_name": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
    ids=["instances", "numbers", "names", "digits", "decimals", "surrogate", "surrogate name", "nested"],
)
def test_what_would_take_long_to_read_or_cannot_be_written_is_a_bad_request(server, body):
    answer = server.post("v1/models/maskformer:predict", body)
    assert answer.status == 400 and len(answer.body) < 1000


def test_a_photo_that_claims_more_pixels_than_its_data_holds_is_refused(server):
    jpeg = encoded(noise(100, 200), "JPEG")
    assert server.predict(jpeg).status == 200
    answer = server.predict(PHOTO, with_size(jpeg, 6000, 6000))
    assert answer.status == 400
    assert (
        "`image_bytes[1]` must be a whole JPEG or PNG file. Received one that claims 6000 x 6000 px"
        in (answer.json()["error"])
    )


def test_a_refusal_names_one_place(server):
    answer = server.predict(PHOTO, PHOTO, b"no photo")
    assert answer.status == 400 and answer.json()["error"].count("image_bytes[") == 1


def test_other_hosts_and_their_pages_get_nothing_and_browsers_are_told_to_be_strict(server):
    body = request_body(PHOTO)
    assert ask(server, body=body, Host="evil.example").status == 403
    assert ask(server, body=body, Origin="http://evil.example").status == 403
    assert ask(server, path="metrics", Host="evil.example").status == 403
    assert ask(server, body=body, Origin=server.address.rstrip("/")).status == 200
    for path in ("", "healthz", "absent", "v1/models/maskformer"):
        headers = server.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_base64_may_have_line_breaks(server):
    document = json.loads(request_body(PHOTO))
    text = document["instances"][0]["b64"]
    document["instances"][0]["b64"] = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)).rstrip("=")
    assert server.post("v1/models/maskformer:predict", json.dumps(document).encode()).status == 200


def test_nothing_of_that_filled_the_log(server, log: pathlib.Path):
    assert "Traceback" not in log.read_text()
    assert log.stat().st_size < 100_000
