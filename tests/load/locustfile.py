"""What callers of the server do, for Locust (`python -m tests.load` starts it): good photos, bad ones, bad requests.

One rule for all of them. A request must get the status that it must have. An answer 503 with `Retry-After`, or a
connection that is refused or cut, says "not now": the caller waits as long as it is told, half a second where nobody
says, and asks again, for five minutes at most. Each such try is counted in a row of its own and written to the file
`LOAD_RETRIES` with its times: `python -m tests.load` calls it an error unless the whole server was down just then.

Needs Locust alone, so that it can run from an environment of its own.
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
RETRIES = pathlib.Path(os.environ["LOAD_RETRIES"])
RETRY_FOR_S = 300.0
NO_CONNECTION_WAIT_S = 0.5


def body(*photos):
    """A row-form request."""
    return json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()} for photo in photos]})


def too_large():
    """A PNG's header of 20,000 x 20,000 px."""
    size = (20_000).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size * 2 + b"\x08\x02\0\0\0" + b"\0" * 40


def not_now(answer):
    """Why a caller should come back and after how many seconds; None where this is the answer."""
    if answer.status_code == 0:
        return "no connection", NO_CONNECTION_WAIT_S
    if answer.status_code == 503 and "Retry-After" in answer.headers:
        return "503 with Retry-After", float(answer.headers["Retry-After"])
    return None


class Caller(FastHttpUser):
    """Eight in ten requests are good."""

    wait_time = between(0.0, 0.2)
    connection_timeout = 60.0
    network_timeout = 120.0

    def ask(self, name, data, status, method="POST", path=PATH):
        """Sends one request until it is answered, and holds the answer to its status."""
        deadline = time.monotonic() + RETRY_FOR_S
        while True:
            began = time.time()
            with self.client.request(method, path, data=data, name=name, catch_response=True) as answer:
                later = not_now(answer)
                if not later or time.monotonic() >= deadline:
                    if answer.status_code == status:
                        answer.success()
                    else:
                        answer.failure(f"{status} expected, {answer.status_code} received: {answer.text[:200]}")
                    return answer
                reason, wait_s = later
                answer.request_meta["name"] = f"asked again: {reason}"
                answer.success()
            with RETRIES.open("a") as file:
                file.write(json.dumps({"request": name, "reason": reason, "began": began, "ended": time.time()}) + "\n")
            time.sleep(wait_s)

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
