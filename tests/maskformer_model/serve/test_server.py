"""The server as a process: predictions, refusals, limits, versions, a killed model, and the page in a browser."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from maskformer_model import command_errors
from maskformer_model.data.panoptic_png import decode_panoptic_png
from tests.components import brightness_model
from tests.maskformer_model.helpers.small_export import encoded, photo
from tests.maskformer_model.serve import page_picture
from tests.maskformer_model.serve.running_server import RunningServer, push

MAX_PIXELS = 10_000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models: dark ones see more discs than bright ones."""
    folder = tmp_path_factory.mktemp("models")
    return [brightness_model.save_model(folder / str(level), threshold=level) for level in (128, 240)]


@pytest.fixture(scope="module")
def serving_dir(tmp_path_factory, models):
    directory = tmp_path_factory.mktemp("serving")
    push(models[0], directory, 100)
    return directory


@pytest.fixture(scope="module")
def server(serving_dir, tmp_path_factory):
    log = (tmp_path_factory.mktemp("log") / "server.log").open("w")
    running = RunningServer(
        serving_dir, "--max_pixels", str(MAX_PIXELS), "--max_queue", "4", "--max_request_bytes", "200000", log=log
    )
    yield running.wait_until_ready()
    assert running.stop() == 0


def disc(level: int = 200) -> bytes:
    """A square of that brightness on dark ground."""
    return brightness_model.scene(3, disc_level=level).image_encoded


def disc_pixels(prediction: dict) -> int:
    ids = decode_panoptic_png(base64.b64decode(prediction["panoptic_png_bytes"]["b64"]))
    return int((ids == 300).sum())


def test_predictions_have_tensorflow_serving_s_form(server):
    answer = server.predict(disc(), disc(30))
    assert answer.status == 200
    first, second = answer.json()["predictions"]
    assert (disc_pixels(first), disc_pixels(second)) == (81, 0)
    assert first["class_names"] == ["ground", "disc"] and first["isthing"] == [False, True]
    body = json.dumps({"inputs": {"image_bytes": [{"b64": base64.b64encode(disc()).decode()}]}}).encode()
    assert server.post("v1/models/maskformer:predict", body).json()["outputs"]["class_names"] == [["ground", "disc"]]
    version = server.get("v1/models/maskformer").json()["model_version_status"][0]["version"]
    assert server.post(f"v1/models/maskformer/versions/{version}:predict", body).status == 200


@pytest.mark.parametrize(
    ("ask", "status", "message"),
    [
        (lambda s: s.predict(disc(), b"no photo"), 400, r"`image_bytes\[1\]`"),
        (lambda s: s.predict(encoded(photo(101, 100))), 400, "at most 10000 pixels"),
        (lambda s: s.predict(disc(), signature_name="absent"), 400, "`signature_name` must be one of"),
        (lambda s: s.predict(disc(), signature_name="semantic"), 400, "has no signature"),
        (lambda s: s.predict(*[disc()] * 5), 400, "at most 4 photos"),
        (lambda s: s.predict(disc(), name="other"), 404, "no model 'other'"),
        (lambda s: s.post("v1/models/maskformer/versions/7:predict", b"{}"), 404, "Version 7 is not served"),
        (lambda s: s.post("v1/models/maskformer:predict", b"{}"), 400, "either `instances`"),
        (lambda s: s.post("v1/models/maskformer:predict", b" " * 200_001), 413, ""),
        (lambda s: s.get("v1/models/maskformer/versions/7"), 404, "no version 7"),
        (lambda s: s.get("absent"), 404, ""),
    ],
)
def test_what_cannot_be_answered_is_said_with_its_status(server, ask, status, message):
    import re

    answer = ask(server)
    assert answer.status == status
    assert re.search(message, answer.json()["error"])


def test_a_full_queue_is_answered_503_and_what_waits_is_answered_later(server):
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.predict, disc()) for _ in range(12)]
            server.wait_for(lambda: server.metric('maskformer_requests_total{status="503"}') >= 1)
            os.kill(model_pid, signal.SIGCONT)
            answers = [one.result() for one in asked]
    finally:
        os.kill(model_pid, signal.SIGCONT)
    refused = [answer for answer in answers if answer.status == 503]
    assert refused and all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert sum(answer.status == 200 for answer in answers) == 12 - len(refused) >= 4


def test_a_killed_model_process_costs_no_request(server):
    restarts = server.metric("maskformer_process_restarts_total")
    [model_pid] = server.model_pids()
    os.kill(model_pid, signal.SIGSTOP)  # So that the request is surely in its hands.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.predict, disc())
        server.wait_for(lambda: server.metric("maskformer_queue_photos") == 0)
        os.kill(model_pid, signal.SIGKILL)
        assert asked.result().status == 200
    assert server.metric("maskformer_process_restarts_total") == restarts + 1


def test_a_newer_version_takes_over_without_a_dropped_request_and_a_broken_one_does_not(server, serving_dir, models):
    def serves(version):
        return server.metric("maskformer_model_version") == version

    assert disc_pixels(server.predict(disc()).json()["predictions"][0]) == 81
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        switched = False

        def ask_on():
            statuses = []
            while not switched:
                statuses.append(server.predict(disc()).status)
            return statuses

        asking = [pool.submit(ask_on) for _ in range(2)]
        try:
            push(models[1], serving_dir, 200)
            server.wait_for(lambda: serves(200))
        finally:
            switched = True
        statuses = [status for one in asking for status in one.result()]
    assert set(statuses) == {200} and len(statuses) > 2
    # The new version finds discs above 240 alone.
    assert disc_pixels(server.predict(disc()).json()["predictions"][0]) == 0

    broken = serving_dir / "300"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no graph")
    server.wait_for(lambda: "300" in server.get("v1/models/maskformer").body.decode())
    server.wait_for(
        lambda: server.get("v1/models/maskformer/versions/300").json()["model_version_status"][0]["state"] == "END"
    )
    assert serves(200) and server.predict(disc()).status == 200
    # Taken back: the version before serves again.
    (serving_dir / "200").rename(serving_dir / ".withdrawn-200")
    server.wait_for(lambda: serves(100))
    assert disc_pixels(server.predict(disc()).json()["predictions"][0]) == 81


