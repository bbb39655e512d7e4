"""What callers of the server do, for Locust (`python -m tests.load` starts it): good photos, bad ones, bad requests.

A request fails when its status is not the one that it must have. A connection that is refused or cut, as happens while
the whole server is killed and started again, is tried again as any client would, and counted under `reconnect`. Needs
Locust alone, so that it can run from an environment of its own.
"""

import base64
import json
import os
import pathlib
import random
import time

from locust import FastHttpUser, between, events, task

PATH = "/v1/models/maskformer:predict"
PHOTOS = [path.read_bytes() for path in sorted(pathlib.Path(os.environ["LOAD_PHOTOS"]).glob("*.jpg"))]
RECONNECT_S = 120.0


def body(*photos):
    """A row-form request."""
    return json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()} for photo in photos]})


def too_large():
    """A PNG's header of 20,000 x 20,000 px."""
    size = (20_000).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size * 2 + b"\x08\x02\0\0\0" + b"\0" * 40


class Caller(FastHttpUser):
    """Eight in ten requests are good."""

    wait_time = between(0.0, 0.2)
    connection_timeout = 60.0
    network_timeout = 120.0

    def ask(self, name, data, status, method="POST", path=PATH):
        """Sends one request until it is answered, and holds the answer to its status."""
        deadline = time.monotonic() + RECONNECT_S
        while True:
            start = time.perf_counter()
            with self.rest_free(method, path, data, name) as answer:
                if answer.status_code == 0 and time.monotonic() < deadline:
                    answer.request_meta["name"] = "reconnect"
                    answer.success()
                elif answer.status_code == 503 and status == 200 and "Retry-After" in answer.headers:
                    answer.request_meta["name"] = "busy or loading (503 with Retry-After)"
                    answer.success()
                elif answer.status_code == status:
                    answer.success()
                    return answer
                else:
                    answer.failure(f"{status} expected, {answer.status_code} received: {answer.text[:200]}")
                    return answer
            time.sleep(max(0.5 - (time.perf_counter() - start), 0.05))

    def rest_free(self, method, path, data, name):
        """One request whose verdict is ours."""
        return self.client.request(method, path, data=data, name=name, catch_response=True)

    @task(6)
    def one_photo(self):
        """A good photo."""
        answer = self.ask("one photo", body(random.choice(PHOTOS)), 200)
        if answer.status_code == 200 and "panoptic_png_bytes" not in answer.json()["predictions"][0]:
            events.request.fire(
                request_type="CHECK", name="answer", response_time=0, response_length=0, exception=ValueError("no map")
            )

    @task(2)
    def three_photos(self):
        """Good photos of different sizes."""
        self.ask("three photos", body(*random.sample(PHOTOS, 3)), 200)

    @task(1)
    def bad_photo(self):
        """What is no whole photo, or too large."""
        photo = random.choice(PHOTOS)
        bad = random.choice([b"", b"no photo", photo[: len(photo) // 2], too_large()])
        self.ask("bad photo", body(random.choice(PHOTOS), bad), 400)

    @task(1)
    def bad_request(self):
        """What is no request, and what is looked at beside."""
        what = random.choice(["text", "signature", "status", "metrics"])
        if what == "text":
            self.ask("bad request", b"no json", 400)
        elif what == "signature":
            self.ask("bad request", json.dumps({"instances": [{"b64": ""}], "signature_name": "absent"}), 400)
        elif what == "status":
            self.ask("status", None, 200, "GET", "/v1/models/maskformer")
        else:
            self.ask("metrics", None, 200, "GET", "/metrics")