def test_metrics_count_requests_and_photos(server):
    before = server.metric('maskformer_requests_total{status="200"}')
    photos = server.metric("maskformer_batch_photos_sum")
    timed = server.metric("maskformer_request_seconds_count")
    server.predict(disc(), disc())
    assert server.metric('maskformer_requests_total{status="200"}') == before + 1
    assert server.metric("maskformer_batch_photos_sum") == photos + 2
    assert server.metric("maskformer_request_seconds_count") == timed + 1


def test_the_page_shows_segments_of_a_dropped_photo(server, browser, tmp_path):
    server.wait_for(lambda: server.metric("maskformer_model_version") == 100)
    picture = np.full((60, 90, 3), 40, np.uint8)
    picture[:, 45:] = 220  # The right half is the disc.
    (tmp_path / "photo.png").write_bytes(encoded(picture))
    browser.open(server.address)
    browser.drop_files("#drop", [tmp_path / "photo.png"])
    browser.wait_for("document.body.dataset.state === 'done'")
    names = "[...document.querySelectorAll('#segments li')].map(row => row.children[1].textContent).sort()"
    assert browser.evaluate(names) == ["disc", "ground"]
    x, y = browser.middle_of("#canvas")
    browser.hover(x + 30, y)
    assert browser.wait_for("!tip.hidden && tip.textContent") == "disc, 90 %"
    browser.hover(x - 30, y)
    assert browser.wait_for("tip.textContent.startsWith('ground') && tip.textContent") == "ground, 90 %"
    # What is drawn differs from the photo, and the hovered half most.
    left, right = browser.evaluate(
        "[20, 70].map(x => [...canvas.getContext('2d').getImageData(x * zoom, 30 * zoom, 1, 1).data].slice(0, 3))"
    )
    assert left != [40, 40, 40] and right != [220, 220, 220]
    assert all(address.startswith(server.address) for address in browser.requests)
    assert browser.console == []
    assert browser.overflow_px() == 0


def test_the_page_turns_a_photo_as_its_tag_says_and_names_what_is_wrong(server, browser, tmp_path):
    upright = np.full((60, 90, 3), 40, np.uint8)
    upright[:20] = 220  # The disc is on top.
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "phone.jpg").write_bytes(encoded(stored, "JPEG", exif=exif, quality=95))
    browser.open(server.address)
    browser.set_files("#file", [tmp_path / "phone.jpg"])
    browser.wait_for("document.body.dataset.state === 'done'")
    assert browser.evaluate("[photo.width, photo.height]") == [90, 60]
    x, y = browser.middle_of("#canvas")
    browser.hover(x, y - 25 * browser.evaluate("zoom"))
    assert browser.wait_for("tip.textContent").startswith("disc")

    (tmp_path / "text.jpg").write_bytes(b"no photo")
    browser.set_files("#file", [tmp_path / "text.jpg"])
    browser.wait_for("document.body.dataset.state === 'failed'")
    assert "cannot read this file as a photo" in browser.evaluate("document.querySelector('#status').textContent")
    (tmp_path / "large.png").write_bytes(encoded(photo(101, 100)))
    browser.set_files("#file", [tmp_path / "large.png"])
    browser.wait_for("document.querySelector('#status').textContent.includes('at most 10000 pixels')")


def test_small_photos_are_shown_large_and_large_ones_fit(server, browser, tmp_path):
    def shown_px(height, width):
        (tmp_path / "photo.png").write_bytes(encoded(photo(height, width)))
        browser.drop_files("#drop", [tmp_path / "photo.png"])
        done = f"{width} × {height} px"
        browser.wait_for(f"document.querySelector('#status').textContent.includes('{done}')")
        return browser.evaluate("[canvas.clientWidth, canvas.clientHeight]")

    browser.open(server.address, width_px=1280, height_px=900)
    assert shown_px(60, 90) == [900, 600]
    assert shown_px(1, 1) == [16, 16]
    assert shown_px(5, 2000)[0] <= 1280 - 19 * 16 and browser.overflow_px() == 0
    browser.resize(375)
    assert browser.overflow_px() == 0
    assert shown_px(60, 90) == [270, 180]


def test_a_page_for_phones_does_not_scroll_sideways(server, browser):
    browser.open(server.address, width_px=375)
    assert browser.overflow_px() == 0


def test_a_picture_of_the_page_for_the_docs_shows_a_dropped_scene(server, browser, tmp_path):
    with Image.open(page_picture.take(browser, server.address, tmp_path / "page.jpg", (80, 100))) as picture:
        assert picture.size == page_picture.SIZE_PX
    assert page_picture.shown_name(browser) in ("disc", "ground")


def test_help_imports_nothing_heavy_and_wrong_settings_are_named(project_dir, capsys):
    import subprocess
    import sys

    from maskformer_model.serve import __main__ as program

    command = [sys.executable, "-X", "importtime", "-m", "maskformer_model.serve", "--help"]
    done = subprocess.run(command, check=True, cwd=project_dir, capture_output=True, text=True)
    assert "tensorflow" not in done.stderr and "aiohttp" not in done.stderr
    assert program.main(["--model", "x", "--max_batch", "0"]) == command_errors.EXIT_USAGE
    assert "`max_batch` must be positive. Received: 0" in capsys.readouterr().err
